"""The report in a real browser: silent, and printed whole."""

import re
import zlib

import audit_cases
import pytest

from layerscope.document.parts import Document, Section, Text
from layerscope.document.report import report
from layerscope.render.html import html


@pytest.fixture
def opened(browse, tmp_path):
    """What the console says while a page is shown."""

    def shown(page: str, *options: str) -> str:
        file = tmp_path / "page.html"
        file.write_text(page, encoding="utf-8")
        said = browse(file, "--enable-logging=stderr", *options)
        return "\n".join(line for line in said.splitlines() if "CONSOLE" in line)

    return shown


def written(pdf: bytes) -> int:
    """Bytes of drawing in the streams of a PDF."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    total = 0
    for stream in streams:
        try:
            drawn = zlib.decompress(stream)
        except zlib.error:
            continue
        total += len(drawn) * (b"BT" in drawn)
    return total


@pytest.mark.parametrize("case", ["ordinary", "hostile"])
def test_the_console_stays_empty_so_that_nothing_was_fetched_or_failed(case, tmp_path, opened):
    """Whatever the page tried to fetch, its own policy would complain of on the console."""
    page = html(report(getattr(audit_cases, case)()))
    picture = tmp_path / "page.png"
    assert opened(page, f"--screenshot={picture}") == ""
    assert picture.stat().st_size > 10_000
    fetching = page.replace("<body>", '<body><img src="https://example.org/a.png">', 1)
    assert "Content Security Policy" in opened(fetching, f"--screenshot={picture}")


def test_a_print_holds_what_is_folded_on_the_screen_but_for_the_layers(tmp_path, opened):
    drawn = []
    for anchor in ("findings/info", "layer/conv", "gone"):
        words = tuple(Text(f"Word {at}.") for at in range(200 * (anchor != "gone")))
        page = html(Document("Audit", (Section("Part", anchor, 3, words, folded="folded"),)))
        opened(page, f"--print-to-pdf={tmp_path / 'page.pdf'}")
        drawn.append(written((tmp_path / "page.pdf").read_bytes()))
    assert drawn[0] > 5 * drawn[2]
    assert drawn[1] == pytest.approx(drawn[2], rel=0.1)
