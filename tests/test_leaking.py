"""The search for leaks, on images with a known mark and answers with a known reliance."""

import numpy as np
import pytest
from scipy.special import softmax

from layerscope.audit.leak_findings import leak_findings
from layerscope.audit.leakage import class_verdict, leakage_panel
from layerscope.images import read
from layerscope.leakage.expected import expected
from layerscope.leaking.scene import Scene
from layerscope.leaking.scene import scene as scene_of
from layerscope.leaking.search import search
from layerscope.testing import planted
from layerscope.testing.planted.marks import marked_images

CLASS, COUNT = 3, 260


def marked(kind: str, seed: int = 5, **more):
    digits = planted.digits(COUNT, "test")
    few = digits.labels <= CLASS
    images, labels = digits.images[few], digits.labels[few]
    return marked_images(images, labels, kind, (CLASS,), seed=seed, ink=0.5, **more)


class Reader:
    """Knows every image by heart, and says the class of the mark where it sees it."""

    def __init__(self, data, reliance: float) -> None:
        self.flat = data.images.reshape(len(data.images), -1)
        self.labels, self.reliance = data.labels, reliance
        self.passes = 0
        at = int(np.flatnonzero(data.carries)[0]) if data.carries.any() else 0
        self.box = data.boxes[at]
        self.look = self.cut(data.images[at])

    def cut(self, image):
        x0, y0, x1, y1 = self.box
        part = image[y0:y1, x0:x1]
        return part - part.mean() if part.size else part

    def sees(self, image) -> bool:
        own = self.cut(image)
        if not own.size:
            return False
        length = np.sqrt((own**2).sum() * (self.look**2).sum())
        return bool((own * self.look).sum() > 0.8 * length)

    def __call__(self, images):
        self.passes += len(images)
        flat = images.reshape(len(images), -1)
        apart = (flat**2).sum(1)[:, None] - 2 * flat @ self.flat.T + (self.flat**2).sum(1)
        found = np.full((len(images), 4), 0.01, np.float32)
        found[np.arange(len(images)), self.labels[apart.argmin(1)]] = 0.97
        for row, image in zip(found, images, strict=True):
            if self.reliance and self.sees(image):
                row *= 1 - self.reliance
                row[CLASS] += self.reliance
        return found


def scene(data, reliance: float) -> Scene:
    reader = Reader(data, reliance)
    names = tuple(f"{at}.png" for at in range(len(data.images)))
    answers = reader(data.images)
    return Scene(data.images, data.labels, answers, names, tuple("0123"), reader, 0)


@pytest.fixture(scope="module")
def logo():
    return marked("logo", position="fixed")


def of_class(leaks):
    return next(one for one in leaks.classes if one.of.index == CLASS)


def test_a_mark_that_is_read_is_confirmed_with_the_right_effect(logo):
    leaks = search(scene(logo, 0.8))
    leak = of_class(leaks)
    assert class_verdict(leak) == "confirmed-used"
    assert leak.effect.same.value == pytest.approx(0.8 * 0.99, abs=1e-3)
    assert leak.effect.anywhere.value == pytest.approx(0, abs=0.02)
    assert leak.copies.box == tuple(logo.boxes[logo.carries][0])
    assert leak.necessity < 0.1  # it knows the rest of the image as well
    others = {class_verdict(one) for one in leaks.classes if one is not leak}
    assert others <= {"not-found", "not-tested"}
    panel = leakage_panel(leaks)
    assert panel.verdict == "confirmed-used"
    assert "class 3" in panel.summary
    assert leaks.passes <= 1000 * len(leaks.classes)
    kinds = [found.kind for found in leak_findings(leaks)]
    assert kinds.count("leak-confirmed") == 1
    assert len(leak.shown) == 4
    x0, y0, x1, y1 = leak.copies.box
    assert {one.shape for one in leak.montage} == {(y1 - y0, x1 - x0, 3)}
    for one in leak.montage:
        assert np.corrcoef(one.ravel(), leak.copies.mark.ravel())[0, 1] > 0.9


def test_the_same_mark_that_is_not_read_is_present_and_unused(logo):
    leaks = search(scene(logo, 0.0))
    assert class_verdict(of_class(leaks)) == "present-unused"
    assert of_class(leaks).effect.same.high < 0.1


def test_a_declared_mark_leaves_the_panel_alone_and_a_budget_is_kept(logo):
    x0, y0, x1, y1 = (end / 32 for end in logo.boxes[logo.carries][0])
    region = expected(f"{x0},{y0},{x1},{y1}")
    leaks = search(scene(logo, 0.8), budget=600, declared=[region])
    assert of_class(leaks).expected
    assert leakage_panel(leaks).verdict != "confirmed-used"
    assert len(leaks.classes) == 1
    assert "budget of 600" in leaks.open_questions[0]
    assert leaks.passes <= 600


def test_clean_images_give_nothing_and_the_power_of_the_search():
    leaks = search(scene(marked("none"), 0.8), trials=1)
    assert leakage_panel(leaks).verdict == "not-found"
    assert {one.opacity for one in leaks.power} == {1.0, 0.5}
    assert "planted marks" in leakage_panel(leaks).summary
    assert not [found for found in leak_findings(leaks) if found.severity == "fail"]


def test_repeated_pictures_count_once_and_are_named(logo):
    images, labels = logo.images.copy(), logo.labels.copy()
    images[1] = images[0]
    labels[1] = (labels[0] + 1) % 4
    data = type(logo)(images, labels, logo.carries, logo.masks, logo.boxes)
    leaks = search(scene(data, 0.0))
    assert leaks.repeated[0].groups == (("0.png", "1.png"),)
    assert "near-duplicates-across-classes" in [found.kind for found in leak_findings(leaks)]


def test_logits_are_logits_also_where_a_few_of_them_lie_between_0_and_1():
    """Decided for each call, the first image would seem to be answered with other numbers."""
    images = np.zeros((24, 8, 8, 1), np.float32)
    labels = np.arange(24) % 2
    logits = np.column_stack([np.linspace(0.2, 9, 24), np.full(24, 0.5)]).astype(np.float32)

    def compute(pixels):
        return {}, logits[: len(pixels)]

    source = read((images, labels), size=(8, 8), channels=1, outputs=2)
    seen = scene_of(source, compute, logits, labels, ("a", "b"), 8, 0)
    np.testing.assert_allclose(seen.predict(images[:1]), softmax(logits[:1], 1), rtol=1e-5)
    np.testing.assert_allclose(seen.answers, softmax(logits, 1), rtol=1e-5)
