import io

import numpy as np
import pytest
from golden_cases import page, parts
from rich.console import Console

from layerscope.document.compose import overview
from layerscope.document.parts import Note, Table
from layerscope.render.terminal import HALF_BLOCK, blocks, pictures_fit, show

EVIL = "\x1b[2J[bold red]x[/] \u202e"


class Utf8(io.StringIO):
    encoding = "utf-8"


class Ascii(io.StringIO):
    encoding = "ascii"


def on(shown, file, **options):
    console = Console(file=file, width=130, legacy_windows=False, **options)
    show(shown, console)
    return file.getvalue()


@pytest.mark.parametrize("name", ["grid", "every", "images", "overview", "overlay"])
def test_previews_appear_only_where_the_terminal_can_show_them(name):
    part = parts()[name]
    assert HALF_BLOCK in on(part, Utf8(), force_terminal=True, color_system="truecolor")
    assert HALF_BLOCK not in on(part, Utf8())
    assert HALF_BLOCK not in on(part, Utf8(), force_terminal=True, color_system="standard")
    assert HALF_BLOCK not in on(part, Ascii(), force_terminal=True, color_system="truecolor")


def test_without_previews_the_same_facts_stand_in_tables():
    part = parts()["every"]
    text = on(part, Utf8())
    assert part.legend in text
    assert "1 map dead on this image" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["3", "0", "to", "0", "dead"] in rows
    assert ["1", "0", "to", "1"] in rows


def test_the_overview_lists_every_layer_and_the_predictions():
    text = on(parts()["overview"], Utf8())
    assert "0.900  red slope" in text
    assert "stem/conv" in text
    assert "12 of 40 maps" in text


def test_a_document_is_printed_section_by_section():
    text = on(page(), Utf8())
    places = [text.index(words) for words in ("golden</b> page", "Look at this", "A table")]
    assert places == sorted(places)


def test_blocks_carry_two_rows_of_pixels_in_a_line():
    rgb = np.array([[[255, 0, 0]], [[0, 0, 255]], [[0, 255, 0]]], np.uint8)
    words = blocks(rgb)
    assert words.plain == "▀\n▀"
    styles = [span.style for span in words.spans]
    assert (styles[0].color.name, styles[0].bgcolor.name) == ("#ff0000", "#0000ff")
    assert (styles[1].color.name, styles[1].bgcolor) == ("#00ff00", None)


def test_names_reach_the_terminal_neither_as_markup_nor_as_control_characters():
    shown = overview(parts()["overview"].photo, EVIL, [], [(EVIL, 0.5)])
    for part in (shown, Note(EVIL, "warn"), Table((EVIL,), ((EVIL,),), EVIL)):
        text = on(part, Utf8())
        assert "[bold red]x[/]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_file_gets_no_previews():
    assert not pictures_fit(Console(file=Utf8()))
