"""What the report shows of each layer: which channels, on which images, cut out of which."""

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import layerscope
from layerscope.audit.clarity import CHANNEL_VERDICTS
from layerscope.run.crops import SMALLEST, WHOLE, cut
from layerscope.run.evidence import MOST_EXCITED, MOST_SHOWN, MOST_STILL, SIMILAR, choose
from layerscope.vocabulary import Layer

L = keras.layers
SIDE, COUNT = 40, 24
DEAD = 3


def table(*verdicts, **columns):
    rows = {"channel": range(len(verdicts)), "verdict": verdicts, "variance": 1.0}
    return pd.DataFrame({**rows, **columns})


def waves(channels, side=12):
    return np.random.default_rng(0).normal(size=(side, side, channels)).astype(np.float32)


def chosen(rows, maps=None, most=6):
    maps = waves(len(rows)) if maps is None else maps
    return [one.channel for one in choose(rows, maps, CHANNEL_VERDICTS, most)]


def test_clear_channels_come_first_and_then_the_gravest_of_the_others():
    rows = table("unsure", "clear", "noisy", "clear", "blurry", "not_judged", "artefact")
    assert chosen(rows)[2:] == [6, 2, 4, 0]
    assert set(chosen(rows)[:2]) == {1, 3}


def test_channels_that_were_not_judged_stand_in_only_where_none_is_clear():
    assert set(chosen(table("not_judged", "not_judged"))) == {0, 1}
    assert chosen(table("not_judged", "clear")) == [1]


def test_many_of_one_kind_hide_no_other_and_channels_without_a_picture_are_few():
    verdicts = ["dead"] * 30 + ["noisy"] * 20 + ["unsure"] * 20 + ["blurry"]
    found = [one.verdict for one in choose(table(*verdicts), waves(71), CHANNEL_VERDICTS)]
    assert found == ["dead", "dead", "noisy", "noisy", "blurry", "unsure"]
    only_dead = choose(table(*["dead"] * 9), waves(9), CHANNEL_VERDICTS)
    assert len(only_dead) == MOST_STILL


def test_of_flagged_channels_those_that_vary_most_come_first():
    rows = table("noisy", "noisy", "noisy", variance=[1.0, 3.0, np.nan])
    assert chosen(rows) == [1, 0, 2]


def test_the_shown_clear_channels_carry_the_layer_and_are_no_copies_of_each_other():
    maps = waves(8)
    maps[..., 1:6] = maps[..., :1]
    assert len({min(c, 1) if c < 6 else c for c in chosen(table(*["clear"] * 8), maps, 3)}) == 3


def test_channels_that_do_not_differ_on_the_photo_are_shown_all_the_same():
    rows = table(*["clear"] * 3, variance=[1.0, 2.0, 3.0])
    assert chosen(rows, np.zeros((5, 5, 3), np.float32), 2) == [2, 1]


def test_a_reason_is_kept_where_there_is_one():
    rows = table("noisy", "clear", reason=["noise 0.71 (0.66 to 0.75)", None])
    reasons = {one.channel: one.reason for one in choose(rows, waves(2), CHANNEL_VERDICTS)}
    assert reasons == {0: "noise 0.71 (0.66 to 0.75)", 1: ""}
    assert choose(table("clear"), waves(1), CHANNEL_VERDICTS)[0].reason == ""


def layer(field, stride, side):
    return Layer("conv", "conv", (side, side, 4), stride, field, 0.5, False, "conv")


def picture(side=64):
    """Red is the column, green the row, so that a crop tells where it was cut."""
    rows, columns = np.mgrid[:side, :side].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], -1)


@pytest.mark.parametrize(("row", "column"), [(30, 30), (0, 0), (63, 5)])
def test_a_small_field_is_cut_with_its_surroundings_and_marked(row, column):
    crop, (x0, y0, x1, y1) = cut(picture(), layer(3, 1, 64), row, column)
    assert crop.shape == (SMALLEST, SMALLEST, 3)
    inside = crop[round(y0 * SMALLEST) : round(y1 * SMALLEST), round(x0 * SMALLEST) :]
    inside = inside[:, : round((x1 - x0) * SMALLEST)]
    assert (inside[..., 0].min(), inside[..., 0].max()) == (max(0, column - 1), column + 1)
    assert (inside[..., 1].min(), inside[..., 1].max()) == (max(0, row - 1), min(63, row + 1))


def test_a_large_field_is_cut_out_as_it_is():
    crop, seen = cut(picture(), layer(33, 2, 32), 16, 16)
    assert seen == WHOLE
    assert (crop[..., 0].min(), crop[..., 0].max()) == (16, 49)
    crop, seen = cut(picture(), layer(500, 8, 8), 3, 3)
    assert (crop.shape, seen) == ((64, 64, 3), WHOLE)


def test_crops_are_kept_small():
    assert max(cut(picture(250), layer(500, 8, 32), 3, 3)[0].shape) <= 72


def model():
    """Channel k of ``bright`` follows colour k, DEAD is dead; ``late`` mixes what it sees."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = L.Rescaling(1 / 255)(image)
    x = L.Conv2D(4, 1, activation="relu", name="bright")(x)
    y = L.Conv2D(5, 3, strides=2, activation="relu", name="late")(x)
    y = L.Conv2D(6, 3, strides=19, name="point")(y)
    found = keras.Model(image, L.Dense(2)(L.Flatten()(y)))
    kernel, bias = np.zeros((1, 1, 3, 4), np.float32), np.zeros(4, np.float32)
    kernel[0, 0, [0, 1, 2], [0, 1, 2]] = 1
    bias[DEAD] = -9
    found.get_layer("bright").set_weights([kernel, bias])
    return found


def spot(i):
    """Where image i has its brightest red pixel."""
    return 5 + i, 30 - i


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = random.integers(0, 100, (SIDE, SIDE, 3), np.uint8)
        pixels[spot(i)] = (150 + i, 0, 0)
        path = root / ("ant" if i in (2, 3) else "bee") / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    (root / "bee" / "00.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def scope():
    return layerscope.Scope(model(), preprocess="none")


@pytest.fixture(scope="module")
def audited(scope, folder):
    return scope.audit(folder, panels=["clarity"])


@pytest.fixture(scope="module")
def gallery(audited):
    return audited.gallery


def test_the_photo_has_others_of_its_class_beside_it(gallery):
    names = [sight.name for sight in (gallery.photo, *gallery.similar)]
    assert names == ["bee/01.png", "bee/04.png", "bee/05.png", "bee/06.png"]
    assert gallery.kind == "bee"
    assert len(gallery.similar) == SIMILAR


def test_maps_of_the_photos_are_those_of_the_model(gallery, scope, folder):
    sights = (gallery.photo, *gallery.similar)
    maps = scope.maps([folder / sight.name for sight in sights])
    for path, shown in gallery.layers.items():
        places = [one.channel for one in shown.channels]
        for i, own in enumerate((shown.photo, *shown.similar)):
            np.testing.assert_allclose(own, maps[path][i][..., places], rtol=1e-4, atol=1e-4)
    assert (gallery.photo.rgb == np.asarray(Image.open(folder / gallery.photo.name))).all()


def test_noise_goes_through_the_same_weights_and_the_photo_through_those_of_the_twin(
    gallery, scope
):
    shown = gallery.layers["bright"]
    red = [one.channel for one in shown.channels].index(0)
    noise = gallery.noise.rgb[..., 0] / 255
    # what is shown of the noise is cut off at black
    np.testing.assert_allclose(shown.noise[..., red], noise, atol=3e-3)
    assert np.abs(shown.twin[..., red] - shown.photo[..., red]).max() > 0.05
    dead = [one.verdict for one in shown.channels].index("dead")
    assert not shown.photo[..., dead].any()
    assert not shown.noise[..., dead].any()
    kernel = scope.model.get_layer("bright").get_weights()[0]
    assert kernel[0, 0].sum() == 3


def test_what_excites_a_channel_most_is_cut_where_it_is(gallery):
    (red,) = (one for one in gallery.layers["bright"].channels if one.channel == 0)
    assert [found.image for found in red.exemplars] == [f"bee/{i}.png" for i in (23, 22, 21, 20)]
    for found, i in zip(red.exemplars, (23, 22, 21, 20), strict=True):
        assert found.score == pytest.approx((150 + i) / 255, rel=1e-4)
        x0, y0, x1, y1 = (round(share * SMALLEST) for share in found.seen)
        assert found.crop[y0:y1, x0:x1].tolist() == [[[150 + i, 0, 0]]]


def test_few_channels_have_exemplars_and_dead_ones_none(gallery):
    for shown in gallery.layers.values():
        excited = [one for one in shown.channels if one.exemplars]
        assert 0 < len(excited) <= MOST_EXCITED
        assert "dead" not in [one.verdict for one in excited]
        assert len(shown.channels) <= 2 * MOST_SHOWN


def test_maps_of_one_pixel_are_not_shown(gallery, audited):
    assert [result.layer.path for result in audited.result.layers] == ["bright", "late", "point"]
    assert list(gallery.layers) == ["bright", "late"]


def test_without_labels_the_photo_is_followed_by_the_next_images(scope):
    pixels = np.random.default_rng(1).integers(0, 256, (12, SIDE, SIDE, 3)).astype(np.float32)
    found = scope.audit(pixels, panels=["clarity"]).gallery
    assert [found.photo.name, *(sight.name for sight in found.similar)] == ["0", "1", "2", "3"]
    assert found.kind == ""


def test_two_images_are_enough(scope):
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    found = scope.audit(pixels, panels=["clarity"]).gallery
    assert [sight.name for sight in found.similar] == ["1"]
    assert found.layers["bright"].photo.shape[:2] == (SIDE, SIDE)


def test_a_stream_cannot_be_shown_again_and_the_report_is_made_without(scope, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (12, SIDE, SIDE, 3)).astype(np.float32)
    found = scope.audit((pixels[at : at + 4] for at in range(0, 12, 4)), panels=["clarity"])
    assert found.gallery is None
    assert "<details" not in found.save(tmp_path / "run").read_text()


def test_what_is_saved_and_what_a_notebook_shows_has_the_pictures(audited, tmp_path):
    for page in (audited.save(tmp_path / "run").read_text(), audited._repr_html_()):
        assert "Channel 3 of bright: The photo bee/01.png, all 0" in page
