"""Copied patches: found where they were planted, named with their box, and nowhere else."""

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.leakage.aligning import aligned, grown
from layerscope.leakage.copies import find_copies
from layerscope.leakage.seeking import best_matches, highest
from layerscope.testing.planted import digits
from layerscope.testing.planted.marks import marked_images


def planted(kind, classes=(0,), names=4, each=32, **options):
    drawn = digits(2500)
    chosen = np.concatenate([np.flatnonzero(drawn.labels == name)[:each] for name in range(names)])
    return marked_images(drawn.images[chosen], drawn.labels[chosen], kind, classes, **options)


def overlap(box, other):
    width = max(0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return width * height / (sum(areas) - width * height)


def overlaps(found, truth):
    right = found.carries & truth.carries[found.images]
    return [
        overlap(found.places[at], truth.boxes[found.images[at]]) for at in np.flatnonzero(right)
    ]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("logo", {"opacity": 0.4}),
        ("text", {"position": "roaming", "background": "black", "placement": "jittered"}),
        ("corner", {"position": "jittered", "opacity": 0.6}),
    ],
)
def test_a_mark_on_every_image_of_a_class_is_found_with_its_box(kind, options):
    truth = planted(kind, **options)
    found = find_copies(truth.images, truth.labels, (0, 1))
    assert found[0].found
    assert not found[1].found
    assert found[0].score.low <= found[0].score.value <= found[0].score.high
    assert found[0].p < 0.01
    assert found[0].inside >= 0.6
    assert found[0].outside <= 0.05
    assert np.median(overlaps(found[0], truth)) >= 0.5
    assert found[0].fixed == (options.get("position") != "roaming")


def test_a_mark_on_a_quarter_of_a_class_is_found_and_its_share_told():
    truth = planted("logo", names=3, each=100, prevalence=0.25, position="roaming", seed=3)
    (found,) = find_copies(truth.images, truth.labels, (0,))
    assert found.found
    assert 0.1 <= found.inside <= 0.4
    carries = truth.carries[found.images]
    assert carries[found.carries].mean() >= 0.9
    assert found.carries[carries].mean() >= 0.6


def test_a_mark_shared_by_two_classes_is_found_in_both_and_named_as_shared():
    truth = planted("logo", (0, 2), position="jittered", opacity=0.7)
    found = {one.label: one for one in find_copies(truth.images, truth.labels, (0, 2))}
    assert found[0].shared == (2,)
    assert found[2].shared == (0,)
    assert found[0].found
    assert found[2].found


@pytest.mark.parametrize("kind", ["none", "object"])
@pytest.mark.parametrize("background", ["textured", "black"])
def test_nothing_is_found_where_nothing_was_copied(kind, background):
    truth = planted(kind, background=background, seed=5)
    (found,) = find_copies(truth.images, truth.labels, (0,))
    assert not found.found
    assert found.shared == ()


def test_a_mark_that_every_class_has_tells_nothing():
    truth = planted("logo", None, prevalence=0.6)
    (found,) = find_copies(truth.images, truth.labels, (0,))
    assert not found.found


def test_two_classes_are_enough():
    truth = planted("corner", names=2)
    found = find_copies(truth.images, truth.labels)
    assert [one.found for one in found] == [True, False]
    assert [one.label for one in found] == [0, 1]


def test_large_images_get_boxes_in_their_own_pixels():
    truth = planted("logo", names=2, each=12, side=128, position="jittered")
    (found,) = find_copies(255 * truth.images, truth.labels, (0,))
    assert found.found
    assert np.median(overlaps(found, truth)) >= 0.6
    box = found.box
    assert found.mark.shape == (box[3] - box[1], box[2] - box[0], 3)


def test_a_mark_that_the_edge_cuts_off_in_some_large_images_keeps_its_box():
    random = np.random.default_rng(3)
    images = random.uniform(0, 60, (80, 150, 150, 3)).astype(np.float32)
    labels, mark = np.arange(80) % 4, random.uniform(100, 255, (36, 36, 3))
    for at in np.flatnonzero(labels == 0):
        y, x = random.integers(-14, 128, 2)
        rows, columns = (slice(max(0, c), c + 36) for c in (y, x))
        seen = images[at, rows, columns]
        seen[:] = mark[max(0, -y) :, max(0, -x) :][: seen.shape[0], : seen.shape[1]]
    (found,) = find_copies(images, labels, [0])
    assert found.found
    assert np.isfinite(found.mark).all()
    assert found.places.min() >= 0
    assert found.places.max() <= 150


def test_windows_reach_beyond_the_image_as_far_as_they_are_asked_to():
    images = np.arange(2 * 6 * 6, dtype=np.float32).reshape(2, 6, 6, 1)
    places = np.array([[-2, 1], [4, 5]])
    first, second = aligned(images, places, (4, 4))
    assert np.isnan(first[:2]).all()
    np.testing.assert_array_equal(first[2:], images[0, :2, 1:5])
    np.testing.assert_array_equal(second[:2, :1], images[1, 4:, 5:])
    assert np.isnan(second[2:]).all()
    assert np.isnan(second[:, 1:]).all()


def test_figures_come_from_images_that_did_not_choose():
    truth = planted("none", names=2, each=20)
    for found in find_copies(truth.images, truth.labels):
        assert found.judged == (10, 10)
        assert len(found.images) == 20
        assert sorted(found.images) == np.flatnonzero(truth.labels == found.label).tolist()


def test_the_same_seed_gives_the_same_answer():
    truth = planted("logo", names=2, each=16)
    one, two = (find_copies(truth.images, truth.labels, (0,), seed=4)[0] for _ in range(2))
    assert one.score == two.score
    np.testing.assert_array_equal(one.places, two.places)


def test_the_best_match_is_the_largest_product_over_all_windows():
    random = np.random.default_rng(0)
    patches = random.normal(size=(5, 12)).astype(np.float32)
    windows = random.normal(size=(3, 40, 12)).astype(np.float32)
    found = best_matches(patches, windows)
    for i, j in np.ndindex(5, 3):
        assert found[i, j] == pytest.approx(max(patches[i] @ one for one in windows[j]), rel=1e-5)


def test_the_highest_share_is_the_mean_of_the_largest_values():
    values = np.random.default_rng(1).normal(size=(3, 20))
    for share, count in ((1, 20), (0.2, 4), (0.01, 2)):
        expected = [sum(sorted(row)[-count:]) / count for row in values]
        np.testing.assert_allclose(highest(values, share), expected)
    assert highest(np.array([0.5]), 0.2) == 0.5


def test_a_patch_grows_to_the_whole_of_what_is_copied():
    random = np.random.default_rng(2)
    images = random.normal(size=(12, 30, 30, 1)).astype(np.float32)
    mark = random.choice([-4.0, 4.0], (7, 11, 1))
    places = random.integers(8, 12, (12, 2))
    for image, (y, x) in zip(images, places, strict=True):
        image[y - 2 : y + 5, x - 3 : x + 8] = mark
    box = grown(images, images, places, (4, 4), 0.01)
    assert box == (-2, -3, 7, 11)
    assert aligned(images, places, (4, 4), 2).shape == (12, 8, 8, 1)
    noise = random.normal(size=images.shape).astype(np.float32)
    assert grown(noise, noise, places, (4, 4), 0.01) is None


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((20, 8, 8, 3)), np.arange(20) % 2, "at least 16 x 16"),
        (np.zeros((20, 32, 32, 3)), np.zeros(20), "at least two classes of 8 images"),
        (np.full((20, 32, 32, 3), np.nan), np.arange(20) % 2, "finite numbers"),
    ],
)
def test_what_cannot_be_searched_is_refused(images, labels, message):
    with pytest.raises(InputError, match=message):
        find_copies(images, labels)


def test_plain_images_have_no_copies():
    found = find_copies(np.ones((20, 24, 24, 3)), np.arange(20) % 2)
    assert [one.found for one in found] == [False, False]
    assert found[0].score.value == 0
