"""Planted defects get their verdict and nothing else does: the short form of the benchmark."""

import numpy as np
import pytest

from layerscope import Scope
from layerscope.audit.clarity import clarity
from layerscope.measures.depth import regime
from layerscope.testing import planted

CHANNELS = (1, 4, 7, 10)
LAYER = "conv1"


@pytest.fixture(scope="module")
def net():
    return planted.digit_net(seed=5, images=1500, epochs=2)


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    found = planted.digits(48, "test")
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x=found.images, y=found.labels)
    return path


def judge(model, bed, layers=LAYER, nulls=("noise",)):
    scope = Scope(model, "none")
    profile = scope.profile(bed, layers=layers, nulls=nulls, warn=lambda _: None)
    rows = scope.traced.rows_of(scope.traced.resolve(layers))
    return clarity(profile, {path: regime(row) for path, row in rows.items()})


@pytest.fixture(scope="module")
def clean(net, bed):
    return judge(net, bed).channels


IMAGES = planted.digits(64).images
PLANTS = {
    "dead": lambda net: planted.dead(net, LAYER, CHANNELS),
    "constant": lambda net: planted.constant(net, LAYER, CHANNELS),
    "noisy": lambda net: planted.noisy(net, LAYER, CHANNELS, 0.5),
    "blurry": lambda net: planted.blurred(net, LAYER, CHANNELS, 1.5),
    "artefact": lambda net: planted.positional(net, LAYER, CHANNELS, IMAGES, 4),
    "image-independent": lambda net: planted.swapped(net, LAYER, CHANNELS, IMAGES),
    "inconsistent-maps": lambda net: planted.jittered(net, LAYER, CHANNELS, 3),
}


@pytest.mark.parametrize("kind", PLANTS)
def test_what_was_planted_is_found_where_it_is_and_changes_no_other_verdict(kind, net, bed, clean):
    said = judge(PLANTS[kind](net).model, bed)
    rows, ill = said.channels, said.channels["channel"].isin(CHANNELS)
    word = "verdict" if kind in set(rows["verdict"]) else "flagged"
    assert rows[word][ill].str.contains(kind).all()
    assert (rows["verdict"][~ill] == clean["verdict"][~ill]).all()
    assert (rows["flagged"][~ill] == clean["flagged"][~ill]).all()
    assert {found.layer for found in said.findings} == {LAYER}


def test_in_a_sound_net_channels_are_clear(clean):
    assert (clean["verdict"] == "clear").mean() >= 0.8
    assert not clean["verdict"].isin(["noisy", "blurry", "artefact"]).any()


def test_fewer_than_eight_images_leave_everything_unsure(net, tmp_path):
    found = planted.digits(7, "test")
    np.savez(tmp_path / "few.npz", x=found.images, y=found.labels)
    assert set(judge(net, tmp_path / "few.npz").channels["verdict"]) == {"unsure"}


def test_one_layer_with_fresh_weights_is_named_alone(net, bed):
    """The maps behind it change as well; only its kernels are random."""
    layers = ["conv2", "conv3", "conv4"]
    said = judge(planted.reinitialised(net, "conv3", 1).model, bed, layers, ("twin",))
    random = [found.layer for found in said.findings if found.kind == "random-kernels"]
    assert random == ["conv3"]
    assert said.learned["conv2"] == said.learned["conv4"] == "yes"


def test_an_untrained_net_is_like_its_twins(bed):
    said = judge(planted.digit_net(seed=8, epochs=0), bed, None, ("noise", "twin"))
    assert "yes" not in said.learned.values()
    warned = [found for found in said.findings if found.kind == "like-untrained-twin"]
    assert {found.severity for found in warned} == {"warn"}
