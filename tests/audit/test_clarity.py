import pytest
from audit_cases import judged, silent, table

from layerscope.audit.clarity import CHANNEL_VERDICTS, added, clarity_panel, counts


def test_counts_sum_to_total():
    rows = judged(table("a", 16, **silent(1, 2)), table("b", 8, finite=(0, 0)))
    tally = counts(rows["verdict"])
    assert (tally["total"], tally["dead"], tally["non_finite"]) == (24, 2, 1)
    assert sum(tally[name] for name in CHANNEL_VERDICTS) == 24
    assert added([tally, tally])["total"] == 48


def tally_of(**numbers):
    whole = {name: numbers.get(name, 0) for name in CHANNEL_VERDICTS}
    return {"total": sum(whole.values()), **whole}


def panel_of(late=None, **numbers):
    """Of channels that may be judged, and of late ones."""
    own = tally_of(**numbers)
    return clarity_panel(added([own, tally_of(**late or {})]), own, 800)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ({"clear": 80, "noisy": 20}, "clear"),
        ({"clear": 79, "noisy": 21}, "mixed"),
        ({"clear": 20, "noisy": 80}, "unclear"),
        ({"clear": 21, "noisy": 79}, "mixed"),
        ({"clear": 10, "unsure": 51, "noisy": 39}, "unsure"),
        ({"clear": 80, "noisy": 20, "not_judged": 900}, "clear"),
        ({"late": {"dead": 5, "not_judged": 95}}, "not-tested"),
        ({"clear": 64, "late": {"dead": 300, "not_judged": 700}}, "clear"),
        ({"dead": 100}, "unclear"),
        ({}, "not-tested"),
    ],
)
def test_the_clarity_verdict_is_made_of_judged_channels(numbers, verdict):
    panel = panel_of(**numbers)
    assert panel.verdict == verdict
    assert bool(panel.not_tested) == (verdict == "not-tested")


def test_where_no_layer_can_be_judged_the_panel_still_says_what_was_found():
    panel = panel_of(late={"dead": 5, "constant": 1, "not_judged": 1994})
    assert panel.summary.endswith("Found among 2,000 channels: 5 dead and 1 constant.")
    assert panel.verdict == "not-tested"


def test_the_panel_tells_how_many_layers_were_learned():
    total = tally_of(clear=9, noisy=1)
    panel = clarity_panel(total, total, 800, ["yes", "yes", "no", "not-tested"], ("Late.",))
    assert panel.summary == (
        "Clear: 9 of 10 channels that could be judged (90.0 %). Of all 10 channels: 1 noisy. Can a "
        "layer be told from untrained ones? Of 3 tested layers: 2 yes, 1 no, 0 unsure."
    )
    assert panel.not_tested == ("Late.",)


def test_what_is_said_of_all_channels_is_told_apart_from_what_is_said_of_the_judged_ones():
    total, own = tally_of(clear=9, noisy=1, dead=2, not_judged=30), tally_of(clear=9, noisy=1)
    panel = clarity_panel(total, own, 800)
    assert panel.summary == (
        "Clear: 9 of 10 channels that could be judged (90.0 %). Of all 42 channels, also those "
        "that could not be judged: 2 dead and 1 noisy."
    )


def test_the_panel_warns_where_most_layers_are_like_untrained_ones():
    total = tally_of(clear=10)
    panel = clarity_panel(total, total, 800, ["no", "no", "unsure"])
    assert panel.verdict == "clear"
    assert panel.summary.endswith("what is clear here may be the architecture alone.")
