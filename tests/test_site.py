"""The documentation site: it builds without a warning, is complete, and needs no network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import layerscope
from layerscope import errors
from layerscope.interfaces.cli import app
from layerscope.measures.table import MEASURES
from layerscope.testing import laws, planted
from layerscope.testing.planted import glyphs, marks, readers

DOCS = Path(__file__).parent.parent / "docs"

pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; every warning is an error, a dead link or a page without a place too."""
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", DOCS, out]
    done = subprocess.run(build, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_text() for path in out.glob("*.html")}


def test_every_page_is_built_and_has_a_place_in_the_contents(site):
    contents = set(
        re.findall(r'class="reference internal" href="([a-z-]+\.html)"', site["index.html"])
    )
    pages = {f"{page.stem}.html" for page in DOCS.glob("*.md")}
    assert pages <= set(site)
    assert pages - {"index.html"} <= contents


def test_every_option_has_a_permanent_link_in_the_reference(site):
    for name, command in get_command(app).commands.items():
        for parameter in command.params:
            for option in (one for one in parameter.opts if one.startswith("-")):
                anchor = f'id="cmdoption-layerscope-{name}-{option.lstrip("-")}"'
                assert anchor in site["cli.html"], anchor


def test_every_public_name_is_in_the_reference(site):
    names = [f"layerscope.{name}" for name in layerscope.__all__ if name != "LayerscopeError"]
    names += [f"layerscope.errors.{name}" for name in vars(errors) if not name.startswith("_")]
    methods = [name for name in vars(layerscope.Scope) if not name.startswith("_")]
    names += [f"layerscope.Scope.{name}" for name in methods]
    assert len(names) > 20
    assert [name for name in names if f'id="{name}"' not in site["api.html"]] == []


def test_every_public_name_of_testing_is_in_the_reference(site):
    types = {"Channels", "Kind"}  # told where they are used
    names = [f"layerscope.testing.planted.{name}" for name in set(planted.__all__) - types]
    names += [
        f"{module.__name__}.{name}"
        for module in (laws, marks, readers, glyphs)
        for name, found in vars(module).items()
        if getattr(found, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    assert len(names) > 30
    assert [name for name in names if f'id="{name}"' not in site["testing.html"]] == []


def test_every_measure_is_on_the_page_on_clarity(site):
    for measure in MEASURES:
        assert f'<span class="pre">{measure.name}</span>' in site["clarity.html"]


def test_the_pages_load_nothing_from_elsewhere(site):
    for name, page in site.items():
        loaded = re.findall(r"<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=\"([^\"]+)\"", page)
        assert loaded
        assert [one for one in loaded if re.match(r"(?:\w+:)?//", one)] == [], name


def test_every_picture_says_what_it_shows(site):
    pictures = [one for page in site.values() for one in re.findall(r"<img\b[^>]*>", page)]
    assert len(pictures) > 8
    for one in pictures:
        assert re.search(r'alt="[^"]{8,}"', one), one
