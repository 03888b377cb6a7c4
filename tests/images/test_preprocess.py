import inspect

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.images.preprocess import _BY_APPLICATION, CANDIDATES, preprocessing

PIXELS = np.random.default_rng(2).uniform(0, 255, (2, 5, 6, 3)).astype(np.float32)


def keras_applications():
    applications = pytest.importorskip("keras").applications
    for name in dir(applications):
        module = getattr(applications, name)
        if hasattr(module, "preprocess_input") and name != "imagenet_utils":
            yield name, module.preprocess_input
            classes = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            yield from ((key, module.preprocess_input) for key in classes if key[0].isupper())


def test_each_keras_application_is_known_and_gives_what_its_own_function_gives():
    checked = set()
    for name, own_function in keras_applications():
        expected = own_function(PIXELS.copy())
        result = preprocessing(f"keras:{name}").apply(PIXELS)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4, err_msg=name)
        checked.add(name.lower().replace("_", ""))
    # These two are not in the public module of MobileNetV3, whose function is checked.
    assert set(_BY_APPLICATION) - checked == {"mobilenetv3small", "mobilenetv3large"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", PIXELS),
        ("0..1", PIXELS / 255),
        ("-1..1", PIXELS / 127.5 - 1),
        ("caffe", PIXELS[..., ::-1] - np.array([103.939, 116.779, 123.68])),
        ("torch", (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("mean=127,std=128", (PIXELS - 127) / 128),
        ("std=2", PIXELS / 2),
        ("mean=-3.5", PIXELS + 3.5),
        ("mean=1/2/3,std=4/5/6", (PIXELS - [1, 2, 3]) / [4, 5, 6]),
        ("std=1e1,mean=1/2/3", (PIXELS - [1, 2, 3]) / 10),
    ],
)
def test_each_name_does_what_it_says(name, expected):
    before = PIXELS.copy()

    result = preprocessing(name).apply(PIXELS)

    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)
    assert result.dtype == np.float32
    assert not np.shares_memory(result, PIXELS)
    np.testing.assert_array_equal(PIXELS, before)


def test_names_are_kept_as_written():
    assert preprocessing("keras:mobilenet-v2").name == "keras:mobilenet-v2"
    assert preprocessing("keras:MobileNetV2").apply(PIXELS).max() <= 1
    assert [preprocessing(one.name) for one in CANDIDATES] == list(CANDIDATES)
    assert len(CANDIDATES) == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torhc", "got 'torhc'. Did you mean 'torch'"),
        ("", "is none, 0..1, -1..1, caffe, torch, keras:NAME or mean=127,std=128; got ''"),
        ("keras:ResNet51", "Did you mean 'keras:ResNet50'"),
        ("keras:", "takes a class or module of keras.applications"),
        ("mean=x", "got 'mean=x'"),
        ("mean=1,std=0", "no std of 0"),
        ("mean=1,std=1/0/1", "no std of 0"),
        ("mean=1/2,std=1/2/3", "one per channel"),
        ("mean=nan,std=1", "one number each"),
        ("mean=1,scale=2", "got 'mean=1,scale=2'"),
        ("mean=", "one number each"),
    ],
)
def test_anything_else_is_refused_with_the_choices(name, message):
    with pytest.raises(InputError, match=message):
        preprocessing(name)


@pytest.mark.parametrize("name", ["caffe", "torch", "mean=1/2/3,std=1", "keras:ResNet50"])
def test_figures_per_channel_refuse_grey_images(name):
    with pytest.raises(InputError, match="needs images of 3 channels; these have 1"):
        preprocessing(name).apply(PIXELS[..., :1])


@pytest.mark.parametrize("name", ["none", "0..1", "-1..1", "mean=127,std=128"])
def test_single_figures_work_on_grey_images(name):
    assert preprocessing(name).apply(PIXELS[..., :1]).shape == (2, 5, 6, 1)
