"""`Scope`, as a Python user meets it."""

import gc
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import zarr
from keras import layers as L
from PIL import Image

from layerscope import Maps, Scope
from layerscope.errors import InputError, ModelError, UnknownLayerError


def small(size=24, channels=3, name="small"):
    keras.utils.set_random_seed(1)
    i = keras.Input((size, size, channels))
    x = L.Conv2D(6, 3, padding="same", name="block1_conv", activation="relu")(i)
    y = L.Conv2D(6, 3, padding="same", name="block2_conv")(x)
    x = L.ReLU(name="block2_out")(L.Add(name="block2_add")([x, y]))
    x = L.Conv2D(4, 1, name="block3_conv")(L.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(i, L.Softmax()(L.Flatten()(x)), name=name)


@pytest.fixture(scope="module")
def scope():
    return Scope(small(), preprocess="0..1")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("b.png", "a.jpg", "c.png"):
        Image.fromarray(random.integers(0, 255, (30, 40, 3), np.uint8)).save(folder / name)
    return folder


def images(count=3, size=24):
    return np.random.default_rng(2).random((count, size, size, 3), np.float32)


def test_layers_is_a_table_with_a_row_per_convolution_and_block(scope):
    table = scope.layers
    assert list(table.path) == ["block1_conv", "block2_conv", "block2_add", "block3_conv"]
    assert list(table.kind) == ["conv", "conv", "block", "conv"]
    assert list(table.depth) == [0, 0.5, 0.5, 1]
    assert list(table.pre_activation) == [False, True, False, True]
    assert table.not_shown[3] == "a map of 1x1 is a number, not a picture"
    assert table.output[2] == "block2_out"


def test_maps_are_float32_arrays_that_the_caller_owns(scope):
    maps = scope.maps(images())
    assert isinstance(maps, Maps)
    assert list(maps) == ["block1_conv", "block2_conv", "block2_add", "block3_conv"]
    for array in maps.values():
        assert array.dtype == np.float32
        assert array.flags.writeable
    assert maps["block1_conv"].shape == (3, 24, 24, 6)
    assert maps.ids == ("0", "1", "2")
    np.testing.assert_allclose(maps.predictions, scope.model(images() / 255), rtol=1e-5)


def test_writing_into_maps_changes_nothing_else():
    class Copies(L.Layer):
        def call(self, x):
            return tf.identity(x)

    i = keras.Input((8, 8, 3))
    x = L.Reshape((8, 8, 3), name="same_input")(Copies(name="input")(i))
    x = L.Conv2D(4, 3, name="conv", activation="relu")(x)
    x = L.Reshape((6, 6, 4), name="same_map")(L.Identity(name="handed_on")(x))
    scope = Scope(keras.Model(i, L.GlobalAveragePooling2D()(x)))
    given = images(2, 8)
    kept = given.copy()
    first, second = scope.maps(given, "all"), scope.maps(given, "all")
    assert {"input", "same_input", "conv", "same_map"} <= set(first)
    for path, array in first.items():
        others = {name: a.copy() for name, a in first.items() if name != path}
        array[:] = -7
        for name, values in others.items():
            np.testing.assert_array_equal(first[name], values, err_msg=f"{path} and {name}")
    np.testing.assert_array_equal(given, kept)
    third = scope.maps(given, "all")
    for path in second:
        np.testing.assert_array_equal(second[path], third[path])


def test_batches_do_not_change_the_maps(scope):
    whole, parts = scope.maps(images(5)), scope.maps(images(5), batch_size=2)
    assert whole.ids == parts.ids
    for path in whole:
        np.testing.assert_allclose(whole[path], parts[path], rtol=1e-4, atol=1e-6)


def test_a_stream_gives_read_only_views_or_copies_on_demand(scope):
    for maps in scope.stream(images(), "block1_conv", batch_size=2):
        assert not maps["block1_conv"].flags.writeable
    kept = [m["block1_conv"] for m in scope.stream(images(), "block1_conv", batch_size=1)]
    whole = scope.maps(images(), "block1_conv")["block1_conv"]
    np.testing.assert_allclose(np.concatenate(kept), whole, rtol=1e-4, atol=1e-6)
    for maps in scope.stream(images(), "block1_conv", copy=True):
        assert maps["block1_conv"].flags.writeable


def test_a_damaged_file_is_listed_and_the_rest_goes_on(photos, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(photos, folder)
    (folder / "d.jpg").write_text("no image at all")
    (folder / "e.png").write_bytes(b"")
    scope = Scope(small(), preprocess="0..1")
    maps = scope.maps(folder, batch_size=2)
    assert maps.ids == ("a.jpg", "b.png", "c.png")
    assert [item.file for item in maps.skipped] == ["d.jpg", "e.png"]
    assert list(scope.stream(folder, batch_size=1))[-1].skipped == maps.skipped
    assert "d.jpg was skipped" in str(scope.show(folder, "block1_conv").document)


def test_a_call_with_two_arguments_takes_a_list_of_arrays():
    class Two(keras.Model):
        def __init__(self):
            super().__init__(name="two")
            self.conv, self.pool = L.Conv2D(4, 3, name="conv"), L.GlobalAveragePooling2D()

        def call(self, image, scale):
            return self.pool(self.conv(image)) * scale

    model = Two()
    model(images(1), np.ones((1, 1), np.float32))
    scope = Scope(model)
    with pytest.raises(ModelError, match="whose call takes image, scale: pass images as a list"):
        scope.maps(images(2))
    batch = [images(2), np.ones((2, 1), np.float32)]
    np.testing.assert_allclose(scope.maps(batch).predictions, model(*batch), rtol=1e-4, atol=1e-6)


def test_files_are_resized_and_preprocessed_and_arrays_are_not(photos):
    model = small()
    half = Scope(model, preprocess="0..1")
    maps = half.maps(photos)
    assert maps.ids == ("a.jpg", "b.png", "c.png")
    raw = next(iter(Scope(model, preprocess="none").source(photos))).pixels
    assert raw.max() > 100
    expected = Scope(model).maps(raw / 255)
    np.testing.assert_allclose(maps["block1_conv"], expected["block1_conv"], rtol=1e-3, atol=1e-5)


def test_a_model_that_scales_its_images_itself_needs_no_preprocessing(photos):
    i = keras.Input((24, 24, 3))
    x = L.Conv2D(4, 3, activation="relu")(L.Rescaling(1 / 255)(i))
    scope = Scope(keras.Model(i, L.GlobalAveragePooling2D()(x)))
    assert scope.preparation(photos).chosen_by == "model"
    assert np.isfinite(scope.maps(photos).predictions).all()


def test_without_evidence_auto_asks_for_the_preprocessing(photos):
    with pytest.raises(InputError, match=r"preprocess=.*none, 0\.\.1, -1\.\.1, caffe, torch"):
        Scope(small()).maps(photos)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("block1_conv", ["block1_conv"]),
        ("conv", ["block1_conv", "block2_conv", "block3_conv"]),
        ("block", ["block2_add"]),
        ("block2*", ["block2_conv", "block2_add"]),
        (["block3_conv", "block1*"], ["block1_conv", "block3_conv"]),
        ("block2_out", ["block2_out"]),
        ("block2_add:raw", ["block2_add:raw"]),
        ("other", ["block2_add:raw", "block2_out", "global_average_pooling2d*"]),
    ],
)
def test_patterns_name_paths_kinds_and_globs(scope, pattern, found):
    names = list(scope.maps(images(1), pattern))
    assert len(names) == len(found)
    assert all(n.startswith(f.rstrip("*")) for n, f in zip(names, found, strict=True))


def test_all_is_every_layer_output_of_rank_4(scope):
    maps = scope.maps(images(1), "all")
    assert {"block1_conv", "block2_add", "block2_out", "block2_add:raw"} < set(maps)


def test_an_unknown_layer_is_an_error_with_near_matches(scope):
    with pytest.raises(UnknownLayerError, match=r"'block1_cnv' matches none.*Near: block1_conv"):
        scope.maps(images(), "block1_cnv")
    with pytest.raises(InputError, match="At least one layer pattern"):
        scope.maps(images(), [])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 24, 24, 1), np.float32), r"must have shape \(any, 24, 24, 3\).*3 channels"),
        (np.zeros((2, 20, 24, 3), np.float32), r"\(2, 20, 24, 3\) was given"),
        ([np.zeros((2, 24, 24, 3))] * 2, "takes 1 inputs, and 2 were given"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_sentence(scope, array, message):
    with pytest.raises(InputError, match=message):
        scope.maps(array)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.maps(images()[:0]), "the array is empty"),
        (lambda s: s.maps(images(), layers=3), "Layer patterns are text"),
        (lambda s: s.maps(images(), layers=["block1_conv", 2]), "Layer patterns are text"),
        (lambda s: s.maps(images(), batch_size=2.5), "batch_size=2.5"),
        (lambda s: s.show(images(), maps="bad"), "maps is a number from 1, or 'all'"),
        (lambda s: s.show(images(), scale="foo"), "scale is 'map' or 'layer'"),
        (lambda s: s.maps(images().astype(complex)), "Images are numbers"),
        (lambda s: s.maps(images().astype(object)), "Images are numbers"),
        (lambda s: s.stream(images(), "zz"), "'zz' matches none"),
        (lambda s: s.maps(np.where(images() > 0.9, np.nan, images())), "must be finite.* 0, 1"),
        (lambda s: Scope(s.model, classes=["a", "b"]).maps(images()), "has 4, and 2 names"),
        (lambda s: Scope(s.model, preprocess=None), "A preprocessing is named"),
        (lambda s: Scope(s.model, resize="foo"), "Resizing is one of"),
        (lambda s: s.show(images() * 255).save("a.jpg"), "saved as .png"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(scope, call, message):
    with pytest.raises(InputError, match=message):
        call(scope)


def test_paths_in_a_tuple_and_arrays_in_a_list_are_what_they_look_like(photos):
    scope = Scope(small(), preprocess="0..1")
    names = [photos / "a.jpg", photos / "c.png"]
    listed, tupled = scope.maps(names), scope.maps(tuple(names))
    np.testing.assert_array_equal(listed["block1_conv"], tupled["block1_conv"])
    with pytest.raises(InputError, match="Name it with --preprocess"):
        Scope(small()).maps(tuple(names))
    batch = images(2)
    np.testing.assert_array_equal(
        scope.maps([batch[0], batch[1]])["block1_conv"], scope.maps(batch)["block1_conv"]
    )


def test_python_control_flow_under_tf_function_is_followed():
    class Branching(keras.Model):
        def __init__(self):
            super().__init__(name="branching")
            self.one = L.Conv2D(4, 3, name="one", activation="relu")
            self.two = L.Conv2D(4, 3, padding="same", name="two")

        @tf.function
        def call(self, x):
            x = self.one(x)
            if tf.reduce_mean(x) > 0.0:
                x = self.two(x)
            return x

    model = Branching()
    model(images(1))
    scope = Scope(model)
    assert scope.layers.set_index("path").not_shown["two"].startswith("called inside a loop")
    maps = scope.maps(images(2))
    np.testing.assert_allclose(maps["one"], model.one(images(2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps.predictions, model(images(2)), rtol=1e-4, atol=1e-6)


def test_recurrent_convolutions_are_listed_with_the_reason():
    i = keras.Input((3, 12, 12, 1))
    x = L.ConvLSTM2D(2, 3, name="lstm")(i)
    model = keras.Model(i, L.Conv2D(2, 3, name="after")(x))
    table = Scope(model).layers.set_index("path")
    assert list(table.index) == ["lstm", "after"]
    assert table.not_shown["lstm"].startswith("recurrent convolution")


def test_more_maps_than_memory_holds_are_refused_before_any_work(scope):
    huge = np.broadcast_to(np.float32(0), (10**9, 24, 24, 3))
    with pytest.raises(InputError, match=r"half of the memory.*stream\(\)"):
        scope.maps(huge)


def test_a_model_without_image_maps_says_so():
    i = keras.Input((8,))
    with pytest.raises(ModelError, match="computes none: use a model with two-dimensional"):
        Scope(keras.Model(i, L.Dense(2)(i))).maps([np.zeros((1, 8), np.float32)])


def test_other_ranks_are_listed_with_the_reason():
    i = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, name="flat")(i)
    y = L.Conv1D(4, 3, name="line")(L.Reshape((196, 4))(x))
    z = L.Conv3D(2, 3, name="volume")(L.Reshape((14, 14, 4, 1))(x))

    class Sequence(L.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(3, 4, 4))

        def call(self, x):
            return tf.nn.conv1d(x, self.w, 1, "SAME")

    y = Sequence(name="own_line")(y)
    out = L.Concatenate()([L.GlobalAveragePooling1D()(y), L.GlobalAveragePooling3D()(z)])
    table = Scope(keras.Model(i, out)).layers.set_index("path")
    assert table.not_shown["line"].startswith("1-D convolution")
    assert table.not_shown["own_line"].startswith("1-D convolution")
    assert table.not_shown["volume"].startswith("3-D convolution")
    with pytest.raises(InputError, match=r"'line' gives no image map .1-D convolution"):
        Scope(keras.Model(i, out)).maps(np.zeros((1, 16, 16, 3), np.float32), "line")


def test_a_subclassed_model_takes_images_of_another_size():
    class Free(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = L.Conv2D(4, 3, name="conv"), L.GlobalAveragePooling2D()

        def call(self, x):
            return self.pool(self.conv(x))

    model = Free()
    model(np.zeros((1, 16, 16, 3), np.float32))
    scope = Scope(model)
    assert scope.maps(images(2, 16))["conv"].shape == (2, 14, 14, 4)
    assert scope.maps(images(2, 20))["conv"].shape == (2, 18, 18, 4)


def test_zarr_holds_everything_and_an_existing_path_is_left_alone(scope, tmp_path):
    maps = scope.maps(images(2))
    maps.to_zarr(tmp_path / "maps.zarr")
    group = zarr.open_group(tmp_path / "maps.zarr", mode="r")
    np.testing.assert_array_equal(group["maps/block1_conv"][:], maps["block1_conv"])
    np.testing.assert_array_equal(group["predictions"][:], maps.predictions)
    assert group.attrs["ids"] == ["0", "1"]
    with pytest.raises(InputError, match="new directory"):
        maps.to_zarr(tmp_path / "maps.zarr")


def resident():
    """MiB of memory that this process holds now; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 / 2**20 if status.exists() else 0


def test_a_hundred_calls_neither_trace_again_nor_grow():
    traced = []

    class Counting(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = L.Conv2D(8, 3, name="conv", activation="relu")
            self.pool, self.out = L.GlobalAveragePooling2D(), L.Dense(3)

        def call(self, x):
            traced.append(1)
            return self.out(self.pool(self.conv(x)))

    model = Counting()
    model(images(1))
    scope = Scope(model)
    for _ in range(10):
        scope.maps(images(4))
    calls, programs = len(traced), len(scope.traced._programs)
    gc.collect()
    before = resident()
    for _ in range(100):
        scope.maps(images(4))
    gc.collect()
    grown = resident() - before
    assert len(traced) == calls
    assert len(scope.traced._programs) == programs
    assert grown < 8


def test_new_weights_are_seen_without_a_new_trace(scope):
    model = small(name="changing")
    watching = Scope(model)
    before = watching.maps(images(1))["block1_conv"]
    model.get_layer("block1_conv").kernel.assign(
        2 * np.asarray(model.get_layer("block1_conv").kernel)
    )
    np.testing.assert_allclose(watching.maps(images(1))["block1_conv"], 2 * before, rtol=1e-4)


def test_an_exception_in_the_middle_of_the_trace_leaves_the_model_as_found():
    class Fails(L.Layer):
        broken = False

        def call(self, x):
            if self.broken:
                raise RuntimeError("in the middle")
            return x

    i = keras.Input((8, 8, 3))
    fails = Fails()
    model = keras.Model(i, L.Conv2D(2, 3)(fails(L.Conv2D(3, 3)(i))))
    fails.broken = True
    before = {layer: dict(vars(layer)) for layer in model.layers}
    with pytest.raises(ModelError, match=r"fails there with RuntimeError: .*in the middle"):
        Scope(model).maps(images(1, 8))
    fails.broken = False
    for layer in model.layers:
        assert vars(layer).keys() == before[layer].keys()
    assert Scope(model).maps(images(1, 8))


def test_the_twin_lists_weights_whose_initialiser_nobody_knows():
    class Odd(L.Layer):
        def __init__(self):
            super().__init__()
            self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")

        def get_config(self):
            raise NotImplementedError

        def call(self, x):
            return x * self.scale

    i = keras.Input((12, 12, 3))
    x = L.Normalization(mean=[0.5] * 3, variance=[1.0] * 3)(i)
    x = L.Normalization(name="fitted")(x)
    model = keras.Model(i, L.GlobalAveragePooling2D()(Odd()(L.Conv2D(4, 3)(x))))
    twin = Scope(model).twin(images(4, 12))
    kept = dict(twin.kept)
    assert kept.pop("odd/scale") == "no initialiser is known for it"
    assert set(kept.values()) == {"a statistic of the data, which training does not learn"}
    assert {path.split("/")[0] for path in kept} == {"fitted"}


def test_a_twin_without_any_fresh_weight_is_refused():
    i = keras.Input((12, 12, 3))
    model = keras.Model(i, L.Conv2D(4, 3, kernel_initializer="ones")(i))
    with pytest.raises(ModelError, match="gives the same output"):
        Scope(model).twin(images(4, 12))


def test_batchnorm_of_the_twin_is_fitted_layer_after_layer():
    i = keras.Input((16, 16, 3))
    x = i
    for at in range(12):
        x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization(name=f"bn{at}")(x))
    model = keras.Model(i, L.GlobalAveragePooling2D()(x))
    scope = Scope(model)
    batch = images(16, 16)
    twin = scope.twin(batch)
    assert len(twin.estimated) == 12
    names = [tap.tensor for tap in scope.traced.taps]
    for maps in scope.traced.run([batch], names, weights=twin.weights):
        # The positive half of a standard normal, whatever the depth.
        assert 0.3 < float(np.std(maps)) < 0.9


def test_receptive_fields_of_known_networks():
    vgg = Scope(keras.applications.VGG16(weights=None)).traced
    rows = vgg.rows_of(vgg.resolve(["block5_conv3", "block5_pool"]))
    assert rows["block5_conv3"].receptive_field == 196
    assert rows["block5_pool"].receptive_field == 212
    resnet = Scope(keras.applications.ResNet50(weights=None)).layers.set_index("path")
    assert resnet.receptive_field["conv5_block3_3_conv"] == 483
    assert resnet.stride["conv5_block3_3_conv"] == 32


def test_receptive_fields_through_dilation_transposition_and_gates():
    i = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3, dilation_rate=2, name="dilated", padding="same")(i)
    x = L.Conv2D(4, 3, strides=2, name="strided", padding="same")(x)
    s = L.Conv2D(4, 1, name="gate", activation="sigmoid")(
        L.GlobalAveragePooling2D(keepdims=True)(x)
    )
    x = L.Multiply()([x, s])
    x = L.Conv2DTranspose(4, 4, strides=2, name="transposed", padding="same")(x)
    x = L.Conv2D(4, 3, name="last")(L.UpSampling2D()(x))
    rows = Scope(keras.Model(i, x)).layers.set_index("path")
    assert rows.receptive_field["dilated"] == 5
    assert rows.receptive_field["strided"] == 7
    assert rows.notes["gate"] == "receptive field: the whole image"
    assert rows.receptive_field["transposed"] == 9
    assert rows.notes["transposed"] == "a gate or normalisation looks at the whole image besides"
    assert rows.stride["transposed"] == 1
    assert rows.stride["last"] == 0.5


def test_theoretical_fields_contain_the_gradient_of_the_centre():
    i = keras.Input((40, 40, 3))
    x = L.Conv2D(3, 3, strides=2, padding="same")(i)
    x = L.MaxPooling2D(3, 2, padding="same")(L.DepthwiseConv2D(5, padding="same")(x))
    model = keras.Model(i, L.Conv2D(3, 3, dilation_rate=2, padding="same", name="end")(x))
    scope = Scope(model)
    found = scope.layers.set_index("path").receptive_field["end"]
    (name,) = scope.traced.gradients(
        "end", lambda outputs: next(iter(outputs.values()))[:, 5, 5, :], scope.traced.trace.inputs
    )
    (gradient,) = scope.traced.run([np.random.default_rng(0).random((20, 40, 40, 3))], [name])
    touched = np.abs(gradient).sum((0, 3)) > 0
    spans = [int(np.ptp(np.flatnonzero(touched.any(axis)))) + 1 for axis in (0, 1)]
    assert spans == [found, found]


def test_the_effective_field_of_one_linear_convolution_is_its_kernel():
    i = keras.Input((32, 32, 3))
    model = keras.Model(i, L.Conv2D(4, 5, padding="same", kernel_initializer="ones", name="c")(i))
    assert Scope(model).effective_receptive_field("c") == 5


def test_pictures_are_saved_as_a_folder_or_one_file(photos, tmp_path):
    scope = Scope(small(), preprocess="0..1", classes=["a", "b", "c", "d"])
    shown = scope.show(photos / "a.jpg")
    files = shown.save(tmp_path / "out")
    assert [f.name for f in files] == [
        "index.html",
        "overview.png",
        "layer-1-block1_conv.png",
        "layer-2-block2_conv.png",
        "layer-3-block2_add.png",
    ]
    assert shown.not_drawn == (("block3_conv", "a map of 1x1 is a number, not a picture"),)
    assert {name for name, _ in shown.overviews[0].predictions} == {"a", "b", "c", "d"}
    for file in files[1:]:
        with Image.open(file) as picture:
            assert picture.width > 300
    one = scope.show(photos / "a.jpg", "block1_conv", maps="all").save(tmp_path / "one.png")
    assert one == [tmp_path / "one.png"]
    assert "block1_conv" in scope.show(photos, "block1_conv")._repr_html_()
