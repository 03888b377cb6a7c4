import pandas as pd

from layerscope.audit.unused import unused_findings


def table(layer="conv", images=64, unused=(), dead=(), channels=8):
    return pd.DataFrame(
        {
            "layer": layer,
            "channel": range(channels),
            "images": images,
            "dead": [c in dead for c in range(channels)],
            "unused": [c in unused for c in range(channels)],
        }
    )


def test_unused_channels_are_reported_by_layer_and_in_the_order_of_the_layers():
    rows = pd.concat([table("z", unused=(2, 5)), table("a"), table("b", unused=(1,))])
    first, second = unused_findings(rows)
    assert (first.id, first.severity, first.channels) == ("unused-channels/z", "info", (2, 5))
    assert (first.effect.value, first.effect.ci95, first.images) == (2 / 8, None, 64)
    assert first.message.startswith("2 of 8 channels of z (2, 5) vary, and yet no output")
    assert "at most 4.6 % of such images" in first.message
    assert second.message.startswith("1 of 8 channels of b (1) varies, and yet")


def test_dead_channels_are_told_apart():
    assert unused_findings(table(dead=(0, 1))) == ()
    (found,) = unused_findings(table(unused=(3,), dead=(0, 1)))
    assert found.channels == (3,)
    assert found.message.endswith("2 channels that hold one value are not counted here.")


def test_few_images_say_nothing():
    assert unused_findings(table(images=7, unused=(1,))) == ()
    assert len(unused_findings(table(images=8, unused=(1,)))) == 1
    assert unused_findings(table().iloc[:0]) == ()
