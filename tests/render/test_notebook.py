import base64
import io

import numpy as np
import pytest
from golden_cases import page, parts
from PIL import Image

from layerscope.errors import InputError
from layerscope.render.notebook import DocumentDisplay, PartDisplay
from layerscope.render.png import draw

CELL = """
import sys
sys.path.insert(0, {folder!r})
from golden_cases import page, parts
from layerscope.render.notebook import DocumentDisplay, PartDisplay
display(PartDisplay(parts()["grid"]))
DocumentDisplay(page())
"""


def test_a_part_is_shown_as_a_picture_with_words():
    shown = PartDisplay(parts()["grid"])
    with Image.open(io.BytesIO(shown._repr_png_())) as image:
        assert np.array_equal(np.asarray(image), draw(parts()["grid"]))
    text = shown._repr_html_()
    assert base64.b64encode(shown._repr_png_()).decode() in text
    assert 'alt="12 of 40 feature maps of layer stem/conv for red.png"' in text
    assert repr(shown) == parts()["grid"].alt


def test_a_document_is_shown_apart_from_the_notebook_and_runs_nothing():
    text = DocumentDisplay(page())._repr_html_()
    assert text.startswith('<iframe sandbox srcdoc="&lt;!doctype html&gt;')
    assert text.count("<") == 2


def test_saving_writes_what_the_ending_says(tmp_path):
    PartDisplay(parts()["grid"]).save(tmp_path / "a.png")
    DocumentDisplay(page()).save(tmp_path / "a.html")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(InputError, match=r"saved as \.png; got 'a\.jpg'"):
        PartDisplay(parts()["grid"]).save(tmp_path / "a.jpg")


def test_a_notebook_shows_parts_and_documents(request):
    formatted = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cell = formatted.v4.new_code_cell(CELL.format(folder=str(request.path.parent)))
    notebook = formatted.v4.new_notebook(cells=[cell])
    client.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    kinds = [set(output["data"]) for output in notebook.cells[0].outputs if "data" in output]
    assert kinds == [{"text/plain", "text/html", "image/png"}, {"text/plain", "text/html"}]
