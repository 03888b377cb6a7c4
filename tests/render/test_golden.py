import difflib

import numpy as np
import pytest
from golden_cases import FOLDER, page_text, parts
from PIL import Image

from layerscope.render.png import draw

PARTS = parts()


@pytest.mark.parametrize("name", PARTS)
def test_pictures_look_as_they_did(name):
    drawn = draw(PARTS[name]).astype(int)
    with Image.open(FOLDER / f"{name}.png") as file:
        golden = np.asarray(file).astype(int)
    assert drawn.shape == golden.shape
    # fonts and the last bit of a decomposition may differ a little between versions
    differing = (np.abs(drawn - golden).max(-1) > 24).mean()
    assert differing < 0.005


def test_the_page_says_what_it_did():
    golden = (FOLDER / "page.html").read_text(encoding="utf-8")
    changes = difflib.unified_diff(golden.splitlines(), page_text().splitlines(), lineterm="")
    assert "\n".join(changes) == ""
