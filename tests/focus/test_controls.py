"""Whether heatmaps can be believed: the gate and what is set beside a heatmap."""

import io
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from layerscope import focusing
from layerscope.focus import gate, sanity
from layerscope.focus.contract import Found, Job, Method
from layerscope.focus.controls import groups_of
from layerscope.focus.gate import MOST, curves, ends, judged, relevance_gains
from layerscope.scope import Scope
from layerscope.testing import planted

SHIFT = 0.1


@pytest.fixture(scope="module")
def scope() -> Scope:
    return Scope(planted.stamp_net(), "none")


@pytest.fixture(scope="module")
def data() -> planted.Stamped:
    return planted.stamped(MOST, seed=5)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))


def passed_off(heat) -> Method:
    """A method that shows ``heat(pixels)``, whatever the model."""

    def run(job: Job) -> Found:
        score, chosen = job.ask([job.explained.score, job.explained.chosen])
        return Found(heat(job.pixels), score, chosen)

    return Method("passed-off", "nobody", run, frozenset({"perturbation"}))


def gate_of(scope: Scope, method: Method | str, images: np.ndarray, seed: int = 0) -> gate.Gate:
    name = method if isinstance(method, str) else "gradient"
    asked = focusing.question(name, seed=seed)
    if isinstance(method, Method):
        asked = replace(asked, method=method, parameters={})
    (heat, *_) = focusing.stream(asked, scope._intake, images)
    return heat.controls.gate


def job_of(scope: Scope, images: np.ndarray) -> Job:
    about = focusing.question("occlusion").explained(scope.traced)
    (chosen,) = about.ask([images], np.full(len(images), -1), [about.chosen])
    return Job(about, [images], np.array(chosen), 0, None, 32, 0, {})


def test_the_edges_of_an_image_owe_nothing_to_the_other_images_of_its_batch():
    images = np.random.default_rng(0).uniform(0, 1, (3, 8, 9, 3)).astype(np.float32)
    alone = np.concatenate([gate.sobel(image[None]) for image in images])
    np.testing.assert_array_equal(gate.sobel(images), alone)
    assert gate.sobel(images[:0]).shape == (0, 8, 9)


@pytest.mark.parametrize("name", ["occlusion", "integrated-gradients"])
def test_a_method_that_finds_the_stamp_is_believable(scope, data, cache, name):
    found = gate_of(scope, name, data.images)
    assert found.verdict == "believable"
    assert [gain.over for gain in found.gains] == ["random", "sobel", "centre"]
    assert all(0 < gain.low <= gain.value <= gain.high for gain in found.gains)
    assert found.images == MOST


@pytest.mark.parametrize(
    "heat",
    [
        lambda x: np.random.default_rng(3).standard_normal(x.shape[:3]),
        gate.sobel,
        lambda x: np.broadcast_to(gate.centre(x.shape[1:3]), x.shape[:3]),
        lambda x: np.zeros(x.shape[:3]),
    ],
    ids=["random", "sobel", "centre", "nothing"],
)
def test_what_knows_nothing_of_the_model_is_unreliable(scope, data, cache, heat):
    assert gate_of(scope, passed_off(heat), data.images).verdict == "unreliable"


def test_the_wrong_sign_is_worse_than_random(scope, data):
    job = job_of(scope, data.images)
    right = data.masks.astype(np.float32)
    found = relevance_gains(ends(job, job.index), curves(job, job.index, [right, -right]))
    assert (found[:, 0] > 0.5).all()
    np.testing.assert_allclose(found[:, 1], -found[:, 0])


def test_the_gain_equals_a_slow_oracle(scope, data):
    images = data.images[:3]
    job = job_of(scope, images)
    random = np.random.default_rng(2)
    heat = random.standard_normal(images.shape[:3]).astype(np.float32)
    found = relevance_gains(ends(job, job.index), curves(job, job.index, [heat]))[:, 0]

    logits = keras.Model(scope.model.inputs[0], scope.model.layers[-2].output)
    kernel, bias = scope.model.layers[-1].get_weights()

    def score(image, label):
        return float((logits(image[None]).numpy() @ kernel + bias)[0, label])

    side = 32 // gate.CELLS
    corners = [(r, c) for r in range(0, 32, side) for c in range(0, 32, side)]
    for image, label, one, value in zip(images, job.index, heat, found, strict=True):
        means = [one[r : r + side, c : c + side].mean() for r, c in corners]
        order = [corners[i] for i in np.argsort(means)[::-1]]
        grey = image.mean()

        def covered(cells, image=image, grey=grey, label=label):
            other = image.copy()
            for r, c in cells:
                other[r : r + side, c : c + side] = grey
            return score(other, label)

        seen = [score(image, label), score(np.full_like(image, grey), label)]
        leads = []
        for share in gate.SHARES:
            cut = round(share * len(order))
            most, least = covered(order[:cut]), covered(order[-cut:])
            seen += [most, least]
            leads.append(least - most)
        assert value == pytest.approx(np.mean(leads) / np.ptp(seen), abs=1e-4)


def test_a_score_that_never_moves_gains_nothing():
    assert (relevance_gains(np.ones((9, 2)), np.ones((9, 3, 2, 2))) == 0).all()
    still = judged(np.zeros((9, 3)))
    assert still.verdict == "not-tested"
    assert "changes nothing" in still.reason


def test_one_baseline_that_is_not_beaten_is_enough_for_unreliable():
    random = np.random.default_rng(0)
    own = 0.5 + 0.01 * random.standard_normal((20, 1))
    for worse, better in ((0, 0), (1, 0), (0, 1)):
        others = np.array([0.1, 0.1]) + 0.5 * np.array([worse, better])
        found = judged(np.concatenate([own, np.broadcast_to(others, (20, 2))], 1))
        assert found.verdict == ("unreliable" if worse or better else "believable")


def test_few_images_are_not_tested_and_hear_of_an_earlier_test(scope, data, cache):
    alone = scope.focus(data.images[:2], method="occlusion").controls.gate
    assert alone.verdict == "not-tested"
    assert "8 different images" in alone.reason
    assert alone.gains == ()
    before = scope.focus(data.images, method="occlusion").controls.gate
    few = scope.focus(data.images[:2], method="occlusion").controls.gate
    assert (few.verdict, few.gains) == ("not-tested", ())
    assert f"on {MOST} other images said {before.verdict}" in few.reason
    for other in ({"method": "gradient"}, {"method": "occlusion", "patch": 3}):
        assert "earlier" not in scope.focus(data.images[:2], **other).controls.gate.reason


def test_copies_of_one_image_and_crops_of_one_photo_count_once(scope, data, cache):
    copies = np.repeat(data.images[:4], 8, 0)
    found = scope.focus(copies, method="integrated-gradients").controls.gate
    assert found.verdict == "not-tested"
    assert "there are 4" in found.reason
    gains = np.column_stack([np.repeat([0.1, 0.9], 16), np.zeros((32, 2))])
    gains += 0.01 * np.random.default_rng(0).standard_normal(gains.shape)
    of_photos = judged(gains, np.repeat(np.arange(8), 4))
    alone = judged(gains)
    assert of_photos.gains[0].low < alone.gains[0].low
    assert judged(gains, np.repeat(np.arange(4), 8)).verdict == "not-tested"


def test_copies_that_were_saved_again_count_once_with_their_photos(data):
    def saved(image, quality):
        file = io.BytesIO()
        Image.fromarray(np.uint8(255 * image[..., 0].clip(0, 1))).save(
            file, "JPEG", quality=quality
        )
        return np.asarray(Image.open(file), np.float32)[..., None] / 255

    again = np.stack([saved(image, 95) for image in data.images[:8]])
    pixels = np.concatenate([data.images[:8], again, 0.5 * data.images[:8]])
    assert groups_of(pixels).tolist() == [*range(8)] * 3
    assert groups_of(data.images).tolist() == [*range(len(data.images))]
    photos = ["a", "b", "c", "d", "d", "e", "f", "g", "x", *map(str, range(15))]
    found = groups_of(pixels, photos)
    assert len(set(found)) == 7
    assert found[3] == found[4] == found[12]
    assert found[0] == found[8]


def test_a_test_is_done_once_per_model_and_images(scope, data, cache, monkeypatch):
    first = scope.focus(data.images, method="occlusion").controls.gate
    monkeypatch.setattr("layerscope.focus.controls.curves", None)  # would fail if it was called
    assert scope.focus(data.images, method="occlusion").controls.gate == first
    with pytest.raises(TypeError):
        scope.focus(data.images + np.float32(SHIFT), method="occlusion")
    other = Scope(planted.stamp_net(), "none")
    other.model.layers[-1].set_weights([9 * np.eye(4), np.zeros(4)])
    with pytest.raises(TypeError):
        other.focus(data.images, method="occlusion")


def test_a_large_set_is_tested_on_an_even_spread(scope, cache, monkeypatch):
    seen = []
    real = gate.curves
    monkeypatch.setattr(
        "layerscope.focus.controls.curves",
        lambda job, *more: (seen.append(job.pixels), real(job, *more))[1],
    )
    images = planted.stamped(100, seed=8).images
    heat = scope.focus(images, method="gradient", batch_size=30)
    assert heat.controls.gate.images == MOST
    places = np.linspace(0, 99, MOST).round().astype(int)
    assert np.array_equal(seen[0], images[places])
    assert len(heat.controls.twin) == len(heat) == 100


def test_the_twin_stands_beside_every_heatmap(scope, data, cache):
    heat = scope.focus(data.images[:3], method="gradient")
    twin = heat.controls.twin
    assert twin.shape == heat.raw.shape
    assert not np.allclose(twin, heat.raw)
    again = scope.focus(data.images[:3], heat.classes.tolist(), method="gradient")
    assert np.array_equal(again.controls.twin, twin)
    for at in range(3):
        expected = sanity.resemblance(heat.raw[at : at + 1], twin[at : at + 1])
        assert heat.controls.resemblance[at] == pytest.approx(expected[0], nan_ok=True)
    one = heat[1]
    assert np.array_equal(one.controls.twin, twin[1:2])
    assert one.controls.edges.shape == (1, 32, 32)


def test_without_controls_nothing_more_is_computed(scope, data, monkeypatch):
    monkeypatch.setattr("layerscope.focusing.beside", None)
    heat = scope.focus(data.images[:3], controls=False)
    assert heat.controls is None
    assert "believable" not in repr(heat)


def test_a_model_without_a_twin_says_so(cache):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    heat = Scope(model, "none").focus(np.ones((2, 8, 8, 1), np.float32), method="gradient")
    assert "must compute something else" in heat.controls.no_twin
    assert not heat.controls.twin.any()


def test_a_function_as_target_is_tested_and_not_kept(scope, data, cache, monkeypatch):
    def first(y):
        return y[:, 0]

    found = scope.focus(data.images, first, "integrated-gradients").controls.gate
    assert found.images == MOST
    alone = scope.focus(data.images[:1], first, "integrated-gradients").controls.gate
    assert alone.verdict == "not-tested"


def test_numbers_beside_the_gate_know_their_extremes(scope, data):
    job = job_of(scope, data.images)
    same = data.masks.astype(np.float32)
    assert sanity.other_class(job, job.index, same, lambda _: same).min() == pytest.approx(1)
    assert sanity.resemblance(same, -same).max() == pytest.approx(-1)
    assert np.isnan(sanity.resemblance(same, np.zeros_like(same))).all()
    level = np.zeros((1, 16, 16), np.float32)
    level[0, 0, 0] = 1
    noisy = np.random.default_rng(0).uniform(0, 1, (1, 16, 16)).astype(np.float32)
    assert sanity.complexity_rise(level, noisy)[0] > 0.5
    assert sanity.complexity_rise(noisy, level)[0] < -0.5
    even = sanity.mosaic_focus(job, job.index, lambda j: np.ones(j.pixels.shape[:3], np.float32))
    np.testing.assert_allclose(even, 0.5)


def test_the_right_half_of_a_mosaic_is_counted(scope, data):
    job = job_of(scope, data.images)
    marked = job.pixels.copy()
    marked[job.index == 0] = 1.0
    marked[job.index != 0] = 0.0
    job = replace(job, inputs=[marked])

    def bright_for_first(other: Job):
        found = other.pixels[..., 0].copy()
        found[other.index != 0] = 1 - found[other.index != 0]
        return found.astype(np.float32)

    shares = sanity.mosaic_focus(job, job.index, bright_for_first)
    of_first = shares[job.index[np.random.default_rng(0).permutation(MOST)[: sanity.MOST]] == 0]
    np.testing.assert_allclose(of_first, 1)
