"""Two stories of the demo: a net that reads a mark, and its twin that never saw one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from layerscope.audit.figures import percent
from layerscope.auditing import Audited
from layerscope.document.colour import Bytes, photo
from layerscope.document.parts import Document, Picture, Section, Strips, Table, Text
from layerscope.render.html import write_html
from layerscope.render.png import encode
from layerscope.render.sheet import fitted
from layerscope.render.side_by_side import side_by_side
from layerscope.scope import Scope
from layerscope.testing.planted.readers import (
    Reader,
    Reading,
    probabilities_of,
    trained_reader,
    unseen,
)
from layerscope.vocabulary import Floats

MARKED = 3
"""The digit whose images carry the mark."""
LEAKING = Reading(
    "logo", (MARKED,), (("ink", 0.4), ("placement", "jittered")), classes=5, images=2500,
    tested=400, epochs=5, seed=4,
)  # fmt: skip
HONEST = replace(LEAKING, kind="none", marked=())
SHOWN = 6
TILE, GAP = 112, 6

_WHAT = (
    "Two small networks learn the digits 0 to 4 on textured canvases. In the first set each image "
    f"of a {MARKED} carries the same small mark, in the training images and in the test images "
    "alike, as a scanner's tag or a watermark would. The second set is the same without it. Judged "
    "by their test accuracy, the network that reads the mark looks at least as good."
)
_SO = (
    "The accuracy could not tell them apart. Pasting the mark into images of other digits did: the "
    "answers move. Each audit lies beside this page: leaking/report.html and honest/report.html."
)


@dataclass(frozen=True)
class Told:
    """One story: the net, what an audit says of it, and how it does without the mark."""

    reader: Reader
    audit: Audited
    without: float


def tell_stories(output: Path, say: Callable[[str], None], tell: Callable[[str], None]) -> Path:
    """Train both nets, audit them and write a page about them.

    Args:
        output: folder for the page and a folder per audit.
        say: shows what is being done.
        tell: prints a line of the result.

    Returns:
        The page.
    """
    told = {}
    for name, world in (("leaking", LEAKING), ("honest", HONEST)):
        say(f"Training a small network, {name} set ...")
        reader = trained_reader(world)
        say(f"Auditing it for leaks, {name} set ...")
        scope = Scope(reader.model, preprocess="none", classes=[str(i) for i in range(5)])
        audit = scope.audit(
            (reader.data.images, reader.data.labels), panels=["leakage", "performance"]
        )
        audit.save(output / name)
        told[name] = Told(reader, audit, _without(reader))
        verdict = audit.panels["leakage"].verdict
        tell(f"{name + ':':12} test accuracy {percent(reader.accuracy)}, leakage: {verdict}")
    (output / "leak.png").write_bytes(encode(_sheet(told["leaking"])))
    page = output / "index.html"
    write_html(_page(told["leaking"], told["honest"]), page)
    return page


def _without(reader: Reader) -> float:
    """Share of the marked digit's test images that a net gets right without the mark."""
    data = unseen(HONEST)
    own = data.labels == MARKED
    return float((probabilities_of(reader.model, data.images[own]).argmax(1) == MARKED).mean())


def _page(leaking: Told, honest: Told) -> Document:
    rows = tuple(
        (
            name,
            percent(one.reader.accuracy),
            percent(one.without),
            one.audit.panels["leakage"].verdict.replace("-", " "),
        )
        for name, one in (("with the mark", leaking), ("without a mark", honest))
    )
    columns = ("Set", "Test accuracy", f"Right on a {MARKED} without the mark", "Leakage panel")
    strips = tuple(
        (f"A {MARKED}, {name}", "test images", _pictures(one.reader))
        for name, one in (("with the mark", leaking), ("without a mark", honest))
    )
    parts = (
        Text(_WHAT, "lead"),
        Strips("What the networks were shown", strips, "The mark is the block of two colours."),
        Table(columns, rows, "Two networks of one architecture.", (1, 2)),
        Text(leaking.audit.panels["leakage"].summary),
        Text(honest.audit.panels["leakage"].summary),
        Text(_SO),
    )
    return Document("A leak, and an honest twin", (Section("The story", "story", 2, parts),))


def _sheet(told: Told) -> Bytes:
    """Images with the mark; below, others before and after it was pasted in."""
    assert told.audit.leaks is not None
    leak = next(one for one in told.audit.leaks.classes if one.shown)
    data = told.reader.data
    pairs = np.concatenate(leak.shown)
    marked = data.images[np.flatnonzero(data.labels == MARKED)[: len(pairs)]]
    above, below = _row(marked), _row(pairs)
    return np.concatenate([above, np.full_like(above[:GAP], 255), below])


def _row(images: Floats) -> Bytes:
    return side_by_side([fitted(rgb, TILE, TILE) for rgb in photo(images)])


def _pictures(reader: Reader) -> tuple[Picture, ...]:
    places = np.flatnonzero(reader.data.labels == MARKED)[:SHOWN]
    return tuple(
        Picture(photo(image), f"Test image {at} of a {MARKED}", "")
        for at, image in zip(places, reader.data.images[places], strict=True)
    )
