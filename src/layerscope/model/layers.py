"""The rows of a model: what each tap is called, how large its maps are, and what it can see."""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence

from layerscope.errors import InputError, ModelError, UnknownLayerError
from layerscope.model.fields import Field
from layerscope.model.taps import Tap, Wiring
from layerscope.vocabulary import CONVOLUTION_KINDS, Layer

DEFAULT = ("conv", "block")
_KINDS: dict[str, tuple[str, ...]] = {
    "conv": CONVOLUTION_KINDS,
    **{kind: (kind,) for kind in ("depthwise", "separable", "transposed", "dense")},
    "block": ("block",),
    "other": ("other",),
}


def rows(taps: Iterable[Tap], wiring: Wiring, fields: dict[str, Field]) -> list[Layer]:
    """One row per tap, in the order of the taps.

    The depth is the number of convolutions on the longest way from the input, scaled so that the
    first convolution has 0 and the deepest 1.
    """
    deepest = max((f.convolutions for f in fields.values()), default=1)
    return [_row(tap, wiring, fields.get(tap.tensor), deepest) for tap in taps]


def _row(tap: Tap, wiring: Wiring, field: Field | None, deepest: int) -> Layer:
    if not tap.tensor:
        shape: tuple[int | None, ...] = (None, None, None)
        reason = tap.reason
    else:
        shape = tuple(wiring.tensors[tap.tensor].shape[1:])
        reason = "a map of 1x1 is a number, not a picture" if shape[:2] == (1, 1) else ""
    field = field or Field(unknown="unknown: no way from an image input leads here")
    local = not (field.whole or field.unknown)
    if not tap.tensor:
        notes = ""
    elif field.unknown:
        notes = f"receptive field {field.unknown}"
    else:
        notes = "receptive field: the whole image" if field.whole else field.note
    return Layer(
        path=tap.path,
        kind=tap.kind,
        shape=(shape[0], shape[1], shape[2]),
        stride=None if field.unknown else max(field.jump),
        receptive_field=round(max(field.size)) if local else None,
        depth=min(1.0, max(0.0, (field.convolutions - 1) / max(1, deepest - 1))),
        pre_activation=tap.pre_activation,
        output=tap.output,
        not_shown=reason,
        notes=notes,
    )


def resolve(
    patterns: str | Sequence[str] | None, taps: Sequence[Tap], others: Sequence[Tap], model: str
) -> list[Tap]:
    """The taps that some patterns name, each once, in the order of the model.

    Args:
        patterns: each an exact path, a kind (``conv`` = every convolution), a glob (over
            convolutions and blocks; over other layers only if it fits none of these), or
            ``all``; default every convolution and block.
        taps: the convolutions and blocks.
        others: further layer outputs, reached by exact name, glob, ``other`` or ``all``.
        model: name of the model, for messages.

    Raises:
        UnknownLayerError: a pattern matches nothing; the message lists near matches.
        InputError: an exact name gives no map, with the reason.
        ModelError: the model has no image maps at all.
    """
    every = [*taps, *others]
    if not any(tap.tensor for tap in every):
        raise ModelError(
            f"layerscope reads image maps (batch, height, width, channels), and '{model}' "
            "computes none: use a model with two-dimensional convolutions."
        )
    asked = DEFAULT if patterns is None else patterns
    if isinstance(asked, str) or not isinstance(asked, Sequence):
        asked = (asked,)
    if not all(isinstance(pattern, str) for pattern in asked):
        raise InputError(f"Layer patterns are text, or a list of texts; got {patterns!r}.")
    if not asked:
        raise InputError("At least one layer pattern is needed, and the list is empty.")
    chosen = set[str]()
    for pattern in asked:
        # A default pattern may match nothing (a model without blocks); a given one may not.
        found = _match(pattern, every)
        if not found and patterns is not None:
            raise _unknown(pattern, every, model)
        chosen.update(found)
    return [tap for tap in every if tap.path in chosen and tap.tensor]


def _match(pattern: str, taps: Sequence[Tap]) -> list[str]:
    exact = next((tap for tap in taps if tap.path == pattern), None)
    if exact is not None:
        if not exact.tensor:
            raise InputError(f"'{pattern}' gives no image map ({exact.reason}): choose another.")
        return [pattern]
    live = [tap for tap in taps if tap.tensor]
    if pattern == "all":
        return [tap.path for tap in live]
    if pattern in _KINDS:
        return [tap.path for tap in live if tap.kind in _KINDS[pattern]]
    fits = [tap for tap in live if fnmatch.fnmatchcase(tap.path, pattern)]
    # ``block2*`` means its maps, not each normalisation and activation on the way to them.
    return [tap.path for tap in fits if tap.kind != "other"] or [tap.path for tap in fits]


def _unknown(pattern: str, taps: Sequence[Tap], model: str) -> UnknownLayerError:
    names = [tap.path for tap in taps if tap.tensor]
    inside = [name for name in names if pattern.strip("*").lower() in name.lower()]
    near = (difflib.get_close_matches(pattern, names, 4, 0.5) or inside)[:4]
    hint = f"Near: {', '.join(near)}." if near else f"The first are: {', '.join(names[:4])}."
    return UnknownLayerError(
        f"A layer pattern must be a path, a glob, 'all' or a kind ({', '.join(_KINDS)}), and "
        f"'{pattern}' matches none of the {len(names)} layers of '{model}'. {hint}"
    )
