"""``python -m layerscope``."""

from layerscope.interfaces.cli import main

main()
