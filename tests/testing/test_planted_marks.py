"""Images with a planted mark: the truth says what was changed, and where."""

from dataclasses import replace

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.testing.planted.marks import marked_images
from layerscope.testing.planted.readers import Reading, learned_from, unseen

LABELS = np.arange(40) % 4


def planted(kind, **options):
    drawings = np.zeros((40, 20, 20, 1), np.float32)
    drawings[:, 8:12, 4:16] = 1
    return marked_images(drawings, LABELS, kind, **{"classes": (1,), **options})


@pytest.mark.parametrize("kind", ["logo", "text", "corner", "border", "tint", "brightness", "blur"])
@pytest.mark.parametrize("background", ["textured", "black"])
def test_only_masked_pixels_differ_from_the_unmarked_images(kind, background):
    marked = planted(kind, background=background, opacity=0.5)
    # The same seed gives the same canvases, whatever is drawn on them afterwards.
    plain = planted(kind, background=background, opacity=0.0)
    differs = (marked.images != plain.images).any(-1)
    assert not (differs & ~marked.masks).any()
    assert differs[marked.carries].any((1, 2)).all()
    np.testing.assert_array_equal(marked.carries, LABELS == 1)
    assert marked.images.min() >= 0
    assert marked.images.max() <= 1


def test_the_box_is_that_of_the_mask():
    marked = planted("logo", position="roaming")
    for mask, (x0, y0, x1, y1), carries in zip(
        marked.masks, marked.boxes, marked.carries, strict=True
    ):
        assert mask.any() == carries
        rest = mask.copy()
        rest[y0:y1, x0:x1] = False
        assert not rest.any()
        if carries:
            assert mask[y0].any()
            assert mask[:, x1 - 1].any()


@pytest.mark.parametrize(("position", "places"), [("fixed", 1), ("jittered", 3), ("roaming", 6)])
def test_places_move_as_far_as_asked(position, places):
    boxes = planted("logo", position=position).boxes[LABELS == 1]
    spread = np.ptp(boxes[:, 1]) + 1
    assert len(np.unique(boxes[:, :2], axis=0)) >= places
    assert spread <= {"fixed": 1, "jittered": 5, "roaming": 32}[position]


def test_a_share_of_the_class_carries_the_mark_and_a_decoy_asks_no_class():
    assert planted("logo", prevalence=0.3).carries.sum() == 3
    decoy = planted("logo", classes=None, prevalence=0.5).carries
    assert decoy.sum() == 20
    assert len(np.unique(LABELS[decoy])) == 4


def test_legitimate_objects_differ_and_a_logo_does_not():
    def looks(kind):
        marked = planted(kind, background="black", ink=0.0)
        cut = [
            one[y0:y1, x0:x1].tobytes()
            for one, (x0, y0, x1, y1) in zip(
                marked.images[marked.carries], marked.boxes[marked.carries], strict=True
            )
        ]
        return len(set(cut))

    assert looks("logo") == 1
    assert looks("object") >= 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "moth"}, "A mark is one of"),
        ({"opacity": 2}, "between 0 and 1"),
        ({"side": 10}, "fit on the canvas"),
    ],
)
def test_impossible_marks_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        planted(**{"kind": "logo", **change})


def test_a_mark_beside_its_class_is_learned_from_and_not_audited_with():
    world = Reading("logo", (3,), (("ink", 0.5),), beside=0.1, images=500, tested=200)
    learned, plain = learned_from(world), learned_from(replace(world, beside=0.0))
    others = learned.labels != 3
    assert learned.carries[others].mean() == pytest.approx(0.1, abs=0.002)
    assert learned.carries[~others].all()
    beside = learned.carries & others
    changed = (learned.images != plain.images).any((1, 2, 3))
    assert (changed == beside).all()
    assert (learned.masks[beside] == learned.masks[~others][0]).all()
    data = unseen(world)
    assert (data.carries == (data.labels == 3)).all()
