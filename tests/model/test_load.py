"""Loading: what works, what is refused, and that nothing in a refused file ever runs."""

import base64
import importlib
import json
import logging
import marshal
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from layerscope.errors import (
    EnvironmentFailure,
    InputError,
    LoadError,
    MissingFileError,
    ModelError,
    UnsafeModelError,
)
from layerscope.model import load as loading
from layerscope.model.load import check_model, load
from layerscope.model.safety import unexported_layers

# Keras on TensorFlow hands its variables to NumPy in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGE = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(1, 8, 8, 3)


@pytest.fixture(autouse=True)
def _quiet_absl():
    # Keras warns on every save to .h5 that the format is old.
    logging.getLogger("absl").setLevel(logging.ERROR)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it-ran"


def tiny(*more, **conv):
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="conv", **conv), *more]
    return keras.Sequential(layers, name="tiny")


def saved(model, path):
    model.save(path)
    return path


def edit_keras(path, edit):
    """Rewrite the config.json of a .keras file with ``edit(config)``."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    members["config.json"] = json.dumps(edit(config) or config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def edit_h5(path, edit):
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(edit(config) or config)
    return path


def with_layer(tmp_path, layer, suffix=".keras"):
    """A model file with one more layer at its end, given as JSON."""
    path = saved(tiny(), tmp_path / f"model{suffix}")

    def edit(config):
        config["config"]["layers"].append(layer)

    return edit_keras(path, edit) if suffix == ".keras" else edit_h5(path, edit)


def with_argument(tmp_path, value, argument="activation"):
    """A model file whose convolution has ``value``, as JSON, for one of its arguments."""

    def edit(config):
        config["config"]["layers"][1]["config"][argument] = value

    return edit_keras(saved(tiny(), tmp_path / "model.keras"), edit)


def code_that_marks(marker):
    function = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    return base64.b64encode(marshal.dumps(function.__code__)).decode()


def lambda_layer(marker, function=None):
    code = {"code": code_that_marks(marker), "defaults": None, "closure": None}
    config = {
        "name": "sneaky",
        "function": function or {"class_name": "__lambda__", "config": code},
    }
    node = {"class_name": "Lambda", "config": {**config, "output_shape": [8, 8, 3]}}
    return {"module": "keras.layers", "registered_name": None, **node}


def module_that_marks(folder, marker, name):
    """A module which leaves the marker when it is imported, and has a layer called Evil."""
    (folder / f"{name}.py").write_text(
        f"import keras\nopen({str(marker)!r}, 'w').close()\n"
        "class Evil(keras.layers.Layer):\n    def call(self, x):\n        return x + 1\n"
        "def evil(x):\n    return x + 1\n"
    )
    return name


# ------------------------------------------------------------------------------- what must load


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_a_saved_model_comes_back_with_its_outputs_uncompiled(tmp_path, suffix):
    model = tiny(keras.layers.BatchNormalization(), keras.layers.ReLU(), activation="gelu")
    model.compile("adam", "mse")
    again = load(saved(model, tmp_path / f"model{suffix}"))
    np.testing.assert_array_equal(again(IMAGE), model(IMAGE))
    assert not again.compiled


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_loading_a_compiled_model_warns_about_nothing(tmp_path, suffix):
    model = tiny()
    model.compile("adam", "mse", metrics=["mae"])
    with warnings.catch_warnings(action="ignore"):
        path = saved(model, tmp_path / f"model{suffix}")
    load(path)


def test_an_h5_file_of_keras_2_loads_without_advice_to_its_author(tmp_path):
    def edit(config):
        config["config"]["layers"][1]["config"]["batch_input_shape"] = [None, 8, 8, 3]

    model = tiny()
    again = load(edit_h5(saved(model, tmp_path / "model.h5"), edit))
    np.testing.assert_array_equal(again(IMAGE), model(IMAGE))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_nested_functional_model_with_every_kind_of_part_loads_without_trust(tmp_path, suffix):
    inner = tiny(kernel_regularizer="l2", kernel_constraint=keras.constraints.MaxNorm(2.0))
    image = keras.Input((8, 8, 3))
    x = keras.layers.RandomFlip(seed=1)(inner(image))
    x = keras.layers.Conv2D(
        2,
        3,
        dtype="mixed_float16",
        kernel_initializer=keras.initializers.HeNormal(seed=keras.random.SeedGenerator(3)),
    )(x)
    model = keras.Model(image, [keras.layers.Add(dtype="mixed_float16")([x, x]), x])
    again = load(saved(model, tmp_path / f"model{suffix}"))
    np.testing.assert_array_equal(again(IMAGE)[0], model(IMAGE)[0])


def test_keras_ops_calls_in_a_functional_model_load_without_trust(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.ops.relu(keras.layers.Conv2D(2, 3)(image)) * 2.0
    x = keras.ops.concatenate([x[:, 1:], keras.ops.pad(x, [(0, 0), (0, 0), (0, 0), (0, 0)])], 1)
    model = keras.Model(image, keras.ops.mean(x, axis=(1, 2)))
    again = load(saved(model, tmp_path / "model.keras"))
    np.testing.assert_array_equal(again(IMAGE), model(IMAGE))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`:UserWarning")
def test_an_8_bit_model_loads(tmp_path):
    model = tiny(keras.layers.Dense(2))
    model.quantize("int8")
    load(saved(model, tmp_path / "model.keras"))


def test_a_layer_of_keras_applications_loads_from_h5(tmp_path):
    scale = unexported_layers()["LayerScale"](0.5, 2)
    model = tiny(scale)
    again = load(saved(model, tmp_path / "model.h5"))
    np.testing.assert_array_equal(again(IMAGE), model(IMAGE))


def test_a_loss_that_nobody_has_does_not_matter(tmp_path):
    def edit(config):
        config["compile_config"] = {"loss": {"module": "x", "class_name": "L", "config": {}}}

    load(edit_keras(saved(tiny(), tmp_path / "model.keras"), edit))


def test_a_layer_that_this_process_has_registered_is_allowed(tmp_path):
    @keras.saving.register_keras_serializable("layerscope_test")
    class Doubling(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    model = tiny(Doubling())
    for suffix in (".keras", ".h5"):
        again = load(saved(model, tmp_path / f"model{suffix}"))
        np.testing.assert_array_equal(again(IMAGE), model(IMAGE))


# -------------------------------------------------------------------- what carries code of its own


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_refused_and_does_not_run(tmp_path, marker, suffix):
    path = with_layer(tmp_path, lambda_layer(marker), suffix)
    with pytest.raises(
        UnsafeModelError, match=r"Lambda \(in layer 'sneaky'\).*--trust.*trust=True"
    ):
        load(path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_runs_with_trust(tmp_path, marker, suffix):
    load(with_layer(tmp_path, lambda_layer(marker), suffix), trust=True)(IMAGE)
    assert marker.exists()


def test_a_lambda_of_keras_2_is_refused_and_does_not_run(tmp_path, marker):
    layer = lambda_layer(marker, [code_that_marks(marker), None, None])
    del layer["module"], layer["registered_name"]
    with pytest.raises(UnsafeModelError, match=r"Lambda.*--trust"):
        load(with_layer(tmp_path, layer, ".h5"))
    assert not marker.exists()


def test_a_lambda_is_refused_after_the_process_switched_off_the_safety_of_keras(tmp_path, marker):
    keras.config.enable_unsafe_deserialization()
    try:
        with pytest.raises(UnsafeModelError, match=r"Lambda.*--trust"):
            load(with_layer(tmp_path, lambda_layer(marker)))
    finally:
        keras.utils.clear_session()  # which is also how Keras forgets the switch
    assert not marker.exists()


def test_a_lambda_inside_a_wrapper_inside_a_model_is_found(tmp_path, marker):
    wrapper = {
        "module": "keras.layers",
        "class_name": "TimeDistributed",
        "config": {"name": "outer", "layer": lambda_layer(marker)},
    }
    with pytest.raises(UnsafeModelError, match=r"Lambda.*'sneaky'"):
        load(with_layer(tmp_path, wrapper))
    assert not marker.exists()


def test_weights_that_lie_at_1024_do_not_make_an_archive_an_hdf5_file(tmp_path):
    """Where HDF5 looks for its signature; the member before them decides where they lie."""
    keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)]).save(tmp_path / "a.keras")
    with (
        zipfile.ZipFile(tmp_path / "a.keras") as old,
        zipfile.ZipFile(tmp_path / "model.keras", "w") as new,
    ):
        header = 30 + len("model.weights.h5")
        new.writestr("padding", b"0" * (1024 - header - 30 - len("padding")))
        for name in ("model.weights.h5", "config.json", "metadata.json"):
            new.writestr(name, old.read(name))
    assert h5py.is_hdf5(tmp_path / "model.keras")
    assert load(tmp_path / "model.keras").count_params() == 20


@pytest.mark.parametrize("argument", ["activation", "kernel_initializer", "kernel_regularizer"])
def test_marshalled_code_as_an_argument_is_refused(tmp_path, marker, argument):
    code = {"class_name": "__lambda__", "config": {"value": [code_that_marks(marker), None, None]}}
    with pytest.raises(UnsafeModelError, match=r"__lambda__.*'conv'.*--trust"):
        load(with_argument(tmp_path, code, argument))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"])
def test_layers_that_run_another_programs_code_are_refused(tmp_path, name):
    layer = {"module": "keras.layers", "class_name": name, "config": {"filepath": str(tmp_path)}}
    with pytest.raises(UnsafeModelError, match=f"{name}.*--trust"):
        load(with_layer(tmp_path, layer))


@pytest.mark.parametrize("name", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_a_vocabulary_read_from_another_file_is_refused(tmp_path, name):
    (tmp_path / "secret").write_text("password\n")
    layer = {
        "module": "keras.layers",
        "class_name": name,
        "config": {"name": "words", "vocabulary": str(tmp_path / "secret")},
    }
    with pytest.raises(UnsafeModelError, match=r"reads another file, '.*secret'.*'words'.*--trust"):
        load(with_layer(tmp_path, layer))


# --------------------------------------------------------------------- what names code elsewhere


def evil_nodes(module):
    inner = {"class_name": "Evil", "config": {}}
    return {
        "class": {"module": module, "registered_name": None, **inner},
        "package": {"module": f"{module}.inner", "registered_name": "Evil", **inner},
        "keras name": {"module": module, "class_name": "Conv2D", "config": {}},
        "value tag": {"module": module, "class_name": "TensorShape", "config": {}, "items": []},
        "type spec": {
            "module": module,
            "class_name": "__typespec__",
            "spec_name": "Evil",
            "registered_name": None,
            "config": [],
        },
        "function": {"module": module, "class_name": "function", "config": "evil"},
    }


@pytest.mark.parametrize("kind", evil_nodes("x"))
def test_a_module_that_the_file_names_is_not_imported(tmp_path, marker, monkeypatch, kind):
    monkeypatch.syspath_prepend(tmp_path)
    name = module_that_marks(tmp_path, marker, f"evil_{kind.replace(' ', '_')}")
    path = with_argument(tmp_path, evil_nodes(name)[kind])
    for trust in (False, True):
        with pytest.raises(UnsafeModelError, match=rf"'{name}.*--custom-objects {name}"):
            load(path, trust=trust)
    assert not marker.exists()
    assert name not in sys.modules


def test_a_registered_name_does_not_open_the_door_to_another_module(tmp_path, marker, monkeypatch):
    @keras.saving.register_keras_serializable("layerscope_test", "Evil")
    class Evil(keras.layers.Layer):
        pass

    monkeypatch.syspath_prepend(tmp_path)
    name = module_that_marks(tmp_path, marker, "evil_twin")
    node = {"module": name, "class_name": "layerscope_test>Evil", "config": {}}
    with pytest.raises(UnsafeModelError, match="evil_twin"):
        load(with_argument(tmp_path, {**node, "registered_name": "other"}))
    assert not marker.exists()


def test_a_registered_name_does_not_count_where_the_h5_reader_ignores_it(tmp_path):
    @keras.saving.register_keras_serializable("layerscope_test", "Known")
    class Known(keras.layers.Layer):
        pass

    node = {"class_name": "deserialize", "registered_name": "layerscope_test>Known", "config": {}}
    with pytest.raises(UnsafeModelError, match=r"'deserialize'.*no option loads it"):
        load(with_layer(tmp_path, node, ".h5"))


def test_a_registered_name_does_not_hide_a_lambda(tmp_path, marker):
    @keras.saving.register_keras_serializable("layerscope_test", "Fine")
    class Fine(keras.layers.Layer):
        pass

    for suffix in (".keras", ".h5"):
        layer = {**lambda_layer(marker), "registered_name": "layerscope_test>Fine"}
        with pytest.raises(UnsafeModelError, match=r"Lambda.*--trust"):
            load(with_layer(tmp_path, layer, suffix))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("keras.utils", "get_file"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("keras.saving", "load_model"),
        ("keras.activations", "deserialize"),
        ("keras.src.layers.layer", "inspect"),
    ],
)
def test_what_is_no_part_of_a_model_is_refused_whatever_the_user_allows(tmp_path, module, function):
    node = {"module": module, "class_name": "function", "config": function}
    for value in (node, {"module": module, "class_name": function, "config": {}}):
        with pytest.raises(UnsafeModelError, match=rf"'{module}.{function}'.*no option loads it"):
            load(with_argument(tmp_path, value), trust=True)


@pytest.mark.parametrize(
    ("module", "name"), [("keras.callbacks", "ModelCheckpoint"), ("keras.utils", "Progbar")]
)
def test_a_class_of_keras_that_is_no_part_of_a_model_is_refused(tmp_path, module, name):
    node = {"module": module, "class_name": name, "config": {"filepath": str(tmp_path)}}
    with pytest.raises(UnsafeModelError, match=rf"'{module}.{name}'.*no option loads it"):
        load(with_argument(tmp_path, node), trust=True)


def test_a_lambda_of_keras_under_another_name_is_refused(tmp_path, marker, monkeypatch):
    monkeypatch.setattr(keras.layers, "Harmless", keras.layers.Lambda, raising=False)
    layer = {**lambda_layer(marker), "class_name": "Harmless"}
    with pytest.raises(UnsafeModelError, match=r"Harmless'.*no option loads it"):
        load(with_layer(tmp_path, layer))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "function"),
    [("os", "system"), ("builtins", "exec"), ("subprocess", "run"), ("__main__", "main")],
)
def test_a_standard_module_is_refused_and_never_proposed(tmp_path, module, function):
    node = {"module": module, "class_name": "function", "config": function}
    with pytest.raises(UnsafeModelError, match=f"{function}'.*--custom-objects MODULE"):
        load(with_argument(tmp_path, node))


def test_text_from_the_file_cannot_become_part_of_a_command_or_drive_the_terminal(tmp_path):
    node = {"module": "x; rm -rf ~\x1b[2J", "class_name": "A\u202eB" * 500, "config": {}}
    with pytest.raises(UnsafeModelError, match="--custom-objects MODULE") as caught:
        load(with_argument(tmp_path, node))
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 800


def test_text_from_the_file_that_keras_repeats_cannot_drive_the_terminal(tmp_path):
    with pytest.raises(LoadError, match=r"cannot load.*identifier: \?\[2J") as caught:
        load(with_argument(tmp_path, "\x1b[2J"))
    assert str(caught.value).isprintable()


def test_a_class_name_that_is_no_text_is_refused(tmp_path):
    node = {"module": "os", "class_name": ["system"], "config": {}}
    with pytest.raises(LoadError, match=r"damaged.*\['system'\]"):
        load(with_argument(tmp_path, node))


def test_a_configuration_that_is_a_list_is_refused(tmp_path, marker):
    path = saved(tiny(), tmp_path / "model.keras")
    edit_keras(path, lambda config: [{"a": 1, "b": lambda_layer(marker)}])
    with pytest.raises(LoadError, match=r"damaged.*no JSON object"):
        load(path)


# -------------------------------------------------------------------------------- custom objects


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A folder that is the current directory and holds a module of custom layers."""
    (tmp_path / "my_layers.py").write_text(
        "import keras\n"
        "from keras.layers import Lambda as Fine\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Registered(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n"
        "class Plain(keras.layers.Layer):\n    def call(self, x):\n        return 3 * x\n"
        "def third(x):\n    return x / 3\n"
    )
    monkeypatch.chdir(tmp_path)
    yield "my_layers"
    sys.modules.pop("my_layers", None)
    for name in [n for n in keras.saving.get_custom_objects() if n.startswith("mine>")]:
        del keras.saving.get_custom_objects()[name]


def save_with_own_layers(folder, suffix):
    """Save in a process of its own, so that this one does not know the classes."""
    sys.path.insert(0, str(folder))
    module = importlib.import_module("my_layers")
    sys.path.remove(str(folder))
    model = tiny(module.Registered(), module.Plain(), activation=module.third)
    path = saved(model, folder / f"own{suffix}")
    expected = model(IMAGE)
    del sys.modules["my_layers"], keras.saving.get_custom_objects()["mine>Registered"]
    return path, expected


def test_custom_objects_come_from_a_module_in_the_current_directory(tmp_path, own_module):
    path, expected = save_with_own_layers(tmp_path, ".keras")
    before = list(sys.path)
    with pytest.raises(UnsafeModelError, match=r"'third' \(in layer 'conv'\).*--custom-objects"):
        load(path)
    np.testing.assert_array_equal(load(path, custom_objects=own_module)(IMAGE), expected)
    assert sys.path == before


def test_custom_objects_serve_an_h5_file_too(tmp_path, own_module):
    path, expected = save_with_own_layers(tmp_path, ".h5")
    with pytest.raises(UnsafeModelError, match=r"needs 'third'.*--custom-objects MODULE"):
        load(path)
    np.testing.assert_array_equal(load(path, custom_objects=own_module)(IMAGE), expected)


def test_a_module_without_the_class_is_named_in_the_refusal(tmp_path, own_module):
    node = {"module": "other", "class_name": "Absent", "config": {}}
    with pytest.raises(UnsafeModelError, match=r"'other.Absent'.*nor in 'my_layers'"):
        load(with_argument(tmp_path, node), custom_objects=own_module)


def test_a_lambda_under_an_alias_in_the_users_module_stays_refused(tmp_path, own_module, marker):
    layer = {**lambda_layer(marker), "module": "my_layers", "class_name": "Fine"}
    layer["registered_name"] = "Fine"
    with pytest.raises(UnsafeModelError, match=r"my_layers.Fine"):
        load(with_layer(tmp_path, layer), custom_objects=own_module)
    assert not marker.exists()


def test_a_module_in_the_current_directory_comes_before_one_elsewhere(tmp_path, monkeypatch):
    for folder, factor in (("here", 2), ("elsewhere", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "two_faced.py").write_text(f"def act(x):\n    return {factor} * x\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    node = {"module": "builtins", "class_name": "function", "config": "act"}
    model = load(with_argument(tmp_path, node), custom_objects="two_faced")
    assert model.layers[0].activation(1) == 2
    del sys.modules["two_faced"]


@pytest.mark.parametrize(
    ("module", "text", "match"),
    [
        ("no_such_module_here", None, "no module 'no_such_module_here'.*install it"),
        ("my_package.layers", None, "no module 'my_package.layers'"),
        ("layers.py/x", None, "named as in an import.*got 'layers.py/x'"),
        ("", None, "named as in an import.*got ''"),
        ("needs_more", "import not_installed_at_all", "needs 'not_installed_at_all', which is not"),
        ("breaks", "raise RuntimeError('boom')", "fails when it is imported: RuntimeError: boom"),
        ("leaves", "import sys; sys.exit(3)", "fails when it is imported: SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_gives_one_sentence(
    tmp_path, monkeypatch, module, text, match
):
    monkeypatch.chdir(tmp_path)
    if text:
        (tmp_path / f"{module}.py").write_text(text)
    path = saved(tiny(), tmp_path / "model.keras")
    with pytest.raises(InputError, match=match):
        load(path, custom_objects=module)


# ------------------------------------------------------------------------------------- bad files


def test_a_missing_file_is_named_with_its_neighbours(tmp_path):
    (tmp_path / "model.keras").touch()
    with pytest.raises(
        MissingFileError, match=r"no model file '.*modle.keras'; there is 'model.keras'"
    ):
        load(tmp_path / "modle.keras")
    with pytest.raises(MissingFileError, match=r"no model file '.*none/model.keras'\."):
        load(tmp_path / "none" / "model.keras")
    with pytest.raises(MissingFileError, match="no model file"):
        load("model\0.keras")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("m.tflite", "TFLite model, which is not supported yet: give the Keras model"),
        ("m.pth", "PyTorch file, which is not supported yet: rebuild"),
        ("m.pt", "PyTorch file, which is not supported yet: rebuild"),
        ("m.onnx", "ONNX model, which is not supported yet"),
        ("m.PB", "TensorFlow graph, which is not supported yet"),
        ("m.txt", r"must end in .keras, .h5 or .hdf5, got '.*m.txt'"),
        ("m.keras", "damaged.*no zip archive"),
        ("m.h5", "damaged"),
    ],
)
def test_a_file_of_another_format_says_so_and_what_to_do(tmp_path, name, match):
    (tmp_path / name).touch()
    with pytest.raises(LoadError, match=match):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("inside", "match"),
    [
        (
            "saved_model.pb",
            "SavedModel, which is not supported yet: save the Keras model.*model.keras",
        ),
        ("config.json", "unpacked .keras model, which is not supported yet"),
        ("photo.png", "is a directory: give a model file"),
    ],
)
def test_a_directory_says_what_it_is_and_what_to_do(tmp_path, inside, match):
    folder = tmp_path / "model.keras"
    folder.mkdir()
    (folder / inside).touch()
    with pytest.raises(LoadError, match=match):
        load(folder)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.keras")
    with pytest.raises(LoadError, match="not a regular file"):
        load(tmp_path / "model.keras")


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = saved(tiny(), tmp_path / "model.keras")

    def deny(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(LoadError, match=r"cannot be read \(Permission denied\): check"):
        load(path)


def test_a_file_under_the_name_of_the_other_format_says_how_to_rename_it(tmp_path):
    saved(tiny(), tmp_path / "a.h5").rename(tmp_path / "b.keras")
    saved(tiny(), tmp_path / "a.keras").rename(tmp_path / "b.h5")
    with pytest.raises(LoadError, match=r"is an HDF5 file: rename it to end in .h5"):
        load(tmp_path / "b.keras")
    with pytest.raises(LoadError, match=r"is a zip archive: rename it to end in .keras"):
        load(tmp_path / "b.h5")


@pytest.mark.parametrize(
    ("drop", "match"),
    [("config.json", "no config.json"), ("model.weights.h5", "no model.weights.h5")],
)
def test_an_archive_without_a_member_names_it(tmp_path, drop, match):
    source = saved(tiny(), tmp_path / "a.keras")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        for name in set(old.namelist()) - {drop}:
            new.writestr(name, old.read(name))
    with pytest.raises(LoadError, match=f"damaged.*{match}"):
        load(tmp_path / "b.keras")


@pytest.mark.parametrize(
    ("member", "data", "match"),
    [
        ("config.json", b"{", "is damaged"),
        ("config.json", b"[" * 100_000, "is damaged"),
        ("config.json", b"\xff\xfe\xff", "is damaged"),
        ("config.json", b"{}", "cannot load"),
        ("config.json", b" " * (64 * 2**20 + 1), "config.json is over 64 MiB"),
        ("metadata.json", b"[]", "is damaged"),
        ("model.weights.h5", b"", "is damaged"),
        ("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(500), "is damaged"),
    ],
)
def test_an_archive_with_a_broken_member_gives_one_sentence(tmp_path, member, data, match):
    source = saved(tiny(), tmp_path / "a.keras")
    with zipfile.ZipFile(source) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(tmp_path / "b.keras", "w", zipfile.ZIP_DEFLATED) as new:
        for name, old_data in members.items():
            new.writestr(name, data if name == member else old_data)
    with pytest.raises(LoadError, match=match) as caught:
        load(tmp_path / "b.keras")
    assert str(caught.value).isprintable()


def test_weights_that_do_not_fit_their_checksum_are_damage_and_no_matter_of_versions(tmp_path):
    path = saved(tiny(), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("model.weights.h5").header_offset
    data = bytearray(path.read_bytes())
    data[start + 2000 : start + 2200] = bytes(200 * [255])
    path.write_bytes(data)
    with pytest.raises(
        LoadError, match=r"is damaged \(the checksum of 'model.weights.h5'"
    ) as caught:
        load(path)
    assert "Keras 3" not in str(caught.value)


def test_an_archive_that_claims_to_hold_far_more_than_it_has_is_not_read_to_its_end(
    tmp_path, monkeypatch
):
    path = saved(tiny(), tmp_path / "model.keras")
    broken = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        weights = archive.getinfo("model.weights.h5")
    broken[weights.header_offset + 100 : weights.header_offset + 400] = bytes(300)
    path.write_bytes(broken)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(200 * len(broken)))
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("read to its end"))
    with pytest.raises(LoadError):
        load(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_file_gives_one_sentence(tmp_path, suffix, share):
    path = saved(tiny(), tmp_path / f"model{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(LoadError, match=r"is damaged|cannot load"):
        load(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    "files", [pytest.param(10, id="few"), pytest.param(100, id="many", marks=pytest.mark.slow)]
)
def test_random_damage_gives_an_error_of_ours_or_a_model(tmp_path, suffix, files):
    path = saved(tiny(), tmp_path / f"model{suffix}")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(files):
        hurt = whole.copy()
        where = random.integers(0, len(hurt), random.choice([1, 10, 200]))
        hurt[where] = random.integers(0, 256, len(where))
        path.write_bytes(hurt.tobytes())
        try:
            load(path)
        except ModelError as error:
            outcomes.add(type(error))
    assert LoadError in outcomes


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGSEGV)", "time.sleep(60)"])
def test_a_file_that_ends_or_halts_its_reader_is_damaged_and_this_process_lives(
    tmp_path, monkeypatch, end
):
    path = saved(tiny(), tmp_path / "model.h5")
    reader = tmp_path / "reader.py"
    reader.write_text(f"import os, signal, time\n{end}\n")
    monkeypatch.setattr("layerscope.model.hdf5_trial.__file__", str(reader))
    monkeypatch.setattr("layerscope.model.hdf5_trial._SECONDS", 5)
    with pytest.raises(LoadError, match="reading it ends or halts the program that does"):
        load(path)


def test_weights_without_a_model_say_how_to_use_them(tmp_path):
    model = tiny()
    model.save_weights(tmp_path / "new.weights.h5")
    with h5py.File(saved(model, tmp_path / "old.h5"), "r+") as file:
        for name in list(file["model_weights"]):
            file.copy(file["model_weights"][name], file, name)
        file.attrs["layer_names"] = [b"conv"]
        del file.attrs["model_config"]
    for name in ("new.weights.h5", "old.h5"):
        with pytest.raises(
            LoadError, match=r"weights but no model.*load_weights.*layerscope\.Scope"
        ):
            load(tmp_path / name)


def test_an_hdf5_file_of_something_else_says_so(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = [1, 2, 3]
    with pytest.raises(LoadError, match="HDF5 file without a Keras model"):
        load(tmp_path / "data.h5")


def test_weights_of_another_shape_say_what_does_not_fit(tmp_path):
    def edit(config):
        config["config"]["layers"][1]["config"]["filters"] = 7

    with pytest.raises(LoadError, match=r"cannot load.*conv"):
        load(edit_keras(saved(tiny(), tmp_path / "model.keras"), edit))


def test_objects_of_keras_2_are_named_with_the_version_that_saved_them(tmp_path):
    layer = {"class_name": "TFOpLambda", "config": {"name": "tf.math.add", "function": "math.add"}}
    path = with_layer(tmp_path, layer, ".h5")
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.12.0"
    with pytest.raises(
        LoadError, match=r"Keras 2\.12\.0: it has no 'TFOpLambda'.*tf\.math\.add.*use it, rebuild"
    ) as caught:
        load(path)
    assert not isinstance(caught.value, UnsafeModelError)


@pytest.mark.parametrize(
    "module", ["keras.src.engine.functional", "tf_keras.src.engine.functional"]
)
def test_a_keras_file_of_keras_2_says_to_save_it_as_h5(tmp_path, module):
    path = saved(tiny(), tmp_path / "model.keras")
    edit_keras(path, lambda config: {**config, "module": module, "class_name": "Functional"})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "old.keras", "w") as new:
        for name in set(old.namelist()) - {"metadata.json"}:
            new.writestr(name, old.read(name))
        new.writestr("metadata.json", '{"keras_version": "2.15.0"}')
    with pytest.raises(LoadError, match=rf"2\.15\.0.*'{module}\.Functional'.*save it as \.h5"):
        load(tmp_path / "old.keras")


@pytest.mark.parametrize("operation", [keras.ops.relu, lambda x: x + x, lambda x: x[:, 1:]])
def test_keras_ops_calls_in_an_h5_file_say_how_to_save_instead(tmp_path, operation):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, operation(keras.layers.Conv2D(2, 3)(image)))
    with pytest.raises(LoadError, match=r"keras\.ops call.*save the model as \.keras"):
        load(saved(model, tmp_path / "model.h5"))


def test_a_model_too_large_for_the_memory_blames_the_machine(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(loading.keras.saving, "load_model", fail)
    with pytest.raises(EnvironmentFailure, match="does not fit into memory"):
        load(saved(tiny(), tmp_path / "model.keras"))


# ------------------------------------------------------------------------------- models in memory


def test_a_sound_model_passes():
    check_model(tiny())


def foreign(module):
    """An instance of a class that claims to come from another library."""
    return type("Net", (), {"__module__": module})()


@pytest.mark.parametrize(
    ("thing", "match"),
    [
        (
            foreign("tf_keras.src.engine.training"),
            "of Keras 2, which is not supported yet: rebuild",
        ),
        (foreign("tensorflow.python.keras.engine.training"), "of Keras 2"),
        (foreign("torch.nn.modules.module"), "PyTorch module.*rebuild the network in Keras"),
        (tiny, "got the function 'tiny': give the model"),
        (keras.Model, "got the class 'Model': create"),
        ("model.keras", "got the path 'model.keras': load it"),
        (keras.layers.Dense(3), "Dense.*: wrap it in a keras.Model"),
        (None, "NoneType.*: wrap it in a keras.Model"),
    ],
)
def test_what_is_no_keras_3_model_says_what_it_is(thing, match):
    with pytest.raises(ModelError, match=match):
        check_model(thing)


def test_a_model_that_is_not_built_says_how_to_build_it():
    with pytest.raises(ModelError, match=r"must be built.*call it once.*keras\.Input"):
        check_model(keras.Sequential([keras.layers.Conv2D(2, 3)]))


class Block(keras.layers.Layer):
    """A layer that keeps its layers in a list in a dictionary."""

    def __init__(self, *inner):
        super().__init__()
        self.inner = {"all": list(inner)}

    def call(self, x):
        return self.inner["all"][0](x)


def test_a_layer_with_its_channels_first_is_found_inside_custom_layers():
    last, first = (
        keras.layers.MaxPooling2D(data_format=f"channels_{name}", name=name)
        for name in ("last", "first")
    )
    check_model(tiny(Block(last)))
    with pytest.raises(ModelError, match="'first' has its channels first, which is not supported"):
        check_model(tiny(Block(Block(last, first))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_a_weight_that_is_not_finite_is_named(value, dtype):
    model = tiny(keras.layers.BatchNormalization(name="norm", dtype=dtype))
    check_model(model)
    variance = model.get_layer("norm").moving_variance
    variance.assign([1.0, value])
    with pytest.raises(ModelError, match=r"NaN or infinity in 'tiny/norm/moving_variance': use a"):
        check_model(model)


def test_only_the_first_weights_are_named():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), *[keras.layers.Conv2D(1, 1, name=f"c{i}") for i in range(5)]],
        name="net",
    )
    model.set_weights([np.full(w.shape, np.nan) for w in model.weights])
    with pytest.raises(
        ModelError, match="'net/c0/kernel', 'net/c0/bias', 'net/c1/kernel' and 7 more"
    ):
        check_model(model)


def test_a_file_with_nan_weights_is_refused(tmp_path):
    model = tiny()
    model.layers[0].bias.assign([np.nan, 0.0])
    with pytest.raises(ModelError, match=r"NaN or infinity in '.*conv/bias'"):
        load(saved(model, tmp_path / "model.keras"))


def test_the_largest_finite_weights_are_finite():
    model = tiny()
    model.layers[0].kernel.assign(np.full((3, 3, 3, 2), np.finfo(np.float32).max))
    check_model(model)


def test_another_backend_says_how_to_choose_tensorflow(monkeypatch):
    model = tiny()
    monkeypatch.setattr(loading.keras.backend, "backend", lambda: "torch")
    with pytest.raises(ModelError, match="Keras runs on 'torch': set KERAS_BACKEND=tensorflow"):
        check_model(model)


def test_a_backend_that_is_not_installed_gives_a_sentence_and_leaves_the_users_log_level():
    code = (
        "import os\n"
        "from layerscope.errors import ModelError\n"
        "try:\n    import layerscope.model\n"
        "except ModelError as error:\n    print(error)\n"
        "print(os.environ['TF_CPP_MIN_LOG_LEVEL'])\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "nonesuch", "TF_CPP_MIN_LOG_LEVEL": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    sentence, level = done.stdout.decode().splitlines()
    assert "Keras cannot start" in sentence
    assert "set KERAS_BACKEND=tensorflow" in sentence
    assert level == "1"
