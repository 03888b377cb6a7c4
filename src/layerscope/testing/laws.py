"""Laws that every statistic obeys, for layerscope's own statistics and for yours.

With pytest::

    @pytest.mark.parametrize("law", laws(MyStatistic()), ids=str)
    def test_my_statistic_obeys(law):
        law()

A law that is broken raises an ``AssertionError`` that says which one, by which result, and how.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.contract import MapBatch, State, Statistic
from layerscope.store.state import read_states, write_states

Results = Mapping[str, NDArray[Any]]

IMAGES = 13
WITH_NAN, WITH_INFINITY = 2, 4
"""Images of `planted_maps` with a map that is not finite, both in channel 0."""


@dataclass(frozen=True)
class Law:
    """One law, applied to one statistic; call it to check.

    Attributes:
        sentence: what the law says.
        statistic: what it is applied to.
    """

    sentence: str
    statistic: Statistic
    _check: Callable[[], None]

    def __call__(self) -> None:
        """Check the law.

        Raises:
            AssertionError: it is broken; warnings and errors of the statistic count as that.
        """
        try:
            with warnings.catch_warnings(), np.errstate(divide="warn", over="warn", invalid="warn"):
                warnings.simplefilter("error")
                self._check()
        except Exception as error:
            said = str(error) if isinstance(error, AssertionError) else repr(error)
            raise AssertionError(f"{self.statistic.name!r} breaks '{self.sentence}': {said}") from (
                error
            )

    def __str__(self) -> str:
        return self.sentence


def laws(
    statistic: Statistic,
    shape: tuple[int, int, int] = (6, 5, 5),
    seed: int = 0,
    undefined: Collection[str] = (),
    tolerance: float = 1e-5,
) -> Iterator[Law]:
    """All laws for a statistic.

    Args:
        statistic: the statistic.
        shape: height, width and channels of the maps to try it on.
        seed: of the maps; the same seed gives the same maps.
        undefined: names of results that are NaN also where something was seen, but too little:
            a correlation of constant maps, the second best of one image.
        tolerance: how far results of other splits and orders may lie apart, relative to their
            size, and absolutely below a size of 1.
    """
    case = _Case(statistic, shape, seed, frozenset(undefined), tolerance)
    for check in _LAWS:
        yield Law((check.__doc__ or "").rstrip("."), statistic, partial(check, case))


def planted_maps(shape: tuple[int, int, int], seed: int = 0) -> MapBatch:
    """Thirteen images whose maps are unlike each other.

    Channels take turns: signed noise, a rectified one with many equal maxima, noise far from 0,
    dead, constant. In channel 0 a pixel of image 2 is NaN and one of image 4 is infinite. Two of
    three images are sampled, these two among them.
    """
    random = np.random.default_rng(seed)
    maps = random.standard_normal((IMAGES, *shape)).astype(np.float32)
    maps[..., 1::5] = np.clip(np.round(2 * maps[..., 1::5]), 0, 3)
    maps[..., 2::5] += 1000
    maps[..., 3::5] = 0
    maps[..., 4::5] = 2.5
    maps[WITH_NAN, 0, 0, 0] = np.nan
    maps[WITH_INFINITY, -1, -1, 0] = np.inf
    return MapBatch(
        maps,
        positions=np.arange(IMAGES),
        sampled=np.arange(IMAGES) % 3 != 0,
        ceiling=3.0,
    )


@dataclass(frozen=True)
class _Case:
    statistic: Statistic
    shape: tuple[int, int, int]
    seed: int
    undefined: frozenset[str]
    tolerance: float

    @property
    def maps(self) -> MapBatch:
        return planted_maps(self.shape, self.seed)

    def state(self, batch: MapBatch, sizes: Sequence[int] = (IMAGES,)) -> State:
        """The state after batches of these sizes, taken in turn until all images are seen."""
        state = self.statistic.empty(batch.values.shape[1:])
        for part in _parts(batch, sizes):
            state = self.statistic.update(state, part)
        return state

    def results(self, batch: MapBatch, sizes: Sequence[int] = (IMAGES,)) -> Results:
        return self.statistic.finish(self.state(batch, sizes))

    def agree(self, found: Results, expected: Results, what: str) -> None:
        _agree(found, expected, what, self.tolerance)


def _merging_with_nothing(case: _Case) -> None:
    """Merging with the empty state changes nothing."""
    statistic, state, empty = case.statistic, case.state(case.maps), case.statistic.empty
    expected = statistic.finish(state)
    _agree(statistic.finish(statistic.merge(state, empty(case.shape))), expected, "from the right")
    _agree(statistic.finish(statistic.merge(empty(case.shape), state)), expected, "from the left")
    nothing = statistic.merge(empty(case.shape), empty(case.shape))
    _agree(
        statistic.finish(nothing), statistic.finish(empty(case.shape)), "two empty states merged"
    )


def _batches(case: _Case) -> None:
    """The size of the batches does not matter."""
    expected = case.results(case.maps)
    for sizes in ((1,), (2,), (5, 1, 7)):
        case.agree(case.results(case.maps, sizes), expected, f"batches of {sizes} images")


def _splits(case: _Case) -> None:
    """How images are split into states, and how these are grouped, does not matter."""
    statistic, expected = case.statistic, case.results(case.maps)
    for sizes in ((1,), (4,), (1, 9, 3)):
        states = [case.state(part) for part in _parts(case.maps, sizes)]
        left = reduce(statistic.merge, states)
        case.agree(statistic.finish(left), expected, f"parts of {sizes} images, from the left")
        right = reduce(lambda one, other: statistic.merge(other, one), reversed(states))
        case.agree(statistic.finish(right), expected, f"parts of {sizes} images, from the right")


def _order(case: _Case) -> None:
    """The order of the images, and of the states that are merged, does not matter."""
    statistic, expected = case.statistic, case.results(case.maps)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(IMAGES)
        mixed = _images(case.maps, order)
        case.agree(case.results(mixed, (3,)), expected, "images in another order")
        one, *others = (case.state(part) for part in _parts(mixed, (5, 6, 2)))
        merged = reduce(lambda done, new: statistic.merge(new, done), others, one)
        case.agree(statistic.finish(merged), expected, "states in another order")


def _repeated(case: _Case) -> None:
    """The same split and order give the same bits."""
    for sizes in ((IMAGES,), (4, 3)):
        first, second = (
            reduce(case.statistic.merge, [case.state(part, (2,)) for part in parts])
            for parts in (list(_parts(case.maps, sizes)) for _ in range(2))
        )
        _same_bits(second, first, "a second time")


def _batch_unchanged(case: _Case) -> None:
    """A batch stays as it is, and no state holds on to its memory."""
    one, other = _parts(case.maps, (7,))
    before = copy.deepcopy([_arrays_of(one), _arrays_of(other)])
    state = case.statistic.update(case.statistic.empty(case.shape), one)
    state = case.statistic.update(state, other)
    for batch, arrays in zip((one, other), before, strict=True):
        _same_bits(_arrays_of(batch), arrays, "the batch after the update")
    kept = copy.deepcopy(state)
    for batch in (one, other):
        for array in _arrays_of(batch).values():
            array[...] = 77
    _same_bits(state, kept, "the state after the memory of the batch was used again")


def _merged_unchanged(case: _Case) -> None:
    """States that were merged stay as they are, also when the result goes on."""
    first, second, third = _parts(case.maps, (5,))
    empty = case.statistic.empty(case.shape)
    one, other = case.state(first), case.state(second)
    for inputs in ((one, other), (one, empty), (empty, other)):
        before = copy.deepcopy(inputs)
        merged = case.statistic.merge(*inputs)
        case.statistic.update(merged, third)
        for state, kept in zip(inputs, before, strict=True):
            _same_bits(state, kept, "a state that was merged")


def _apart(case: _Case) -> None:
    """States do not know of each other."""
    first, second, third = _parts(case.maps, (5,))
    alone = case.statistic.update(case.state(first), third)
    untouched = copy.deepcopy(case.statistic.empty(case.shape))
    state = case.state(first)
    case.state(second)
    _same_bits(case.statistic.update(state, third), alone, "while another state is made")
    _same_bits(case.statistic.empty(case.shape), untouched, "an empty state after the others")


def _stored(case: _Case) -> None:
    """A state that was written and read back goes on to the same bits."""
    first, second = _parts(case.maps, (8,))
    state = case.state(first)
    assert isinstance(case.statistic.name, str), f"its name is {case.statistic.name!r}"
    for name, array in state.items():
        assert isinstance(array, np.ndarray | np.generic), f"{name!r} is a {type(array).__name__}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"
        with path.open("wb") as file:
            write_states(file, {"layer": {case.statistic.name: state}})
        back = read_states(path)["layer"][case.statistic.name]
    _same_bits(back, state, "read back")
    gone_on = case.statistic.update(back, second)
    _same_bits(gone_on, case.statistic.update(state, second), "going on after it was read back")


def _finished(case: _Case) -> None:
    """Finishing leaves the state as it was, and the results are their own."""
    first, second = _parts(case.maps, (8,))
    state = case.state(first)
    before = copy.deepcopy(state)
    results = case.statistic.finish(state)
    _same_bits(state, before, "the state after it was finished")
    for name, result in results.items():
        for key, array in state.items():
            assert not np.shares_memory(result, array), f"{name!r} shares memory with {key!r}"
    _same_bits(case.statistic.finish(state), results, "finishing again")
    gone_on = case.statistic.update(state, second)
    _same_bits(gone_on, case.statistic.update(before, second), "going on after finishing")


def _not_finite_maps(case: _Case) -> None:
    """A map with NaN or infinity is left out as a whole and spoils no other."""
    maps = case.maps
    expected = case.results(maps, (4,))
    for first, others in ((np.nan, np.nan), (np.inf, np.inf), (-np.inf, np.inf)):
        other = replace(maps, values=maps.values.copy())
        other.values[[WITH_NAN, WITH_INFINITY], :, :, 0] = others
        other.values[[WITH_NAN, WITH_INFINITY], 0, 0, 0] = first
        case.agree(case.results(other, (4,)), expected, f"all pixels of these maps {others}")
    without = np.delete(np.arange(IMAGES), [WITH_NAN, WITH_INFINITY])
    fewer = case.results(_images(maps, without), (4,))
    for name, result in expected.items():
        if result.dtype.kind in "fc":
            assert np.isfinite(result[np.isfinite(fewer[name])]).all(), f"{name!r} is spoilt"


def _nothing_seen(case: _Case) -> None:
    """Where no image said anything the results have their usual form and are NaN."""
    usual, maps = case.results(case.maps), case.maps
    nothing = {"no image": case.statistic.finish(case.statistic.empty(case.shape))}
    for value in (np.nan, np.inf, -np.inf):
        whole = replace(maps, values=np.full_like(maps.values, value))
        nothing[f"every pixel {value}"] = case.results(whole, (4,))
    for what, results in nothing.items():
        _same_form(results, usual, what)
        for name, result in results.items():
            if result.dtype.kind in "fc":
                assert np.isnan(result).all(), f"{what}: {name!r} is not NaN everywhere"
    not_sampled = replace(maps, sampled=np.zeros(IMAGES, np.bool_))
    _same_form(case.results(not_sampled, (4,)), usual, "no image sampled")


def _extremes(case: _Case) -> None:
    """Constant, tiny and huge maps, maps of one pixel, and one image have defined results."""
    usual = case.results(case.maps)
    for what, batch in _extreme_maps(case.shape, case.seed):
        results = case.results(batch, (4,))
        if batch.values.shape[1:] == case.shape:
            _same_form(results, usual, what)
        for name, result in results.items():
            if result.dtype.kind in "fc":
                assert not np.isinf(result).any(), f"{what}: {name!r} is infinite"
                if name not in case.undefined:
                    assert not np.isnan(result).any(), f"{what}: {name!r} is NaN"


def _extreme_maps(shape: tuple[int, int, int], seed: int) -> Iterator[tuple[str, MapBatch]]:
    height, width, _ = shape
    maps = planted_maps(shape, seed)
    maps = replace(maps, values=np.nan_to_num(maps.values, nan=1, posinf=1))
    noise = np.random.default_rng(seed).standard_normal(maps.values.shape).astype(np.float32)
    for constant in (0.0, 2.5, -1e6):
        values = np.full_like(maps.values, constant)
        yield f"every pixel {constant}", replace(maps, values=values)
    for size in (1e-30, 1e30):
        yield f"pixels around {size}", replace(maps, values=np.float32(size) * noise)
    for form in ((1, 1), (1, width), (height, 1)):
        values = np.ascontiguousarray(maps.values[:, : form[0], : form[1]])
        yield f"maps of {form} pixels", replace(maps, values=values)
    yield "one image", _images(maps, np.array([1]))


_LAWS = (
    _merging_with_nothing,
    _batches,
    _splits,
    _order,
    _repeated,
    _batch_unchanged,
    _merged_unchanged,
    _apart,
    _stored,
    _finished,
    _not_finite_maps,
    _nothing_seen,
    _extremes,
)


def _images(batch: MapBatch, which: NDArray[np.intp]) -> MapBatch:
    """Some images of a batch, as a batch with memory of its own."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    chosen: dict[str, Any] = {
        name: value[which] for name, value in values.items() if isinstance(value, np.ndarray)
    }
    return replace(batch, **chosen)


def _parts(batch: MapBatch, sizes: Sequence[int]) -> Iterator[MapBatch]:
    start, turn = 0, 0
    while start < len(batch.values):
        stop = start + sizes[turn % len(sizes)]
        yield _images(batch, np.arange(start, min(stop, len(batch.values))))
        start, turn = stop, turn + 1


def _arrays_of(batch: MapBatch) -> dict[str, NDArray[Any]]:
    """All arrays of a batch, those that it computes once for all statistics included."""
    members = {**vars(batch), **vars(batch.sums)}
    return {name: value for name, value in members.items() if isinstance(value, np.ndarray)}


def _same_form(found: Results, expected: Results, what: str) -> None:
    assert set(found) == set(expected), f"{what}: {sorted(found)} instead of {sorted(expected)}"
    for name, right in expected.items():
        given = found[name]
        assert (given.dtype, given.shape) == (right.dtype, right.shape), (
            f"{what}: {name!r} is {given.dtype}{given.shape} instead of {right.dtype}{right.shape}"
        )


def _same_bits(found: Results, expected: Results, what: str) -> None:
    _same_form(found, expected, what)
    for name, right in expected.items():
        assert found[name].tobytes() == right.tobytes(), f"{what}: {name!r} has other bits"


def _agree(found: Results, expected: Results, what: str, tolerance: float = 0.0) -> None:
    """Equal; floating-point numbers within the tolerance, everything else exactly."""
    _same_form(found, expected, what)
    for name, right in expected.items():
        told = f"{what}: {name!r}"
        if right.dtype.kind in "fc":
            np.testing.assert_allclose(
                found[name], right, rtol=tolerance, atol=tolerance, err_msg=told
            )
        else:
            np.testing.assert_array_equal(found[name], right, err_msg=told)
