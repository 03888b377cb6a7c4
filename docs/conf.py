"""Settings of the documentation site; ``sphinx-build -W --keep-going docs docs/_build`` makes it.

The pages are Markdown that also reads well where the code is hosted. What can be told by the code
is told by the code: see ``from_code.py``. The site needs no network: no fonts, scripts or links to
other documentation are fetched.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import layerscope

project = "layerscope"
author = "the layerscope authors"
project_copyright = author
version = release = layerscope.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_code"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {
    "members": True,
    "exclude-members": "one, pictures, of, document",  # for those who draw, see document/
}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

html_theme = "furo"
html_title = "layerscope"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_domain_indices = False
