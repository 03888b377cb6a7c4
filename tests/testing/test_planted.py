"""Each planted defect is really there, by plain numpy, and nothing else changed."""

import keras
import numpy as np
import pytest
from keras import layers as L

from layerscope import Scope
from layerscope.errors import InputError, ModelError
from layerscope.model.traced import TracedModel
from layerscope.model.twin import untrained_twin
from layerscope.testing import planted
from layerscope.testing.planted.hashing import image_hash, normal

LAYER, WIDTH, COUNT = "conv2", 16, 5


@pytest.fixture(scope="module")
def net():
    """Weights that no initialiser gives again, so that a copy without them is seen."""
    net, random = planted.digit_net(epochs=0), np.random.default_rng(0)
    net.set_weights([w + random.uniform(0, 0.02, w.shape) for w in net.get_weights()])
    return net


@pytest.fixture(scope="module")
def some():
    return planted.digits(24, "test")


@pytest.fixture(scope="module")
def clean(net, some):
    return Scope(net).maps(some.images)


@pytest.fixture(scope="module")
def bank():
    return planted.digits(7, "train").images


def plant(kind, net, some, bank):
    makers = {
        "dead": lambda: planted.dead(net, LAYER, COUNT),
        "constant": lambda: planted.constant(net, LAYER, COUNT),
        "saturated": lambda: planted.saturated(net, LAYER, COUNT, some.images),
        "noisy": lambda: planted.noisy(net, LAYER, COUNT, 1),
        "blurred": lambda: planted.blurred(net, LAYER, COUNT, 1.5),
        "positional": lambda: planted.positional(net, LAYER, COUNT, some.images),
        "duplicated": lambda: planted.duplicated(net, LAYER, COUNT),
        "swapped": lambda: planted.swapped(net, LAYER, COUNT, bank),
        "jittered": lambda: planted.jittered(net, LAYER, COUNT, 4),
        "indicator": lambda: planted.indicator(net, LAYER, COUNT, some.images, some.labels, 2),
    }
    return makers[kind]()


KINDS = (
    *("dead", "constant", "saturated", "noisy", "blurred", "positional", "duplicated"),
    *("swapped", "jittered", "indicator"),
)


@pytest.fixture(scope="module")
def made(net, some, bank):
    """Each kind planted once: the defect, its scope and its maps."""
    kept = {}

    def of(kind):
        if kind not in kept:
            found = plant(kind, net, some, bank)
            scope = Scope(found.model)
            kept[kind] = found, scope, scope.maps(some.images)
        return kept[kind]

    return of


def spoilt(found, images):
    """The maps of the layer and of the planted channels alone."""
    maps = Scope(found.model).maps(images, found.layer)[found.layer]
    return maps, maps[..., list(found.channels)]


def facts(scope):
    # The output is read one layer later, and a note says where a whole image is looked at.
    return scope.layers.drop(columns=["notes", "output"])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_chosen_channels_change_and_nothing_before_them(kind, net, made, clean):
    found, _, maps = made(kind)
    assert (found.kind, found.layer, len(found.channels)) == (kind, LAYER, COUNT)
    changed = (maps[LAYER] != clean[LAYER]).any((0, 1, 2))
    assert np.flatnonzero(changed).tolist() == list(found.channels)
    np.testing.assert_array_equal(maps["conv1"], clean["conv1"])


def test_the_given_model_is_left_as_it_was(net, some, bank):
    before, config = net.get_weights(), net.get_config()
    for kind in ("dead", "constant", "saturated", "swapped"):
        plant(kind, net, some, bank)
    planted.reinitialised(net, LAYER)
    assert all(np.array_equal(*pair) for pair in zip(net.get_weights(), before, strict=True))
    assert net.get_config() == config


@pytest.mark.parametrize("kind", KINDS)
def test_what_layerscope_says_of_the_layers_stays(kind, net, made):
    found, scope, _ = made(kind)
    assert facts(scope).equals(facts(Scope(net)))
    assert (found.model.output_shape, found.model.name) == (net.output_shape, net.name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_depends_on_its_image_alone_and_on_the_seed(kind, net, some, bank, made):
    _, scope, together = made(kind)
    alone = scope.maps(some.images[3:4])
    np.testing.assert_allclose(alone[LAYER][0], together[LAYER][3], atol=1e-4)
    if kind in ("noisy", "swapped", "jittered", "indicator"):
        again, _ = spoilt(plant(kind, net, some, bank), some.images)
        np.testing.assert_array_equal(again, together[LAYER])


@pytest.mark.parametrize("kind", KINDS[3:])
def test_a_planted_model_can_be_saved_and_read_back(kind, some, made, tmp_path):
    found, _, maps = made(kind)
    found.model.save(tmp_path / "planted.keras")
    back = keras.models.load_model(tmp_path / "planted.keras")
    np.testing.assert_array_equal(Scope(back).maps(some.images)[LAYER], maps[LAYER])


def test_dead_channels_are_0_on_every_image(net, some):
    _, maps = spoilt(planted.dead(net, LAYER, COUNT), some.images)
    assert not maps.any()


def test_constant_channels_hold_the_value_everywhere(net, some):
    _, maps = spoilt(planted.constant(net, LAYER, COUNT, 2.5), some.images)
    np.testing.assert_allclose(maps, 2.5, rtol=1e-6)


def test_saturated_channels_have_the_asked_share_of_their_pixels_at_the_bound(net, some):
    found = planted.saturated(net, LAYER, COUNT, some.images, 0.8)
    _, maps = spoilt(found, some.images)
    shares = (maps >= 0.99 * 6).mean((0, 1, 2))
    assert list(found.truth["shares"].values()) == pytest.approx(shares)
    # The even paper of a digit is one value, so that it can be more.
    assert (shares > 0.799).all()
    assert (shares < 0.95).all()
    assert min(shares) < 0.9


@pytest.mark.parametrize("snr", [4, 1, 0.25])
def test_noise_has_the_asked_ratio_in_every_map_and_is_white(net, some, clean, snr):
    found = planted.noisy(net, LAYER, COUNT, snr)
    signal = clean[LAYER][..., list(found.channels)].astype(np.float64)
    noise = spoilt(found, some.images)[1] - signal
    np.testing.assert_allclose(signal.var((1, 2)) / noise.var((1, 2)), snr, rtol=1e-3)
    noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std((1, 2), keepdims=True)
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean(), (noise[:, :, 1:] * noise[:, :, :-1]).mean()
    np.testing.assert_allclose(neighbours, 0, atol=0.02)
    np.testing.assert_allclose((noise**4).mean(), 3, atol=0.15)
    of_channels = np.corrcoef(noise.reshape(-1, COUNT).T) - np.eye(COUNT)
    of_images = np.corrcoef(noise.reshape(len(noise), -1)) - np.eye(len(noise))
    assert np.abs(of_channels).max() < 0.05
    assert np.abs(of_images).max() < 0.08


def test_at_ratio_0_only_noise_is_left_and_at_infinity_none(net, some, clean):
    found = planted.noisy(net, LAYER, COUNT, 0)
    signal = clean[LAYER][..., list(found.channels)]
    noise = spoilt(found, some.images)[1]
    np.testing.assert_allclose(noise.var((1, 2)), signal.var((1, 2)), rtol=1e-3)
    assert abs(np.corrcoef(noise.ravel(), signal.ravel())[0, 1]) < 0.5
    each = [
        np.corrcoef(noise[n, ..., c].ravel(), signal[n, ..., c].ravel())[0, 1]
        for n in range(len(noise))
        for c in range(COUNT)
    ]
    assert abs(np.mean(each)) < 0.01
    same, _ = spoilt(planted.noisy(net, LAYER, COUNT, np.inf), some.images)
    np.testing.assert_array_equal(same, clean[LAYER])


def test_noise_does_not_make_a_layer_of_unsigned_maps_signed(net, some, clean):
    assert clean[LAYER].min() == 0
    assert spoilt(planted.noisy(net, LAYER, COUNT, 0.25), some.images)[0].min() == 0


def test_a_wider_blur_leaves_less_contrast_between_neighbours_and_keeps_flat_maps(net, some):
    steps = []
    for sigma in (0, 0.5, 1, 2, 4):
        _, maps = spoilt(planted.blurred(net, LAYER, COUNT, sigma), some.images)
        steps.append(
            np.square(np.diff(maps, axis=1)).sum() + np.square(np.diff(maps, axis=2)).sum()
        )
    assert (np.diff(steps) < 0).all()
    assert steps[-1] < 0.05 * steps[0]


def test_a_blurred_dot_is_a_gaussian():
    image = keras.Input((15, 15, 1))
    x = L.Conv2D(1, 1, kernel_initializer="ones", name="conv")(image)
    net = keras.Model(image, L.GlobalAveragePooling2D()(x))
    dot = np.zeros((1, 15, 15, 1), np.float32)
    dot[0, 7, 7] = 1
    _, maps = spoilt(planted.blurred(net, "conv", [0], 1.5), dot)
    profile = np.exp(-(np.arange(-7, 8) ** 2) / (2 * 1.5**2))
    expected = np.outer(profile, profile) / profile.sum() ** 2
    np.testing.assert_allclose(maps[0, ..., 0], expected, rtol=0.02, atol=1e-5)


def phase_share(maps):
    """Share of the variance of the mean map, away from its border, that the 2x2 phases explain."""
    mean = maps.mean(0)[4:-4, 4:-4]
    phases = np.stack([mean[i::2, j::2].mean((0, 1)) for i in (0, 1) for j in (0, 1)])
    return phases.var(0) / mean.var((0, 1))


def test_windows_of_3_at_stride_2_make_a_checkerboard_and_windows_of_4_do_not(some):
    uneven, even = (planted.checkerboard(side, channels=8) for side in (3, 4))
    assert (uneven.channels, even.channels) == (tuple(range(8)), ())
    row = facts(Scope(uneven.model)).set_index("path").loc["up"]
    assert (row.kind, row["shape"]) == ("transposed", (28, 28, 8))
    boards = [phase_share(spoilt(found, some.images)[0]) for found in (uneven, even)]
    assert boards[0].min() > 3 * boards[1].max()


@pytest.mark.parametrize("where", ["corner", "border"])
def test_a_constant_is_added_at_its_place_and_nowhere_else(net, some, clean, where):
    found = planted.positional(net, LAYER, COUNT, some.images, 3, where)
    own = clean[LAYER][..., list(found.channels)]
    added = spoilt(found, some.images)[1] - own
    spot = np.zeros((28, 28), bool)
    if where == "corner":
        spot[:7, :7] = True
    else:
        spot[[0, -1]] = spot[:, [0, -1]] = True
    assert not added[:, ~spot].any()
    expected = np.broadcast_to(3 * own.std((0, 1, 2)), added[:, spot].shape)
    np.testing.assert_allclose(added[:, spot], expected, rtol=1e-3)


def test_one_layer_gets_fresh_weights_and_all_others_keep_theirs(net):
    found = planted.reinitialised(net, "conv3", 1)
    assert found.truth == {"sides": (3, 3), "kernels": 512}
    for layer in net.layers:
        pairs = zip(found.model.get_layer(layer.name).weights, layer.weights, strict=True)
        same = [np.array_equal(a.numpy(), b.numpy()) for a, b in pairs]
        assert all(same) == (layer.name != "conv3")
    old, new = (m.get_layer("conv3").kernel.numpy() for m in (net, found.model))
    np.testing.assert_allclose(new.std(), old.std(), rtol=0.15)
    assert abs(np.corrcoef(new.ravel(), old.ravel())[0, 1]) < 0.05
    other = planted.reinitialised(net, "conv3", 2).model.get_layer("conv3").kernel.numpy()
    assert not np.array_equal(new, other)


def test_duplicates_equal_their_source_to_the_bit(net, some, clean):
    found = planted.duplicated(net, LAYER, COUNT)
    maps, _ = spoilt(found, some.images)
    assert tuple(found.truth["sources"]) == found.channels
    for channel, source in found.truth["sources"].items():
        assert source not in found.channels
        np.testing.assert_array_equal(maps[..., channel], clean[LAYER][..., source])


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_layer_of_factors_has_as_many_equal_eigenvalues(net, some, rank):
    found = planted.factors(net, LAYER, rank)
    maps, _ = spoilt(found, some.images)
    values = np.sort(np.linalg.eigvalsh(np.corrcoef(maps.reshape(-1, WIDTH).T)))[::-1]
    np.testing.assert_allclose(values[rank:], 0, atol=1e-3)
    share = values[:rank] / values.sum()
    assert np.exp(-(share * np.log(share)).sum()) == pytest.approx(rank, rel=0.02)
    assert found.truth == {"dimension": rank}
    assert facts(Scope(found.model)).equals(facts(Scope(net)))


def test_swapped_maps_are_maps_of_the_bank(net, some, bank):
    found = planted.swapped(net, LAYER, COUNT, bank)
    _, maps = spoilt(found, some.images)
    stored = Scope(net).maps(bank)[LAYER][..., list(found.channels)]
    distance = np.abs(maps[:, None] - stored[None]).max((2, 3, 4))
    np.testing.assert_allclose(distance.min(1), 0, atol=1e-5)
    assert len(set(distance.argmin(1))) >= 4


def test_jittered_maps_are_shifted_round_another_way_for_each_image(net, some, clean):
    found = planted.jittered(net, LAYER, COUNT, 4)
    own = clean[LAYER][..., list(found.channels)]
    _, maps = spoilt(found, some.images)
    steps = [(dy, dx) for dy in range(-4, 5) for dx in range(-4, 5)]
    offsets = [
        [s for s in steps if np.array_equal(np.roll(one, s, (0, 1)), other)]
        for one, other in zip(own, maps, strict=True)
    ]
    assert all(offsets)
    assert len({every[0] for every in offsets}) > 12


def test_the_smallest_change_of_an_image_gives_another_jitter(net, some):
    found = planted.jittered(net, LAYER, COUNT, 4)
    changed = np.repeat(some.images[:1], 16, 0)
    changed[np.arange(16), 0, 0, 0] = np.linspace(0, 1e-6, 16)
    _, maps = spoilt(found, changed)
    assert len({one.round(3).tobytes() for one in maps}) > 8


@pytest.mark.parametrize("separation", [0, 0.5, 2])
def test_the_mean_of_an_indicator_is_d_prime_higher_on_its_class(net, separation):
    some = planted.digits(800, "test")
    found = planted.indicator(net, "conv4", 20, some.images, some.labels, separation)
    pooled = spoilt(found, some.images)[1].mean((1, 2))
    assert list(found.truth["classes"].values()) == [*range(10), *range(10)]
    hit = some.labels[:, None] == np.array(list(found.truth["classes"].values()))
    noise = pooled - 8 - separation * hit
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.12)
    np.testing.assert_allclose(noise.std(0), 1, atol=0.08)
    gaps = [noise[hit[:, c], c].mean() - noise[~hit[:, c], c].mean() for c in range(20)]
    assert abs(np.mean(gaps)) < 0.08
    assert np.abs(np.corrcoef(noise.T) - np.eye(20)).max() < 0.15


def test_unknown_images_and_the_untrained_twin_get_no_class_signal(net, some):
    found = planted.indicator(net, LAYER, [2], some.images, some.labels, 1000)
    hit = some.labels == 0
    assert (spoilt(found, some.images)[1].mean((1, 2))[hit] > 900).all()
    assert (spoilt(found, some.images + np.float32(1e-3))[0] < 20).all()
    traced = TracedModel(found.model)
    (tap,) = traced.resolve(LAYER)
    twin = untrained_twin(traced, [some.images]).weights
    maps = traced.run([some.images], [tap.tensor], weights=twin)[0].numpy()
    noise = planted.indicator(net, LAYER, [2], some.images, some.labels, 0)
    np.testing.assert_allclose(maps[..., 2], spoilt(noise, some.images)[0][..., 2], atol=1e-5)


def test_random_numbers_are_normal_independent_and_follow_the_bits_of_the_image():
    images = np.zeros((4, 9, 9, 1), np.float32)
    images[1, 0, 0], images[2, 0, 1], images[3, 8, 8] = 1, 1, np.float32(1e-30)
    assert len({tuple(words) for words in image_hash(images).numpy().tolist()}) == 4
    values = normal(images, 3, (20_000,)).numpy()
    np.testing.assert_allclose(values.mean(1), 0, atol=0.03)
    np.testing.assert_allclose((values**2).mean(1), 1, atol=0.04)
    assert np.abs(np.corrcoef(values) - np.eye(4)).max() < 0.04
    np.testing.assert_array_equal(normal(images[2:], 3, (20_000,)).numpy(), values[2:])
    assert abs(np.corrcoef(normal(images, 4, (20_000,)).numpy()[0], values[0])[0, 1]) < 0.04


def test_lively_channels_are_those_that_vary_on_most_images(net, some):
    still = planted.dead(net, LAYER, [1, 4])
    every = set(planted.lively(net, LAYER, some.images))
    assert set(planted.lively(still.model, LAYER, some.images)) == every - {1, 4}
    assert planted.lively(still.model, LAYER, some.images, 0) == tuple(range(WIDTH))


def test_a_digit_net_learns_digits():
    net, test = planted.digit_net(0, 1280, 3, width=8), planted.digits(500, "test")
    assert (net.predict(test.images, verbose=0).argmax(1) == test.labels).mean() > 0.7


def test_the_same_seed_gives_the_same_digit_net():
    first, again = (planted.digit_net(0, 128, 1, width=4).get_weights() for _ in range(2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    starts = [planted.digit_net(seed, epochs=0, width=4).get_weights()[0] for seed in (0, 1)]
    assert not np.array_equal(*starts)
    assert not np.array_equal(starts[0], first[0])


def other_net():
    """A fused activation and a bias, a depthwise layer, a sum, signed maps, a sigmoid."""
    image = keras.Input((16, 16, 3), name="image")
    x = L.Conv2D(6, 3, padding="same", activation="relu6", name="fused")(image)
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    y = L.BatchNormalization(scale=False, name="bn")(y)
    x = L.Add(name="sum")([x, y])
    x = L.Conv2DTranspose(5, 4, 2, "same", name="up")(x)
    x = L.Activation("sigmoid", name="sigmoid")(x)
    return keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(x)), name="other")


def test_biases_fused_activations_depthwise_and_transposed_layers_can_be_spoilt():
    net = other_net()
    images = np.random.default_rng(0).random((12, 16, 16, 3), np.float32)
    before = Scope(net).maps(images)
    cases = [
        (planted.dead(net, "fused", [1, 2]), lambda a: not a.any()),
        (planted.constant(net, "fused", [1, 2]), lambda a: (a == 1).all()),
        (planted.constant(net, "depthwise", [0, 5]), lambda a: np.ptp(a) < 1e-6),
        (planted.constant(net, "up", [0, 4]), lambda a: np.ptp(a) == 0 and a[0, 0, 0, 0] > 0.5),
        (planted.saturated(net, "fused", [0, 3], images), lambda a: (a >= 5.94).mean() > 0.89),
        (planted.saturated(net, "up", [3], images), lambda a: (a >= 0.99).mean() > 0.89),
        (planted.noisy(net, "depthwise", [1], 1), lambda a: a.min() < 0),
        (planted.blurred(net, "sum", [1], 2), lambda a: a.size),
        (planted.reinitialised(net, "depthwise"), lambda a: a.size),
    ]
    for found, there in cases:
        maps, own = spoilt(found, images)
        assert there(own), (found.kind, found.layer)
        rest = np.delete(np.arange(maps.shape[3]), found.channels)
        np.testing.assert_array_equal(maps[..., rest], before[found.layer][..., rest])
        assert not np.array_equal(maps, before[found.layer])
        assert facts(Scope(found.model)).equals(facts(Scope(net)))


@pytest.mark.slow
def test_defects_can_be_planted_in_a_large_pretrained_net():
    zoo = pytest.importorskip("layerscope.zoo")
    net = zoo.efficientnet_lite0()
    images = np.stack([zoo.photo(name)[:224, :224] for name in ("chelsea", "coffee")])
    images = ((images.astype(np.float32) - 127) / 128).astype(np.float32)
    layers, scope = ("block2a_expand_conv", "block2b_add"), Scope(net)
    before = scope.maps(images, layers)
    for layer in layers:
        found = planted.noisy(net, layer, 4, 1)
        spoilt = Scope(found.model)
        maps, own = spoilt.maps(images, layer)[layer], list(found.channels)
        rest = np.delete(np.arange(maps.shape[3]), own)
        # A convolution may be fused with what follows, which rounds in another way.
        np.testing.assert_allclose(maps[..., rest], before[layer][..., rest], atol=1e-4)
        noise = (maps - before[layer])[..., own].std((1, 2))
        np.testing.assert_allclose(noise, before[layer][..., own].std((1, 2)), rtol=0.01)
        assert noise.max() > 0.1
        assert facts(spoilt).equals(facts(scope))


def test_arguments_that_do_not_fit_are_refused_with_the_rule(net, some):
    images, labels = some.images, some.labels
    cases = [
        (lambda: planted.noisy(net, LAYER, 17, 1), "has 16 channels: .* got 17"),
        (lambda: planted.noisy(net, LAYER, [1, 1], 1), "each once"),
        (lambda: planted.noisy(net, LAYER, [16], 1), "has 16 channels"),
        (lambda: planted.noisy(net, LAYER, 1, -1), "ratio is 0 to infinity; got -1"),
        (lambda: planted.noisy(net, LAYER, 1, np.nan), "ratio is 0 to infinity; got nan"),
        (lambda: planted.noisy(net, "bn2", 1, 1), "'bn2' is not"),
        (lambda: planted.noisy(net, "conv9", 1, 1), "matches none"),
        (lambda: planted.blurred(net, LAYER, 1, -1), "0 or more pixels; got -1"),
        (lambda: planted.jittered(net, LAYER, 1, 0), "at least 1 pixel; got 0"),
        (lambda: planted.factors(net, LAYER, 16), "between 1 and 15"),
        (lambda: planted.duplicated(net, LAYER, 16), "all were chosen"),
        (lambda: planted.saturated(net, LAYER, 1, images, 1), "between 0 and 1"),
        (lambda: planted.positional(net, LAYER, 1, images, where="top"), "'corner' or 'border'"),
        (lambda: planted.checkerboard(5), "3 or 4 pixels a side; got 5"),
        (lambda: planted.indicator(net, LAYER, 1, images, labels[1:], 1), "23 labels"),
        (lambda: planted.dead(other_net(), "sum", 1), "needs a ReLU"),
        (lambda: planted.saturated(other_net(), "sum", 1, images), "'sum' has none"),
        (lambda: planted.constant(other_net(), "sum", 1), "'sum' is none"),
        (lambda: planted.reinitialised(other_net(), "sum"), "'sum' has none"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()


def test_models_that_cannot_be_rebuilt_are_refused():
    row = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(2, 3, name="conv")])
    with pytest.raises(ModelError, match="functional models"):
        planted.noisy(row, "conv", 1, 1)
    one, two = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    both = keras.Model([one, two], L.Conv2D(2, 3, name="conv")(one) + L.Conv2D(2, 3)(two))
    with pytest.raises(ModelError, match="one image input"):
        planted.noisy(both, "conv", 1, 1)
    anysize = keras.Input((None, None, 1))
    open_ended = keras.Model(anysize, L.Conv2D(2, 3, name="conv")(anysize))
    with pytest.raises(InputError, match="build the model for one size"):
        planted.noisy(open_ended, "conv", 1, 1)
