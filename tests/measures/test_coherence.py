import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from layerscope.measures.coherence import Hog, coherence, cosines_of, two_alternative


def slow_similarity(vectors):
    k = len(vectors)
    return np.mean([vectors[i] @ vectors[j] for i in range(k) for j in range(k) if i != j])


def slow_told(top, bottom):
    """Question by question."""
    right = []
    for i, high in enumerate(top):
        for j, low in enumerate(bottom):
            tops, bottoms = np.delete(top, i, 0), np.delete(bottom, j, 0)

            def leans(query, tops=tops, bottoms=bottoms):
                return np.mean([query @ v for v in tops]) - np.mean([query @ v for v in bottoms])

            right.append(leans(high) > leans(low))
    return np.mean(right)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def embedded(seed, images, classes=8, spread=0.6, dimensions=24):
    """Vectors in one cloud per class, and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = rng.normal(size=(classes, dimensions))
    return unit(centres[labels] + spread * rng.normal(size=(images, dimensions))), labels


def planted_lists(labels, kind, channels, k=8, seed=0):
    """Top and bottom lists of units that like one class, two classes, or nothing."""
    rng = np.random.default_rng(seed)
    liked = {"class": labels == 0, "two": labels < 2, "noise": labels >= 0}[kind]
    strength = liked * 3.0 + rng.random((channels, len(labels)))
    order = strength.argsort(1)
    return order[:, -k:], order[:, :k]


def drawings(seed, images, size=40):
    """Photos of noise with bars: class 0 has upright ones, 1 level ones, 2 slanted, 3 a ring."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    shapes = (abs(x) < 5, abs(y) < 5, abs(x - y) < 6, abs(np.hypot(x, y) - 12) < 4)
    labels = np.arange(images) % len(shapes)
    photos = np.stack([120.0 * shapes[label] for label in labels])
    photos = np.stack([np.roll(p, rng.integers(-3, 4, 2), (0, 1)) for p in photos])
    photos += 40 + gaussian_filter(15 * rng.normal(size=photos.shape), (0, 3, 3))
    return np.repeat(np.clip(photos, 0, 255).astype(np.uint8)[..., None], 3, -1), labels


@pytest.mark.parametrize("k", [2, 5, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_similarity_and_test_equal_their_formulas(k, seed):
    vectors, _ = embedded(seed, 120)
    lists = np.random.default_rng(seed).permuted(np.tile(np.arange(120), (70, 1)), axis=1)
    top, bottom = lists[:, :k], lists[:, k : 2 * k]
    similarity = coherence(cosines_of(vectors), top, draws=9).similarity
    told = two_alternative(cosines_of(vectors), top, bottom)
    for c in (0, 1, 69):
        assert similarity[c] == pytest.approx(slow_similarity(vectors[top[c]]), abs=1e-6)
        assert told[c] == pytest.approx(slow_told(vectors[top[c]], vectors[bottom[c]]))


def test_z_is_measured_in_deviations_of_random_lists():
    vectors, labels = embedded(2, 160)
    top, _ = planted_lists(labels, "class", 3)
    found = coherence(cosines_of(vectors), top, draws=1999)
    rng = np.random.default_rng(77)
    null = [slow_similarity(vectors[rng.choice(160, 8, replace=False)]) for _ in range(500)]
    expected = (found.similarity - np.mean(null)) / np.std(null)
    np.testing.assert_allclose(found.z, expected, rtol=0.15)


def test_units_of_a_class_of_two_and_of_nothing_keep_their_order():
    vectors, labels = embedded(3, 400)
    z, told = {}, {}
    for kind in ("class", "two", "noise"):
        top, bottom = planted_lists(labels, kind, 300)
        z[kind] = coherence(cosines_of(vectors), top).z
        told[kind] = two_alternative(cosines_of(vectors), top, bottom)
    assert z["class"].min() > np.quantile(z["two"], 0.95)
    assert np.median(z["two"]) > np.quantile(z["noise"], 0.99)
    assert told["class"].mean() > told["two"].mean() > told["noise"].mean() + 0.2
    assert told["class"].min() > 0.9
    assert told["noise"].mean() == pytest.approx(0.5, abs=0.05)


def test_outlines_are_enough_for_the_embedded_encoder_to_keep_that_order():
    photos, labels = drawings(4, 80)
    vectors = Hog()(photos)
    found = {}
    for kind in ("class", "two", "noise"):
        top, _ = planted_lists(labels, kind, 20)
        found[kind] = coherence(cosines_of(vectors), top, draws=199).z.mean()
    assert found["class"] > found["two"] + 1 > found["noise"] + 2


def test_the_p_of_units_of_nothing_is_evenly_spread():
    vectors, labels = embedded(5, 80)
    top, _ = planted_lists(labels, "noise", 400, k=20)
    p = coherence(cosines_of(vectors), top, draws=1999).p
    assert kstest(p, "uniform").pvalue > 0.05
    assert 0.02 < (p <= 0.05).mean() < 0.09
    top, _ = planted_lists(labels, "class", 5)
    assert (coherence(cosines_of(vectors), top).p == 1 / 1000).all()


def test_lists_that_are_not_full_or_share_an_image_are_not_judged():
    vectors, _ = embedded(6, 40)
    top, bottom = np.arange(12).reshape(4, 3), np.arange(20, 32).reshape(4, 3)
    top[1, 2] = -1
    bottom[2, 0] = -1
    bottom[3, 1] = top[3, 2]
    found = coherence(cosines_of(vectors), top, draws=9)
    for part in (found.similarity, found.z, found.p):
        assert np.isnan(part).tolist() == [False, True, False, False]
    assert np.isnan(two_alternative(cosines_of(vectors), top, bottom)).tolist() == [
        False,
        True,
        True,
        True,
    ]


def test_fewer_images_than_a_list_takes_leave_nothing_to_judge():
    vectors, _ = embedded(6, 5)
    assert np.isnan(coherence(cosines_of(vectors), np.full((3, 20), -1)).p).all()


def test_images_that_all_look_the_same_tell_nothing():
    vectors = np.tile(unit(np.ones((1, 5))), (20, 1))
    top, bottom = np.arange(6).reshape(2, 3), np.arange(6, 12).reshape(2, 3)
    found = coherence(cosines_of(vectors), top, draws=9)
    assert np.isnan(found.z).all()
    assert found.p == pytest.approx(1)
    assert two_alternative(cosines_of(vectors), top, bottom).tolist() == [0.5, 0.5]


def test_the_embedded_encoder_gives_unit_vectors_at_any_size():
    for size in (20, 64, 100):
        photos, _ = drawings(7, 4, size)
        vectors = Hog()(photos)
        assert vectors.shape == (4, 1568)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert (Hog()(np.full((1, 30, 30, 3), 9, np.uint8)) == 0).all()
    assert Hog(32).name == "hog-32-8"
