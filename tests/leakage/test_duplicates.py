"""The same picture twice: found through JPEG, size and brightness; others stay apart."""

import io

import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError
from layerscope.leakage.duplicates import _areas, find_duplicates
from layerscope.testing.planted import digits
from layerscope.testing.planted.marks import marked_images


def saved(image, quality, side=None, gain=1.0):
    picture = Image.fromarray(np.clip(image * gain, 0, 255).astype(np.uint8))
    if side:
        picture = picture.resize((side, side), Image.BILINEAR).resize(picture.size, Image.BILINEAR)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data), np.float32)


@pytest.fixture(scope="module")
def canvases():
    drawn = digits(80)
    return 255 * marked_images(drawn.images, drawn.labels, "none", side=48, seed=1).images


@pytest.mark.parametrize("change", [(90,), (60,), (95, 43), (90, None, 0.8)])
def test_a_picture_saved_again_is_one_picture(canvases, change):
    again = np.stack([saved(image, *change) for image in canvases])
    found = find_duplicates(np.concatenate([canvases, again]))
    pairs = [cluster.images for cluster in found.clusters]
    assert all(pair == (pair[0], pair[0] + 80) for pair in pairs)
    assert len(pairs) >= 77
    assert len(found.kept) == 160 - len(pairs)


def test_different_digits_of_one_class_on_black_are_not_one_picture():
    drawn = digits(3000)
    assert len(find_duplicates(drawn.images, drawn.labels).clusters) <= 1


def test_a_mark_on_plain_ground_does_not_make_pictures_one():
    drawn = digits(400)
    marked = marked_images(drawn.images, drawn.labels, "logo", None, background="black", ink=0.3)
    assert len(find_duplicates(marked.images).clusters) <= 2


def test_clusters_name_the_classes_and_parts_that_they_cross_and_keep_one_image():
    images = np.random.default_rng(0).normal(size=(9, 20, 20, 3)).astype(np.float32)
    images[[3, 7]] = images[1]
    images[8] = images[2] * 1.1 + 0.05
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 0, 1])
    parts = np.array(["train"] * 6 + ["test"] * 3)
    found = find_duplicates(images, labels, parts)
    assert [cluster.images for cluster in found.clusters] == [(1, 3, 7), (2, 8)]
    first, second = found.clusters
    assert first.labels == (0, 1)
    assert first.across_classes
    assert first.parts == ("test", "train")
    assert not second.across_classes
    assert second.across_parts
    assert found.kept.tolist() == [0, 1, 2, 4, 5, 6]


def test_one_photo_many_times_is_one_cluster():
    random = np.random.default_rng(1)
    images = random.normal(size=(60, 16, 16, 1)).astype(np.float32)
    noise = random.normal(size=(25, 16, 16, 1)).astype(np.float32)
    images[:25] = images[0] + 0.01 * noise
    found = find_duplicates(images)
    assert [cluster.images for cluster in found.clusters] == [tuple(range(25))]


def test_plain_images_are_one_only_if_they_are_equal():
    images = np.zeros((6, 16, 16, 1), np.float32)
    images[2:] += np.random.default_rng(2).normal(size=(4, 16, 16, 1)) * 1e-3
    images[5] = np.arange(16)[:, None] * 10
    assert [one.images for one in find_duplicates(images).clusters] == [(0, 1)]


@pytest.mark.parametrize(("old", "new"), [(28, 16), (16, 16), (50, 16), (7, 16)])
def test_a_resized_picture_keeps_its_mean_and_each_pixel_its_area(old, new):
    shares = _areas(old, new)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(shares.sum(0), new / old, atol=1e-6)


def test_labels_have_to_fit():
    with pytest.raises(InputError, match="one label and one part"):
        find_duplicates(np.zeros((3, 8, 8, 1)), np.zeros(2))
