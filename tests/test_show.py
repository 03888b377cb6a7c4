"""`Scope.show` and what it returns: how many images, how they came in, where pictures go."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as L
from PIL import Image

from layerscope import Scope
from layerscope.document.parts import MapGrid, Note, Picture
from layerscope.errors import InputError
from layerscope.images.preprocess import preprocessing
from layerscope.intake import Intake
from layerscope.show import MOST_IMAGES

SIDE = 16


def photos(count, size=SIDE, seed=3):
    """Blocks of colour, 0..255, as uneven as photos are."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return np.repeat(np.repeat(small, size // 4, 1), size // 4, 2)


@pytest.fixture(scope="module")
def model():
    """Its BatchNorm layer stored the statistics of images between -1 and 1."""
    keras.utils.set_random_seed(4)
    image = keras.Input((SIDE, SIDE, 3))
    x = L.BatchNormalization(momentum=0)(L.Conv2D(6, 3, name="first")(image))
    x = L.Conv2D(4, 3, name="second")(L.ReLU()(x))
    built = keras.Model(image, L.GlobalAveragePooling2D()(x), name="tiny")
    built(preprocessing("-1..1").apply(photos(64).astype(np.float32)), training=True)
    return built


@pytest.fixture(scope="module")
def scope(model):
    return Scope(model, "-1..1")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    for at, pixels in enumerate(photos(40)):
        Image.fromarray(pixels).save(tmp_path / "set" / f"{at:02}.png")
    return tmp_path / "set"


def parts(shown, kind):
    return [part for s in shown.document.sections for part in s.parts if isinstance(part, kind)]


def said(shown):
    return [note.text for note in parts(shown, Note)]


def test_of_many_files_some_are_shown_spread_over_the_set_and_it_is_said(scope, folder):
    shown = scope.show(folder, "first", maps=2)
    names = shown.grids[0].names
    assert len(names) == MOST_IMAGES
    assert (names[0], names[-1]) == ("00.png", "39.png")
    (note,) = [text for text in said(shown) if "of 40" in text]
    assert note == "16 of 40 images are shown, evenly spread over the set."
    assert note in shown.notes
    assert "16 of 40" in repr(shown)


@pytest.mark.parametrize("form", ["array", "list per input", "pair", "npz"])
def test_of_a_long_array_some_are_shown_under_their_own_positions(scope, form, tmp_path):
    images = photos(31).astype(np.float32)
    np.savez(tmp_path / "set.npz", x=images)
    given = {
        "array": images,
        "list per input": [images],
        "pair": (images, np.zeros(31, int)),
        "npz": str(tmp_path / "set.npz"),
    }[form]
    shown = scope.show(given, "first", maps=2)
    assert shown.grids[0].names == tuple(str(2 * at) for at in range(16))
    assert "16 of 31 images are shown, evenly spread over the set." in shown.notes
    whole = scope.maps(given, "first")["first"]
    channels = list(shown.grids[0].channels)
    np.testing.assert_allclose(shown.grids[0].maps, whole[::2][..., channels], atol=1e-5)


def test_of_an_endless_stream_the_first_are_shown_and_the_rest_is_left_alone(scope):
    taken = itertools.count()

    def endless():
        while True:
            next(taken)
            yield photos(3).astype(np.float32)

    shown = scope.show(endless(), "first", maps=2)
    assert shown.grids[0].names == tuple(map(str, range(16)))
    assert "The first 16 images of a stream are shown; what follows was not read." in shown.notes
    assert next(taken) <= 12


def test_a_stream_that_ends_in_time_is_shown_whole(scope):
    shown = scope.show(iter([photos(16).astype(np.float32)]), "first", maps=2)
    assert len(shown.grids[0].names) == 16
    assert not shown.notes


def test_files_left_out_from_the_start_are_named_when_only_some_are_shown(scope, folder):
    for name in "ab":
        (folder / name).mkdir()
        for file in sorted(folder.glob("*.png"))[:19]:
            file.rename(folder / name / file.name)
    shown = scope.show(folder, "first", maps=2)
    assert len(shown.grids[0].names) == 16
    assert [item.file for item in shown.skipped] == ["38.png", "39.png"]


def test_arrays_are_said_to_be_used_as_given(model):
    shown = Scope(model).show(photos(2), "first", maps=2)
    assert shown.prepared.steps.name == "none"
    assert "Preprocessing none. The images are arrays and were used as given." in said(shown)
    assert not shown.prepared.suspect


def test_a_preprocessing_applied_to_arrays_is_recorded(model):
    shown = Scope(model, "-1..1").show(photos(2), "first", maps=2)
    assert "Preprocessing -1..1. It was asked for by name." in said(shown)


def arrays_of(images):
    return {
        "array": images,
        "stream": iter([images[:20], images[20:]]),
        "pair": (images, np.zeros(len(images), int)),
        "photos": list(images),
    }


@pytest.mark.parametrize("form", ["array", "stream", "pair", "photos"])
def test_raw_arrays_for_a_model_of_other_values_are_suspect(model, form):
    with pytest.warns(UserWarning, match=r"speak for -1\.\.1.*used as given.*preprocess="):
        shown = Scope(model).show(arrays_of(photos(24))[form], "first", maps=2)
    assert "speak for -1..1" in shown.prepared.suspect
    assert shown.prepared.suspect == said(shown)[0]


@pytest.mark.parametrize("form", ["array", "stream", "pair", "photos"])
def test_arrays_that_fit_the_model_are_not_suspect(model, form):
    ready = preprocessing("-1..1").apply(photos(24).astype(np.float32))
    assert not Scope(model).show(arrays_of(ready)[form], "first", maps=2).prepared.suspect


@pytest.mark.parametrize("scaled", [(0, 255), (127.5, 127.5)])
def test_arrays_that_were_scaled_otherwise_than_in_training_are_suspect(model, scaled):
    mean, std = scaled
    fits = (photos(24).astype(np.float32) - mean) / std
    if mean:
        keras.utils.set_random_seed(4)
        model = keras.models.clone_model(model)
        model(preprocessing("0..1").apply(photos(64).astype(np.float32)), training=True)
    with pytest.warns(UserWarning, match=r"speak for .*values from 0 to 255"):
        Scope(model).show(fits, "first", maps=2)


def test_a_named_preprocessing_on_values_that_are_scaled_already_is_suspect(model):
    with pytest.warns(UserWarning, match=r"made for values from 0 to 255.* between 0 and 1"):
        Scope(model, "-1..1").show(photos(2) / np.float32(255), "first", maps=2)


def test_arrays_of_another_size_for_a_model_of_any_size_can_be_judged():
    class Free(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = L.Conv2D(6, 3, name="first"), L.BatchNormalization(momentum=0)

        def call(self, x, training=False):
            return keras.ops.mean(self.norm(self.conv(x), training=training), (1, 2))

    keras.utils.set_random_seed(4)
    built = Free()
    built(preprocessing("-1..1").apply(photos(64).astype(np.float32)), training=True)
    with pytest.warns(UserWarning, match=r"speak for -1\.\.1"):
        Scope(built).show(photos(16, 32), "first", maps=2)


def test_arrays_for_several_inputs_are_said_to_be_used_as_given():
    one, two = keras.Input((SIDE, SIDE, 3)), keras.Input((5,))
    both = L.Concatenate()([L.GlobalAveragePooling2D()(L.Conv2D(2, 3, name="c")(one)), two])
    scope = Scope(keras.Model([one, two], L.Dense(2)(both)), "0..1")
    shown = scope.show([photos(40) / np.float32(255), np.zeros((40, 5), np.float32)])
    assert "16 of 40 images are shown, evenly spread over the set." in shown.notes
    assert shown.prepared.steps.name == "none"
    assert any("one array per input" in text for text in said(shown))


def test_a_list_of_one_array_is_that_array(model, scope):
    named = scope.show([photos(2)], "first", maps=2)
    assert named.prepared.steps.name == "-1..1"
    np.testing.assert_array_equal(
        named.grids[0].maps, scope.show(photos(2), "first", maps=2).grids[0].maps
    )


def test_what_was_done_to_a_file_is_said(scope, tmp_path):
    frames = [Image.fromarray(pixels) for pixels in photos(2)]
    for name in ("a.gif", "b.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "c.png")
    shown = scope.show(tmp_path, "first", maps=2)
    assert "First frame of an animation: a.gif, b.gif." in shown.notes
    assert "First frame of an animation: a.gif, b.gif." in said(shown)


def test_how_files_were_resized_is_said_and_of_arrays_nothing_is(model, folder):
    words = {
        "stretch": "Files were resized to 16 × 16 (stretch: their aspect ratio changes).",
        "crop": "Files were resized to 16 × 16 (crop: the centre is shown).",
        "letterbox": "Files were resized to 16 × 16 (letterbox: zeros fill the rest).",
    }
    for how, sentence in words.items():
        assert sentence in said(Scope(model, "-1..1", resize=how).show(folder / "00.png", "first"))
    assert not any("resized" in text for text in said(Scope(model).show(photos(1), "first")))


def test_a_pillow_image_is_treated_like_its_file(model, scope, folder):
    files = [folder / "00.png", folder / "01.png"]
    pictures = [Image.open(file) for file in files]
    for picture in pictures:
        picture.load()
    expected = scope.maps(files, "first")["first"]
    found = scope.maps(pictures, "first")
    np.testing.assert_array_equal(found["first"], expected)
    assert [name.rsplit("/", 1)[-1] for name in found.ids] == ["00.png", "01.png"]
    np.testing.assert_array_equal(scope.maps(pictures[0], "first")["first"], expected[:1])
    found_out = Scope(model).preparation([Image.fromarray(p) for p in photos(24)])
    assert (found_out.steps.name, found_out.chosen_by) == ("-1..1", "fingerprint")


def test_an_explicit_choice_that_is_contradicted_warns_in_python(model, folder):
    with pytest.warns(UserWarning, match=r"preprocessing torch.*speak for -1\.\.1") as caught:
        Scope(model, "torch").show(folder, "first", maps=2)
    (ours,) = [w for w in caught if "speak for" in str(w.message)]
    assert ours.filename == __file__


def test_maps_lie_over_the_photo_where_that_is_asked_for(scope, tmp_path):
    shown = scope.show(photos(2), alpha=0.4)
    assert [len(layer) for layer in shown.overlays] == [2, 2]
    first = shown.overlays[0][0]
    channel = shown.grids[0].channels[0]
    assert first.caption == f"Map {channel} over 0: 40 % map over the photo"
    assert first.scale is not None
    in_section = shown.document.sections[2].parts
    at = next(i for i, part in enumerate(in_section) if isinstance(part, MapGrid))
    assert in_section[at + 1 : at + 3] == shown.overlays[0]
    names = [file.name for file in shown.save(tmp_path / "out")]
    assert [name for name in names if name.startswith("overlay")] == [
        "overlay-1-first-1.png",
        "overlay-1-first-2.png",
        "overlay-2-second-1.png",
        "overlay-2-second-2.png",
    ]
    assert [len(layer) for layer in scope.show(photos(1), alpha=0.4, maps=3).overlays] == [3, 3]
    assert not parts(scope.show(photos(1)), Picture)


def test_the_share_of_colour_in_an_overlay_is_alpha(scope):
    grey = scope.show(photos(1), "first", maps=1, alpha=0).overlays[0][0].rgb
    assert (grey.max(-1) - grey.min(-1)).max() <= 1
    coloured = scope.show(photos(1), "first", maps=1, alpha=1).overlays[0][0].rgb
    assert (coloured.max(-1) - coloured.min(-1)).max() > 50


@pytest.mark.parametrize("alpha", [2, -0.1, float("nan"), "0.4", True])
def test_an_alpha_that_is_no_share_is_refused_before_any_work(scope, monkeypatch, alpha):
    monkeypatch.setattr(Intake, "feed", lambda *_: pytest.fail("work was done"))
    with pytest.raises(InputError, match=r"alpha .*0 .*1"):
        scope.show(photos(1), alpha=alpha)


def test_a_single_overlay_is_what_a_picture_file_holds_and_of_several_none_is_lost(scope, tmp_path):
    scope.show(photos(1), "first", alpha=0.4).save(tmp_path / "overlay.png")
    scope.show(photos(1), "first").save(tmp_path / "grid.png")
    assert (tmp_path / "overlay.png").read_bytes() != (tmp_path / "grid.png").read_bytes()
    with pytest.raises(InputError, match=r"2 overlays.*folder"):
        scope.show(photos(2), "first", alpha=0.4).save(tmp_path / "one.png")


# Where pictures go


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_into_a_folder_leaves_no_picture_of_the_first(scope, tmp_path):
    scope.show(photos(2)).save(tmp_path)
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "layer-9-notes.png").write_bytes(b"mine, too")
    scope.show(photos(1), "second").save(tmp_path)
    kept = ["layer-9-notes.png", "mine.png"]
    assert names_in(tmp_path) == ["index.html", "layer-1-second.png", *kept, "overview.png"]


@pytest.mark.parametrize("foreign", ["index.html", "overview.png"])
def test_a_file_of_others_is_not_overwritten(scope, tmp_path, foreign):
    (tmp_path / foreign).write_text("<!-- mine -->")
    with pytest.raises(InputError, match=rf"'{foreign}'.*not written by .*another folder"):
        scope.show(photos(1), "first").save(tmp_path)
    assert names_in(tmp_path) == [foreign]
    assert (tmp_path / foreign).read_text() == "<!-- mine -->"


def test_a_page_made_by_others_cannot_have_files_removed(scope, tmp_path):
    target, outside = tmp_path / "out", tmp_path / "layer-1.png"
    outside.write_bytes(b"")
    scope.show(photos(1), "first").save(target)
    page = target / "index.html"
    (target / "notes.txt").write_text("mine")
    text = page.read_text()
    page.write_text(text.replace("index.html o", "index.html ../layer-1.png notes.txt o"))
    assert page.read_text() != text
    scope.show(photos(1), "first").save(target)
    assert outside.exists()
    assert (target / "notes.txt").exists()


def test_a_page_alone_is_one_file(scope, tmp_path):
    assert scope.show(photos(1)).save(tmp_path / "out.html") == [tmp_path / "out.html"]
    assert names_in(tmp_path) == ["out.html"]
    assert (tmp_path / "out.html").read_text().startswith("<!")


def test_a_tilde_is_the_home_of_the_user(scope, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    scope.show(photos(1), "first").save("~/x")
    assert names_in(tmp_path) == ["home"]
    assert "index.html" in names_in(tmp_path / "home" / "x")


@pytest.mark.parametrize("name", ["con\0x", "con\0x.png", "", "~nobody-of-that-name/x", 3, None])
def test_a_name_that_no_file_can_have_is_refused(scope, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="Pictures are saved under a path"):
        scope.show(photos(1), "first").save(name)


def test_the_name_of_an_umlaut_stays_in_the_name_of_a_picture(scope, tmp_path):
    for name in ("Übung.png", "b.png"):
        Image.fromarray(photos(1)[0]).save(tmp_path / name)
    files = scope.show(tmp_path, "first").save(tmp_path / "out")
    assert "overview-02-Übung.png" in [file.name for file in files]


def test_the_words_for_a_shown_thing_are_short_and_safe(scope, tmp_path):
    for at in range(5):
        Image.fromarray(photos(1)[0]).save(tmp_path / f"{at}\x1b[31m\n.png")
    words = repr(scope.show(tmp_path, "first"))
    assert words.isprintable()
    assert words.startswith("Pictures of 1 layer of tiny for 0?[31m .png, 1?[31m .png, 2")
    assert "and 2 more" in words
    assert "3?[31m" not in words
    assert "2 layers" in repr(scope.show(photos(1)))


def test_a_notebook_sees_the_doubts_of_a_single_layer(model):
    with pytest.warns(UserWarning, match="speak for"):
        shown = Scope(model, "torch").show(photos(16), "first")
    assert "speak for" in shown._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.show(photos(1), maps=True), "maps is a number from 1, or 'all'"),
        (lambda s: s.show(photos(1), batch_size=True), "batch_size=True"),
        (lambda s: s.show(photos(1), scale="fixed"), "scale is 'map' or 'layer'"),
        (lambda s: s.show(""), "empty"),
        (lambda s: s.show(["a.png", ""]), "empty"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(scope, call, message):
    with pytest.raises(InputError, match=message):
        call(scope)
