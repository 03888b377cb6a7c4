"""Each law is seen to catch a planted bug, and a statistic without one passes."""

from dataclasses import dataclass

import numpy as np
import pytest

from layerscope.statistics.contract import MapBatch
from layerscope.testing.laws import laws, planted_maps


@dataclass(frozen=True)
class Means:
    """What the bugs are planted in: the mean over all images, and which image has the maximum."""

    name: str = "means"

    def empty(self, shape):
        return {
            "count": np.zeros(shape[2], np.int64),
            "total": np.zeros(shape[2]),
            "highest": np.full(shape[2], -np.inf, np.float32),
            "image": np.full(shape[2], -1),
        }

    def update(self, state, batch):
        sums = batch.sums
        state["count"] += sums.finite.sum(0)
        state["total"] += np.where(sums.finite, sums.mean, 0).sum(0)
        for image, row in zip(batch.positions, sums.maximum, strict=True):
            self.enter(state, row, image)
        return state

    def enter(self, state, row, image):
        ties = (row == state["highest"]) & (image < state["image"])
        enters = (row > state["highest"]) | ties
        state["highest"][enters] = row[enters]
        state["image"][enters] = np.broadcast_to(image, row.shape)[enters]

    def merge(self, one, other):
        merged = {key: array.copy() for key, array in one.items()}
        self.enter(merged, other["highest"], other["image"])
        return merged | {key: one[key] + other[key] for key in ("count", "total")}

    def finish(self, state):
        count = state["count"]
        seen = np.where(count > 0, 1.0, np.nan)
        mean = state["total"] / np.maximum(count, 1) * seen
        return {"count": count.copy(), "mean": mean, "image": state["image"].copy()}


class CountsUpdates(Means):
    def update(self, state, batch):
        before = state["count"].copy()
        state = super().update(state, batch)
        state["count"] = before + batch.sums.finite.any(0)
        return state


class MergeKeepsTheFirstImage(Means):
    def merge(self, one, other):
        return super().merge(one, other) | {"image": one["image"].copy()}


class TiesGoToWhoeverCameFirst(Means):
    def enter(self, state, row, image):
        state["image"] = np.where(row > state["highest"], image, state["image"])
        state["highest"] = np.fmax(state["highest"], row)


class AveragesMeans(Means):
    def merge(self, one, other):
        half = (one["total"] + other["total"]) / 2
        return super().merge(one, other) | {"total": half}


class EmptyCountsForOne(Means):
    def merge(self, one, other):
        count = np.maximum(one["count"], 1) + np.maximum(other["count"], 1)
        return super().merge(one, other) | {"count": count}


class Random(Means):
    def update(self, state, batch):
        state["total"] += 1e-9 * np.random.default_rng().random()
        return super().update(state, batch)


class WritesToTheMaps(Means):
    def update(self, state, batch):
        state = super().update(state, batch)
        np.nan_to_num(batch.values, copy=False, posinf=0)
        return state


class WritesToTheSharedSums(Means):
    def update(self, state, batch):
        np.nan_to_num(batch.sums.mean, copy=False)
        return super().update(state, batch)


class KeepsAViewOfTheBatch(Means):
    def update(self, state, batch):
        return super().update(state, batch) | {"last": batch.values[-1]}


class MergesIntoTheFirst(Means):
    def merge(self, one, other):
        one["total"] += other["total"]
        return super().merge(one, other) | {"total": one["total"]}


class MergesIntoTheSecond(Means):
    def merge(self, one, other):
        merged = super().merge(one, other)
        other["count"] += one["count"]
        return merged


class MergedSharesMemory(Means):
    def merge(self, one, other):
        return super().merge(one, other) if one["count"].any() else other


class AllStatesAreOne(Means):
    states: dict = {}  # noqa: RUF012  # the bug

    def empty(self, shape):
        return self.states.setdefault(shape, super().empty(shape))


class KeepsAList(Means):
    def update(self, state, batch):
        state["image"] = np.asarray(state["image"])
        return super().update(state, batch) | {"image": state["image"].tolist()}


class KeepsPythonObjects(Means):
    def update(self, state, batch):
        state = super().update(state, batch)
        return state | {"image": state["image"].astype(object)}


class KnowsItsStatesByIdentity(Means):
    known: list = []  # noqa: RUF012  # the bug

    def empty(self, shape):
        state = super().empty(shape)
        self.known.append(state["count"])
        return state

    def update(self, state, batch):
        state["count"] += all(state["count"] is not known for known in self.known)
        return super().update(state, batch)


class FinishDividesTheState(Means):
    def finish(self, state):
        state["total"] /= np.maximum(state["count"], 1)
        return {"mean": np.where(state["count"] > 0, state["total"], np.nan)}


class FinishGivesTheStateAway(Means):
    def finish(self, state):
        return {**super().finish(state), "count": state["count"]}


class TakesOtherPixelsThanNaN(Means):
    def update(self, state, batch):
        clean = np.where(np.isfinite(batch.values), batch.values, 0)
        state["count"] += len(clean)
        state["total"] += clean.mean((1, 2)).sum(0)
        return state


class OneNaNSpoilsAll(Means):
    def update(self, state, batch):
        total = state["total"] + batch.sums.mean.sum(0)
        return super().update(state, batch) | {"total": total}


class ZeroWhereNothingWasSeen(Means):
    def finish(self, state):
        return {"mean": state["total"] / np.maximum(state["count"], 1)}


class DividesByNoImages(Means):
    def finish(self, state):
        return {"mean": state["total"] / state["count"]}


class SaysLessWhereNothingWasSeen(Means):
    def finish(self, state):
        return super().finish(state) if state["count"].any() else {}


class DividesByTheRange(Means):
    def finish(self, state):
        found = super().finish(state)
        with np.errstate(invalid="ignore"):
            gap = np.where(np.isfinite(state["highest"]), state["highest"] - found["mean"], np.nan)
            return {"sharpness": gap / gap}


class NeedsTwoColumns(Means):
    def update(self, state, batch):
        state["count"] += np.sign(batch.values[:, 0, 1]).astype(np.int64).sum(0) * 0
        return super().update(state, batch)


PLANTED = [
    (CountsUpdates, "The size of the batches does not matter", r"batches of .1,. images: 'count'"),
    (
        MergeKeepsTheFirstImage,
        "How images are split into states, and how",
        r"parts of .1,. images, from the left: 'image'",
    ),
    (AveragesMeans, "How images are split into states, and how", r"from the left: 'mean'"),
    (
        TiesGoToWhoeverCameFirst,
        "The order of the images, and of the states",
        r"images in another order: 'image'",
    ),
    (EmptyCountsForOne, "Merging with the empty state changes nothing", r"from the right: 'count'"),
    (
        Random,
        "The same split and order give the same bits",
        r"a second time: 'total' has other bits",
    ),
    (
        WritesToTheMaps,
        "A batch stays as it is, and no state",
        r"the batch after the update: 'values' has other bits",
    ),
    (
        WritesToTheSharedSums,
        "A batch stays as it is, and no state",
        r"the batch after the update: 'mean' has other bits",
    ),
    (
        KeepsAViewOfTheBatch,
        "A batch stays as it is, and no state",
        r"the memory of the batch was used again: 'last' has other bits",
    ),
    (
        MergesIntoTheFirst,
        "States that were merged stay as they are",
        r"that was merged: 'total' has other bits",
    ),
    (
        MergesIntoTheSecond,
        "States that were merged stay as they are",
        r"that was merged: 'count' has other bits",
    ),
    (
        MergedSharesMemory,
        "States that were merged stay as they are",
        r"that was merged: 'count' has other bits",
    ),
    (
        AllStatesAreOne,
        "States do not know of each other",
        r"an empty state after the others: 'count' has other bits",
    ),
    (KeepsAList, "A state that was written and read back", r"'image' is a list"),
    (
        KeepsPythonObjects,
        "A state that was written and read back",
        r"'image' .* has the type object",
    ),
    (
        KnowsItsStatesByIdentity,
        "A state that was written and read back",
        r"going on after it was read back: 'count'",
    ),
    (
        FinishDividesTheState,
        "Finishing leaves the state as it was",
        r"the state after it was finished: 'total'",
    ),
    (
        FinishGivesTheStateAway,
        "Finishing leaves the state as it was",
        r"'count' shares memory with 'count'",
    ),
    (
        TakesOtherPixelsThanNaN,
        "A map with NaN or infinity is left out",
        r"all pixels of these maps nan: 'mean'",
    ),
    (OneNaNSpoilsAll, "A map with NaN or infinity is left out", r"'mean' is spoilt"),
    (ZeroWhereNothingWasSeen, "Where no image said anything", r"no image: 'mean' is not NaN"),
    (DividesByNoImages, "Where no image said anything", r"RuntimeWarning"),
    (SaysLessWhereNothingWasSeen, "Where no image said anything", r"no image: \[\] instead of"),
    (DividesByTheRange, "Constant, tiny and huge maps", r"every pixel 0.0: 'sharpness' is NaN"),
    (NeedsTwoColumns, "Constant, tiny and huge maps", r"IndexError"),
]


@pytest.mark.parametrize("shape", [(6, 5, 5), (1, 1, 1), (9, 1, 12)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_right_statistic_obeys_every_law(shape: tuple[int, int, int], seed: int):
    for law in laws(Means(), shape, seed):
        law()


@pytest.mark.parametrize(
    ("bug", "sentence", "told"), PLANTED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_planted_bug_breaks_its_law(bug: type, sentence: str, told: str):
    (law,) = [law for law in laws(bug()) if str(law).startswith(sentence)]
    with pytest.raises(AssertionError, match=f"(?s)^'means' breaks '{sentence}.*': .*{told}"):
        law()


def test_every_law_has_its_planted_bug():
    sentences = {sentence for _, sentence, _ in PLANTED}
    for law in laws(Means()):
        assert any(str(law).startswith(sentence) for sentence in sentences), law


def test_results_may_be_declared_undefined_for_degenerate_maps():
    class Undefined(DividesByTheRange):
        pass

    (law,) = [law for law in laws(Undefined(), undefined=["sharpness"]) if "tiny" in str(law)]
    law()


def test_the_planted_maps_are_what_their_description_says():
    batch: MapBatch = planted_maps((6, 5, 5))
    bad = ~np.isfinite(batch.values)
    assert np.argwhere(bad.any((1, 2))).tolist() == [[2, 0], [4, 0]]
    assert bad.sum() == 2
    assert batch.sampled[[2, 4]].all()
    assert not batch.sampled.all()
    highest = batch.values[..., 1].max((1, 2))
    assert (highest == 3).sum() > 3
    assert batch.values[..., 2].mean() > 900
    assert not batch.values[..., 3].any()
    assert np.unique(batch.values[..., 4]).tolist() == [2.5]
