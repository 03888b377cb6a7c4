"""Signs of memorisation are there where wrong labels leave a net nothing else: the short form.

The whole table is made by benchmarks/planted_memorisation.py.
"""

import numpy as np
import pytest

from layerscope import Scope
from layerscope.audit.memorisation import Memorised, memorised
from layerscope.audit.performance import performance
from layerscope.errors import InputError
from layerscope.testing import planted

pytestmark = pytest.mark.xdist_group("planted nets")


def panel_of(net: planted.Memorising) -> Memorised:
    both = [
        (net.model.predict(data.images, 500, verbose=0), data.labels)
        for data in (net.train, net.test)
    ]
    return memorised(performance(*both[0]), performance(*both[1]), *both)


def test_gap_and_confidence_rise_with_wrong_labels_and_clean_nets_show_no_signs(memorising):
    nets = [memorising(300, noise) for noise in (0.0, 0.4, 1.0)]
    assert all(net.accuracy >= 0.95 for net in nets)
    assert [net.wrong for net in nets] == pytest.approx([0, 0.36, 0.9], abs=0.05)
    found = [panel_of(net) for net in nets]
    assert [one.signs for one in found] == [False, True, True]
    for values in ([one.gap for one in found], [one.auc for one in found]):
        assert values == sorted(values)
        assert values[0] < values[1] < values[2]


def test_the_audit_says_so_and_describes_noise_layers_and_heatmaps(memorising, tmp_path):
    net = memorising(300, 0.4)
    for name, data in (("train", net.train), ("test", net.test)):
        np.savez(tmp_path / name, x=data.images[:300], y=data.labels[:300])
    panels = ["memorisation", "performance", "focus"]
    scope = Scope(net.model, "none")
    audit = scope.audit(tmp_path / "test.npz", tmp_path / "train.npz", panels=panels)
    assert audit.panels["memorisation"].verdict == "signs"
    assert "memorisation" in [one.kind for one in audit.findings]
    content = audit.result.to_dict()["memorisation"]
    assert content["auc_ci95"][0] >= 0.65
    beside = content["described"]
    assert [(row["data"], row["level"], row["images"]) for row in beside["noise"]] == [
        (data, level, 64) for data in ("train", "test") for level in (0.05, 0.1)
    ]
    weak, strong = (row["flip_rate"] for row in beside["noise"][2:])
    assert weak <= strong
    assert all(row["gradient_norm"] > 0 for row in beside["noise"])
    assert [row["layer"] for row in beside["activation_shift"]] == ["conv1", "conv2"]
    assert 0 < beside["concentration"]["median"] <= 0.5
    page = str(audit.document)
    assert "A narrow focus alone is not evidence of overfitting." in page
    assert "Answers under noise." in page
    assert "layer/conv1" not in page  # no layer has a place in this document
    assert "Layers on 64 training images against 64 test images" in page


def test_other_light_in_the_test_images_shifts_the_layers_and_the_same_light_does_not(tmp_path):
    model = planted.digit_net(epochs=0)
    few = planted.digits(300)
    np.savez(tmp_path / "train", x=few.images[:150], y=few.labels[:150])
    beside = {}
    for name, light in (("same", 1.0), ("darker", 0.5)):
        np.savez(tmp_path / name, x=few.images[150:] * np.float32(light), y=few.labels[150:])
        audit = Scope(model, "none").audit(
            tmp_path / f"{name}.npz", tmp_path / "train.npz", panels=["memorisation"]
        )
        beside[name] = audit.result.memorised.described.shifts
    assert all(row.shift.value > row.shift.chance + 0.3 for row in beside["darker"])
    assert all(row.shift.value < 0.3 for row in beside["same"])


def test_a_net_that_cannot_know_its_images_is_refused():
    with pytest.raises(InputError, match="between 0 and 1; got 2"):
        planted.memorising_net(noise=2)


@pytest.mark.slow
@pytest.mark.parametrize("images", [600, 5000])
@pytest.mark.parametrize("seed", [11, 12])
def test_nets_of_the_sizes_that_the_evidence_names(images, seed):
    clean, wrong = (panel_of(planted.memorising_net(images, noise, seed)) for noise in (0, 0.4))
    assert not clean.signs
    assert wrong.signs
    assert clean.gap < wrong.gap
    assert clean.auc < wrong.auc
