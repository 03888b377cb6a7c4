"""The run over the images: what it finds, and that stopping it changes nothing."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import layerscope
from layerscope import examining
from layerscope.errors import InputError
from layerscope.run import local
from layerscope.run.plan import stratified

L = keras.layers
COUNT = 150


def build() -> keras.Model:
    """A small net with one dead channel (2 of ``first``), the same in every process."""
    keras.utils.set_random_seed(3)
    image = keras.Input((24, 20, 3))
    x = L.Rescaling(1 / 255)(image)
    x = L.Conv2D(6, 3, padding="same", activation="relu", name="first")(x)
    x = L.Conv2D(8, 3, strides=2, activation="relu6", name="second")(x)
    x = L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    kernel, bias = model.get_layer("first").get_weights()
    bias[2] = -1e3
    model.get_layer("first").set_weights([kernel, bias])
    return model


def write_photos(root: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(COUNT):
        path = root / f"class{i % 3}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (6, 5, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(pixels).save(path)
    (root / "class1" / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def profile(model, photos):
    return layerscope.Scope(model).profile(photos, sample=40)


def test_every_channel_has_a_row_and_the_dead_one_never_fires(profile):
    assert profile.channels.groupby("layer").size().to_dict() == {"first": 6, "second": 8}
    first = profile.channels[profile.channels.layer == "first"]
    assert (first.images == COUNT).all()
    assert first.fired[2] == 0
    assert first.maximum[2] == 0
    assert (first.fired.drop(2) > 0).all()
    assert repr(profile) == f"Profile of 14 channels in 2 layers, from {COUNT} images"


def test_the_cheap_sums_see_all_images_and_the_costly_ones_the_sample(profile, model, photos):
    maps = layerscope.Scope(model).maps(photos)["second"]
    second = profile.channels[profile.channels.layer == "second"]
    np.testing.assert_allclose(second.maximum, maps.max((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(
        second.saturated_share, (maps >= 0.99 * 6).mean((0, 1, 2)), rtol=1e-6
    )
    sampled = profile.images.sampled[profile.images.read].to_numpy()
    assert profile.images.sampled.sum() == 40
    np.testing.assert_allclose(second["mean"], maps[sampled].mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(second["variance"], maps[sampled].var((0, 1, 2)), rtol=1e-4)


def test_images_labels_outputs_and_what_was_skipped_are_kept(profile, model, photos):
    images = profile.images
    assert len(images) == COUNT + 1
    broken = images[images.id == "class1/broken.png"].iloc[0]
    assert not broken.read
    assert "damaged" in broken.skipped
    read = images[images.read]
    assert read.label.tolist() == [int(name[5]) for name in read.id]
    expected = layerscope.Scope(model).maps(photos, layers="first").predictions
    np.testing.assert_allclose(profile.predictions[images.read], expected, rtol=1e-5)
    assert np.isnan(profile.predictions[~images.read]).all()


def test_nulls_are_measured_where_they_are_asked_for(profile, model, photos):
    assert profile.channels.noise_morans_i.notna().sum() >= 12
    assert profile.channels.twin_morans_i.notna().sum() >= 12
    known = profile.channels.structure_low.notna()
    assert known.sum() >= 10
    assert (profile.channels.structure_low <= profile.channels.structure)[known].all()
    assert (profile.channels.structure_high >= profile.channels.structure)[known].all()
    without = layerscope.Scope(model).profile(photos, sample=40, nulls=())
    assert without.channels.noise_morans_i.isna().all()
    assert without.channels.structure.isna().all()
    pd.testing.assert_series_equal(without.channels.morans_i, profile.channels.morans_i)


def test_the_same_plan_gives_the_same_bits(profile, model, photos):
    again = layerscope.Scope(model).profile(photos, sample=40)
    pd.testing.assert_frame_equal(again.channels, profile.channels, check_exact=True)
    pd.testing.assert_frame_equal(again.layers, profile.layers, check_exact=True)


def test_too_little_memory_halves_the_batch_says_so_and_changes_no_result(
    profile, model, photos, monkeypatch
):
    real = examining.subject_of

    def limited(*arguments):
        subject = real(*arguments)

        def compute(pixels):
            if len(pixels) > 8:
                raise MemoryError
            return subject.compute(pixels)

        return replace(subject, compute=compute)

    monkeypatch.setattr(examining, "subject_of", limited)
    told = []
    found = layerscope.Scope(model).profile(photos, sample=40, batch_size=32, warn=told.append)
    assert told == [
        f"Memory did not suffice; going on with {n} images in one pass." for n in (16, 8)
    ]
    assert found.provenance["batch_sizes"] == [8, 8, 8]
    pd.testing.assert_frame_equal(found.channels, profile.channels, rtol=1e-3, atol=1e-4)


def test_memory_that_runs_out_later_leaves_the_shards_before_it_as_they_are(
    profile, model, photos, monkeypatch
):
    real, calls = examining.subject_of, []

    def limited(*arguments):
        subject = real(*arguments)

        def compute(pixels):
            calls.append(len(pixels))
            if len(calls) == 3:  # in the second shard, while the first one is added up
                raise MemoryError
            return subject.compute(pixels)

        return replace(subject, compute=compute)

    monkeypatch.setattr(examining, "subject_of", limited)
    told = []
    found = layerscope.Scope(model).profile(
        photos, sample=40, nulls=(), batch_size=32, warn=told.append
    )
    assert told == ["Memory did not suffice; going on with 16 images in one pass."]
    assert found.provenance["batch_sizes"] == [32, 16, 16]
    same = ["images", "fired", "maximum", "mean", "variance", "morans_i"]
    expected = profile.channels[same]
    pd.testing.assert_frame_equal(found.channels[same], expected, rtol=1e-3, atol=1e-4)


def test_a_stream_is_profiled_without_being_read_twice(model):
    random = np.random.default_rng(1)
    batches = (random.uniform(0, 255, (7, 24, 20, 3)).astype(np.float32) for _ in range(12))
    found = layerscope.Scope(model).profile(batches)
    assert found.images.read.sum() == 84
    assert found.channels.repeat_flip.notna().any()


def test_another_plan_in_the_same_directory_is_refused(model, photos, tmp_path):
    scope = layerscope.Scope(model)
    scope.profile(photos, sample=40, nulls=(), directory=tmp_path / "run")
    with pytest.raises(
        InputError, match=r"holds another plan; what differs: which images are looked at"
    ):
        scope.profile(photos, sample=20, nulls=(), directory=tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample": 0}, "sample is a number of images from 1, or None; got 0"),
        ({"nulls": ("noises",)}, "nulls are 'noise' and 'twin'; got \\['noises'\\]"),
        ({"batch_size": 0}, "at least one image; got batch_size=0"),
        ({"layers": "thrid"}, "thrid"),
    ],
)
def test_bad_arguments_are_told_before_any_work(model, photos, arguments, message):
    with pytest.raises(InputError, match=message):
        layerscope.Scope(model).profile(photos, **arguments)


WORKER = """
import sys
sys.path.insert(0, {tests!r})
from layerscope.run import local
import layerscope, test_profile
local.SAVE_EVERY = 0.0
scope = layerscope.Scope(test_profile.build())
print("ready", flush=True)
found = scope.profile({photos!r}, sample=40, batch_size=4, directory={run!r})
found.channels.to_pickle({out!r}); found.layers.to_pickle({out!r} + ".layers")
"""


def stopped_and_finished(photos: Path, folder: Path, kills: int, seed: int):
    """The tables of a run that was killed so many times at random moments."""
    random = np.random.default_rng(seed)
    code = WORKER.format(
        tests=str(Path(__file__).parent),
        photos=str(photos),
        run=str(folder / "run"),
        out=str(folder / "table"),
    )
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        process.stdout.readline()
        time.sleep(random.uniform(0, 2.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=300)
    return [pd.read_pickle(folder / name) for name in ("table", "table.layers")]


@pytest.mark.parametrize(
    "kills", [pytest.param(1, id="short"), pytest.param(10, marks=pytest.mark.slow, id="ten")]
)
def test_a_killed_run_goes_on_to_the_same_bits(photos, tmp_path, kills):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = stopped_and_finished(photos, tmp_path / "a", 0, 0)
    tables = stopped_and_finished(photos, tmp_path / "b", kills, kills)
    for one, other in zip(tables, whole, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_run_goes_on_at_the_shard_where_it_was_stopped(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "SAVE_EVERY", 0.0)
    scope = layerscope.Scope(model)
    seen = []

    def stop(progress):
        seen.append(progress.done)
        if progress.stage == "maps" and progress.done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scope.profile(photos, sample=40, batch_size=16, directory=tmp_path / "run", tell=stop)
    found = scope.profile(photos, sample=40, batch_size=64, directory=tmp_path / "run")
    assert found.provenance["resumed"] >= 1
    assert found.provenance["batch_sizes"] == [16, 16, 16]
    whole = scope.profile(photos, sample=40, batch_size=16)
    pd.testing.assert_frame_equal(found.channels, whole.channels, check_exact=True)


def test_a_stratified_sample_gives_every_class_its_share():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    places = np.array(stratified(1000, 100, labels, seed=4))
    assert (np.diff(places) > 0).all()
    assert np.bincount(labels[places]).tolist() == pytest.approx([60, 30, 10], abs=2)
    assert stratified(1000, 100, labels, seed=4) == tuple(places)
    assert stratified(1000, 100, labels, seed=5) != tuple(places)
    assert stratified(5, 100, None, seed=0) == (0, 1, 2, 3, 4)


def test_a_finished_run_is_read_back_and_not_computed_again(model, photos, tmp_path, monkeypatch):
    scope = layerscope.Scope(model)
    first = scope.profile(photos, sample=40, directory=tmp_path / "run")
    monkeypatch.setattr("layerscope.run.profiling.run", None)
    again = scope.profile(photos, sample=40, directory=tmp_path / "run")
    for name in ("channels", "layers", "images"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(first, name), check_exact=True)
    np.testing.assert_array_equal(again.predictions, first.predictions)
    assert again.classes == first.classes
    assert again.provenance == first.provenance
    for path, lists in first.exemplars.items():
        for key, values in lists.items():
            np.testing.assert_array_equal(again.exemplars[path][key], values)


def test_an_image_encoder_of_ones_own_decides_what_is_alike(model, photos):
    class Brightness:
        name = "brightness"

        def __call__(self, images):
            bright = images.mean((1, 2, 3)) - 127.0
            angle = bright / 40
            return np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)

    scope = layerscope.Scope(model)
    found = scope.profile(photos, nulls=(), encoder=Brightness())
    default = scope.profile(photos, nulls=())
    assert found.provenance["encoder"] == "brightness"
    assert default.provenance["encoder"] == "hog-64-8"
    assert found.channels.coherence.notna().any()
    assert not np.allclose(found.channels.coherence, default.channels.coherence, equal_nan=True)


def test_crops_of_one_photo_are_resampled_together(tmp_path, model):
    """Four crops of each of ten photos are ten images: their intervals are twice as wide."""
    random = np.random.default_rng(0)
    lines = {"apart": ["path,label,photo"], "together": ["path,label,photo"]}
    for i in range(40):
        pixels = np.random.default_rng(i // 4).integers(0, 256, (24, 20, 3), np.uint8)
        pixels[0, 0] = random.integers(0, 256, 3)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        lines["apart"].append(f"{i}.png,,")
        lines["together"].append(f"{i}.png,,photo {i // 4}")
    widths, digests = {}, set()
    for name, text in lines.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(text))
        found = layerscope.Scope(model).profile(tmp_path / f"{name}.csv", nulls=("noise",))
        rows = found.channels[found.channels["layer"] == "first"].drop(2)
        widths[name] = rows["structure_high"] - rows["structure_low"]
        widths[f"{name}, closer"] = rows["noise_share_high"] - rows["noise_share_low"]
        digests.add(found.provenance["data"])
    assert (widths["together"] / widths["apart"]).median() > 1.4
    assert (widths["together, closer"] / widths["apart, closer"]).median() > 1.4
    assert len(digests) == 2


def limits_of(model, pixels, **options):
    found = layerscope.Scope(model).profile(pixels, layers="first", warn=lambda _: None, **options)
    return found.channels["noise_share_low"], found


def test_copies_of_one_image_are_one(model):
    """Thirty copies of six images say as much as six: too little for limits."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (30, 24, 20, 3)).astype(np.float32)
    assert np.isfinite(limits_of(model, pixels, nulls=("noise",))[0].drop(2)).all()
    copies = np.repeat(pixels[:6], 5, axis=0)
    assert np.isnan(limits_of(model, copies, nulls=("noise",))[0]).all()


def test_images_without_contrast_leave_noise_input_and_twins_open(model):
    """Noise like black images is black, and a twin without biases says what the model says."""
    heard = []
    black = np.zeros((12, 24, 20, 3), np.float32)
    image = keras.Input((24, 20, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, use_bias=False, name="first")(image))
    found = layerscope.Scope(keras.Model(image, x)).profile(black, warn=heard.append)
    assert found.channels["noise_morans_i"].isna().all()
    assert "dimension_p" not in found.layers
    assert "leave nothing for weights to change" in heard[0]
