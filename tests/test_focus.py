"""`Scope.focus` on files, folders and streams."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError
from layerscope.focus.methods import METHODS
from layerscope.scope import Scope

L = keras.layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png"):
        Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8)).save(home / name)
    return home


@pytest.fixture(scope="module")
def scope() -> Scope:
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, activation="relu", name="conv")(image)
    model = keras.Model(image, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))
    return Scope(model, preprocess="0..1", classes=["ant", "bee", "cow"])


def test_a_folder_gives_one_heatmap_per_image(scope, folder):
    heat = scope.focus(folder, "bee")
    assert heat.ids == ("a.png", "b.png", "c.png", "d.png", "e.png")
    assert heat.full.shape == (5, 16, 16)
    assert set(heat.names) == {"bee"}
    one = scope.focus(folder / "c.png", "bee")
    np.testing.assert_allclose(one.raw[0], heat.raw[2], rtol=1e-5, atol=1e-9)


def test_a_folder_streams_batch_by_batch(scope, folder):
    parts = list(scope.focus_stream(folder, batch_size=2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert np.array_equal(np.concatenate([p.raw for p in parts]), scope.focus(folder).raw)


def test_crops_of_one_photo_count_once_where_a_table_says_so(scope, tmp_path):
    random = np.random.default_rng(1)
    lines = ["path,label,photo"]
    for at in range(10):
        pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
        lines.append(f"{at}.png,,{'one' if at < 5 else ''}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    assert "there are 6" in scope.focus(tmp_path / "table.csv").controls.gate.reason
    assert scope.focus(tmp_path).controls.gate.images == 10


def test_damaged_files_are_listed_and_break_a_list_of_targets(scope, folder, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "aa.png").write_bytes(b"no picture")
    heat = scope.focus(tmp_path, 1)
    assert heat.ids == ("a.png", "b.png")
    assert [skipped.file for skipped in heat.skipped] == ["aa.png"]
    with pytest.raises(InputError, match=r"by position, and 'aa\.png' could not be used"):
        scope.focus(tmp_path, [0, 1, 2])


def test_a_dict_of_inputs_goes_by_their_names():
    first, second = keras.Input((8, 8, 3), name="photo"), keras.Input((2,), name="facts")
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(first))
    scope = Scope(keras.Model([first, second], L.Dense(2)(L.Concatenate()([x, second]))))
    random = np.random.default_rng(0)
    photo, facts = random.random((3, 8, 8, 3), "f4"), random.random((3, 2), "f4")
    heat = scope.focus({"facts": facts, "photo": photo}, 0, controls=False)
    assert np.array_equal(heat.raw, scope.focus([photo, facts], 0, controls=False).raw)
    with pytest.raises(InputError, match=r"each input of .* by its name: photo, facts; got photo"):
        scope.focus({"photo": photo})
    with pytest.raises(InputError, match=r"one image input, .* pass a list of arrays, one per"):
        scope.focus("photos")


def test_arguments_are_checked_before_an_image_is_read(scope):
    nowhere = np.full((1, 16, 16, 3), np.nan, np.float32)
    for wrong in (
        {"target": 7},
        {"method": "gradcan"},
        {"layer": "cov"},
        {"batch_size": 0},
        {"target": "bear"},
        {"output": "x"},
    ):
        with pytest.raises(InputError) as failure:
            scope.focus_stream(nowhere, **wrong)
        assert "finite" not in str(failure.value)
    with pytest.raises(InputError, match="Images must be finite"):
        scope.focus(nowhere)


def test_the_model_and_the_images_stay_as_they_are(scope):
    x = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype("float32")
    before, weights = x.copy(), [np.asarray(w) for w in scope.model.weights]
    for method in ("grad-cam", "occlusion", "ablation-cam", "integrated-gradients"):
        scope.focus(x, method=method)
    assert np.array_equal(x, before)
    for old, new in zip(weights, scope.model.weights, strict=True):
        assert np.array_equal(old, np.asarray(new))


def test_changed_weights_are_seen_at_once():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="conv")(image))
    model = keras.Model(image, L.Dense(3, name="head")(x))
    scope = Scope(model)
    x = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype("float32")
    first = scope.focus(x, 0, "gradient").raw
    kernel = model.get_layer("head").kernel
    kernel.assign(kernel * -2)
    np.testing.assert_allclose(scope.focus(x, 0, "gradient").raw, -2 * first, rtol=1e-5)


def test_a_second_question_compiles_nothing(scope):
    x = np.ones((2, 16, 16, 3), np.float32)
    scope.focus(x, 0)
    programs = dict(scope.traced._programs)
    size = len(scope.traced.trace.graph.get_operations())
    scope.focus(np.ones((5, 16, 16, 3), np.float32), "cow")
    assert scope.traced._programs == programs
    assert len(scope.traced.trace.graph.get_operations()) == size


def test_a_model_of_any_size_gives_maps_of_the_images_size():
    image = keras.Input((None, None, 3))
    x = L.Conv2D(4, 3, strides=2, activation="relu", name="conv")(image)
    model = keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(x)))
    x = np.random.default_rng(0).uniform(0, 1, (2, 21, 15, 3)).astype("float32")
    for method in ("grad-cam", "ablation-cam", "occlusion", "rise", "score-cam"):
        heat = Scope(model).focus(x, 1, method, **({"masks": 9} if method == "rise" else {}))
        assert heat.full.shape == (2, 21, 15)
        assert heat.layer in ("conv", "")


@pytest.mark.parametrize("method", METHODS)
def test_whole_numbers_mean_what_they_mean_as_real_numbers(method):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="conv", activation="relu")(L.Rescaling(1 / 255)(image))
    scope = Scope(keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(x))))
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    parameters = {"masks": 9} if method == "rise" else {}
    whole, real = (scope.focus(x.astype(kind), 1, method, **parameters) for kind in ("u1", "f8"))
    assert np.array_equal(whole.raw, real.raw)
