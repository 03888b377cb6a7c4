"""Two audits side by side: what appeared, what vanished, and what changed beyond its interval."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from layerscope.audit.figures import Interval, Unit, amount, with_interval
from layerscope.audit.findings import PANELS
from layerscope.errors import InputError
from layerscope.store.manifest import MANIFEST

Read: TypeAlias = Mapping[str, Any]
"""An audit.json as it was read."""

FEWER_IS_BETTER: Mapping[str, bool] = {
    "accuracy": False,
    "share of channels": True,
    "rise of the probability": True,
    "gap of the accuracies": True,
    "groups": True,
    "ROC area": True,
}
"""Effects whose direction is plain; of others it is only said that they changed."""
_GAIN = "gain over"


@dataclass(frozen=True)
class Change:
    """A finding of both audits whose effect lies outside the interval of the other.

    Attributes:
        id: of the finding.
        effect: its name.
        before: value and interval in the first audit.
        after: the same in the second.
        better: whether it got better; ``None`` where the direction says nothing.
        unit: how both are shown, see `layerscope.audit.findings.Effect`.
    """

    id: str
    effect: str
    before: tuple[float, Interval | None]
    after: tuple[float, Interval | None]
    better: bool | None
    unit: Unit = "number"


@dataclass(frozen=True)
class Comparison:
    """What two audits have in common and what not.

    Attributes:
        appeared: findings of the second alone: id, severity, message.
        vanished: findings of the first alone.
        changed: findings of both whose effect changed.
        same: number of findings of both whose effect did not.
        panels: verdicts of panels that differ: name, before, after.
        accuracy: of the test images, before and after; ``None`` where it is not known.
        channels: counts by verdict that differ: name, before, after.
        remarks: what makes the two hard to compare.
    """

    appeared: tuple[tuple[str, str, str], ...]
    vanished: tuple[tuple[str, str, str], ...]
    changed: tuple[Change, ...]
    same: int
    panels: tuple[tuple[str, str, str], ...]
    accuracy: tuple[tuple[float, Interval | None] | None, tuple[float, Interval | None] | None]
    channels: tuple[tuple[str, int, int], ...]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def compare(first: str | Path, second: str | Path) -> Comparison:
    """Compare two run directories, or two audit.json.

    Args:
        first: the earlier one.
        second: the later one.

    Raises:
        InputError: one of them is no audit.
    """
    return compared(read_audit(first), read_audit(second))


def read_audit(place: str | Path) -> Read:
    """Read audit.json of a run directory, or the file itself.

    Raises:
        InputError: there is none, it was not finished, or it is damaged.
    """
    path = run = Path(place).expanduser()
    if run.is_dir():
        path = run / "audit.json"
        if (run / MANIFEST).exists() and not path.exists():
            raise InputError(
                f"Finished audits are compared, and the one in '{run}' was not finished: give its "
                f"command, layerscope audit ... -o {run}, again, and it goes on where it was."
            )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != 1 or not isinstance(found["findings"], list):
            raise ValueError("another schema")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"An audit is compared by its audit.json, and '{path}' cannot be read as one "
            f"({error}). Name the directory of a finished run."
        ) from None
    return dict(found)


def compared(before: Read, after: Read) -> Comparison:
    """Compare two audits that were read."""
    old, new = ({one["id"]: one for one in read["findings"]} for read in (before, after))
    both = [name for name in old if name in new]
    changes = [change for name in both if (change := _change(old[name], new[name])) is not None]
    panels = [
        (name, *verdicts)
        for name in PANELS
        if len(set(verdicts := [read["panels"][name]["verdict"] for read in (before, after)])) > 1
    ]
    counts = [read.get("channels") or {} for read in (before, after)]
    return Comparison(
        tuple(_named(one) for name, one in new.items() if name not in old),
        tuple(_named(one) for name, one in old.items() if name not in new),
        tuple(changes),
        len(both) - len(changes),
        tuple((name, first, second) for name, first, second in panels),
        (_accuracy(before), _accuracy(after)),
        tuple(
            (name, counts[0].get(name, 0), number)
            for name, number in counts[1].items()
            if number != counts[0].get(name, 0)
        ),
        tuple(_remarks(before, after)),
    )


def _named(found: Read) -> tuple[str, str, str]:
    return found["id"], found["severity"], found["message"]


def _change(old: Read, new: Read) -> Change | None:
    """Whether one value lies outside the interval of the other, both ways."""
    first, second = old.get("effect"), new.get("effect")
    if not first or not second or first["value"] is None or second["value"] is None:
        return None
    values = [(float(one["value"]), _interval(one)) for one in (first, second)]
    (a, of_a), (b, of_b) = values
    if a == b or _within(a, of_b) or _within(b, of_a):
        return None
    name = str(second["name"])
    fewer = FEWER_IS_BETTER.get(name, False if name.startswith(_GAIN) else None)
    better = None if fewer is None else (b < a) == fewer
    return Change(new["id"], name, values[0], values[1], better, second.get("unit", "number"))


def _within(value: float, ends: Interval | None) -> bool:
    return ends is not None and ends[0] <= value <= ends[1]


def _interval(effect: Read) -> Interval | None:
    ends = effect.get("ci95")
    return None if not ends else (float(ends[0]), float(ends[1]))


def _accuracy(read: Read) -> tuple[float, Interval | None] | None:
    found = (read.get("performance") or {}).get("test") or {}
    if found.get("accuracy") is None:
        return None
    return float(found["accuracy"]), _interval(found)


def _remarks(before: Read, after: Read) -> list[str]:
    said = []
    if before["model"]["sha256"] == after["model"]["sha256"]:
        said.append("Both are audits of the same weights.")
    images = [read["data"]["test"]["images"] for read in (before, after)]
    data = [(read.get("provenance") or {}).get("data") for read in (before, after)]
    if data[0] != data[1]:
        said.append(f"The test images differ ({images[0]:,} and {images[1]:,}).")
    if before.get("quick", False) != after.get("quick", False):
        which = "second" if after.get("quick") else "first"
        said.append(f"The {which} was a quick look: what it lacks may not have been looked for.")
    for name in PANELS:
        first, second = (read["panels"][name]["verdict"] for read in (before, after))
        if (first == "not-tested") != (second == "not-tested"):
            which, odd = ("first", "appeared") if first == "not-tested" else ("second", "vanished")
            said.append(
                f"The {which} audit did not test {name}: what has {odd} there may be unchanged."
            )
    tested = [(read.get("performance") or {}).get("test") or {} for read in (before, after)]
    kinds = {one.get("several_labels", False) for one in tested if one.get("accuracy") is not None}
    if len(kinds) > 1:
        said.append("The accuracies are not of one kind: one is of images with several labels.")
    if before["preprocess"]["name"] != after["preprocess"]["name"]:
        names = " and ".join(read["preprocess"]["name"] for read in (before, after))
        said.append(f"The preprocessing differs ({names}).")
    said += [f"The {name} audit is not complete." for name, read in
             (("first", before), ("second", after)) if not read["complete"]]  # fmt: skip
    return said


def _lines(found: Comparison) -> list[str]:
    said = list(found.remarks)
    first, second = ("not tested" if one is None else with_interval(*one) for one in found.accuracy)
    said.append(f"Accuracy: {first}, then {second}{_rise(found)}.")
    said += [f"Panel {name}: {before}, then {after}." for name, before, after in found.panels]
    said += _listing("Appeared", found.appeared)
    said += _listing("Vanished", found.vanished)
    words = {True: "Better", False: "Worse", None: "Changed"}
    said += [
        f"{words[one.better]} {one.id}: {one.effect} {amount(*one.before, one.unit)}, then "
        f"{amount(*one.after, one.unit)}."
        for one in found.changed
    ]
    if found.channels:
        counts = (f"{name} {before:,} to {after:,}" for name, before, after in found.channels)
        said.append(f"Channels: {', '.join(counts)}.")
    said.append(f"Findings that stayed as they were: {found.same}.")
    return said


def _rise(found: Comparison) -> str:
    """By how much the accuracy changed, and whether beyond what the intervals leave open."""
    first, second = found.accuracy
    if first is None or second is None or first[0] == second[0]:
        return ""
    apart = not (_within(first[0], second[1]) or _within(second[0], first[1]))
    words = "beyond both intervals" if apart else "within an interval"
    return f": {100 * (second[0] - first[0]):+.1f} points, {words}"


def _listing(word: str, findings: Sequence[tuple[str, str, str]]) -> list[str]:
    return [f"{word} {severity} {name}: {message}" for name, severity, message in findings]
