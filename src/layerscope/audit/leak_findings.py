"""What is found about leaks, in sentences.

They say what was seen and how far it moves the answers, never what a model is up to.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from layerscope.audit.figures import conjoined, count, percent
from layerscope.audit.findings import Effect, Finding
from layerscope.audit.leakage import (
    ORDER,
    ClassLeak,
    Leaks,
    Repeated,
    WholeLeak,
    class_verdict,
    is_of_the_edge,
    is_used,
    whole_verdict,
)
from layerscope.images.region import shares
from layerscope.interventions.transplant import Shift
from layerscope.leakage.copies import Copies
from layerscope.measures.intervals import wilson


def leak_findings(leaks: Leaks) -> tuple[Finding, ...]:
    """All findings of the panel."""
    found: list[Finding] = []
    edges = {one.of.index: one for one in leaks.classes if is_of_the_edge(one, leaks)}
    for one in leaks.classes:
        found += [] if one.of.index in edges else _of_copies(one, leaks.size)
        found += _of_region(one)
    found += _of_properties(leaks.whole, edges)
    found += [_of_repeated(one) for one in leaks.repeated if one.groups]
    return tuple(found)


_KIND: dict[str, str] = {
    "confirmed-used": "leak-confirmed", "present-unused": "leak-present-unused",
    "suspect": "leak-suspect",
}  # fmt: skip
_ADVICE = {
    "leak-confirmed": (
        "The accuracy on images with this pattern is not to be trusted. Remove it from all images, "
        "or crop it, train again, and audit again. If it belongs to the class, such as a printed "
        "sign, declare it with --expected."
    ),
    "object": (
        "Look at the pattern in the images. If it is the object, nothing; if it lies upon it, such "
        "as a large watermark, remove it and train again."
    ),
    "leak-present-unused": (
        "The model does not need it now, and another training may pick it up: remove it from the "
        "images, or declare it with --expected if it belongs to the class."
    ),
    "leak-suspect": (
        "Look at the pattern, and test it by hand with layerscope probe. More images of this class "
        "narrow the interval."
    ),
}


DECLARED = "Nothing, if the pattern is there wherever the class is, also outside these images."


def _of_copies(leak: ClassLeak, size: tuple[int, int]) -> list[Finding]:
    copies, effect = leak.copies, leak.effect
    kind = _KIND.get(class_verdict(leak), "")
    if not kind or copies is None:
        return []
    few, many = wilson(round(copies.inside * copies.judged[0]), copies.judged[0])
    message = (
        f"The same {_placed(copies)}, in {percent(copies.inside)} of class {leak.of.name} and "
        f"{percent(copies.outside)} of others"
    )
    if copies.shared:
        message += f" (also in {count(len(copies.shared), 'other class')}, left out of the others)"
    if effect is None:
        message += "; what it does to the answer could not be tried."
    else:
        number = len(effect.recipients)
        hits = round(effect.moved[0] * number)
        low, high = wilson(hits, number)
        message += (
            f", moves {percent(effect.moved[0])} (CI {100 * low:.0f}-{100 * high:.0f}) of "
            f"{number} other-class images to {leak.of.name}, and the same box from unrelated "
            f"images {percent(effect.moved[1])}. The probability of {leak.of.name} rises by "
            f"{effect.same.value:z.2f} more than with the control (95 % CI "
            f"{effect.same.low:z.2f} to {effect.same.high:z.2f}), at random places by "
            f"{effect.anywhere.value:z.2f}."
        )
    if leak.may_be_object:
        message += (
            f" It covers {percent(leak.covers)} of the image, as an object does rather than a "
            "mark: look whether it is the object."
        )
    elif kind == "leak-suspect" and effect is not None and is_used(effect.same, leak.p):
        message += (
            " It lies at changing places in fewer than half of the images, as parts of objects do: "
            "look whether it is one."
        )
    message += (
        f" Its share of the class counts clear copies (95 % CI {100 * few:.0f} to {100 * many:.0f} "
        "%)."
    )
    if np.isfinite(leak.necessity):
        message += f" Without it the class loses {leak.necessity:.2f}."
    if leak.expected:
        message += " It was declared to belong to the class."
    return [
        Finding(
            kind,
            message,
            DECLARED if leak.expected else _ADVICE["object" if leak.may_be_object else kind],
            classes=(leak.of,),
            region=shares(copies.box, size),
            effect=_effect(effect.same) if effect else None,
            p=leak.p if np.isfinite(leak.p) else None,
            images=len(effect.recipients) if effect else leak.images,
            minor=leak.expected or leak.may_be_object,
        )
    ]


def _placed(copies: Copies) -> str:
    """A pattern with its size and place, in the order of the options."""
    x0, y0, x1, y1 = copies.box
    where = f"x {x0}, y {y0} (pixels from the left and from the top)"
    return f"{x1 - x0} × {y1 - y0} pattern at {where if copies.fixed else 'changing places'}"


def _effect(shift: Shift) -> Effect:
    return Effect("rise of the probability", shift.value, (shift.low, shift.high), "points")


def _of_region(leak: ClassLeak) -> list[Finding]:
    if leak.region is None or leak.region_effect is None or not is_used(leak.region_effect):
        return []
    return [
        Finding(
            "small-decisive-region",
            f"A patch of class {leak.of.name} from one small region raises its probability in "
            f"images of other classes by {leak.region_effect.value:z.2f} (95 % CI "
            f"{leak.region_effect.low:z.2f} to {leak.region_effect.high:z.2f}). Nothing there "
            "repeats from image to image, as a mark would: small objects do this too.",
            "Look at what lies there. This is information and no leak.",
            classes=(leak.of,),
            region=leak.region,
            effect=_effect(leak.region_effect),
        )
    ]


_KIND_OF_WHOLE = {name: kind for name, kind in _KIND.items() if name != "present-unused"}


def _of_properties(whole: Iterable[WholeLeak], edges: Mapping[int, ClassLeak]) -> list[Finding]:
    """One finding for a class: the look that the model uses most, and the others beside it."""
    of_class: dict[int, list[WholeLeak]] = {}
    for leak in whole:
        of_class.setdefault(leak.of.index, []).append(leak)
    return [
        _of_look(edges.get(index), *sorted(looks, key=_gravity))
        for index, looks in of_class.items()
    ]


def _gravity(leak: WholeLeak) -> tuple[int, float]:
    if leak.expected:
        return len(ORDER), 0.0
    return ORDER.index(whole_verdict(leak)), -(leak.effect.low if leak.effect else leak.found.auc)


def _of_look(edge: ClassLeak | None, leak: WholeLeak, *others: WholeLeak) -> Finding:
    own, effect, verdict = leak.found, leak.effect, whole_verdict(leak)
    of_data = leak.expected or leak.may_be_object
    kind = "data-label-property" if of_data else _KIND_OF_WHOLE.get(verdict, "data-label-property")
    message = (
        f"Class {leak.of.name} can be told from the others by {_lower(own.name)} alone: "
        f"ROC area {own.auc:.2f} (95 % CI {own.low:.2f} to {own.high:.2f}), cross-validated "
        f"over {count(own.images, 'image')}; predicting all classes from it is right for "
        f"{percent(own.accuracy)}, always answering the commonest class for "
        f"{percent(own.majority)}."
    )
    if effect is not None:
        message += (
            f" Given to images of other classes, it raises the probability of {leak.of.name} "
            f"by {effect.value:z.2f} more than {leak.control} does (95 % CI "
            f"{effect.low:z.2f} to {effect.high:z.2f}, {leak.recipients} images)."
        )
    if leak.may_be_object:
        message += (
            f" The edges of the images alone tell the class less (ROC area {own.frame:.2f}), so "
            "that it comes from what lies in the middle, such as the object."
        )
    if leak.expected:
        message += " It was declared to belong to the classes."
    if others:
        named = [
            f"{_lower(one.found.name)} (ROC area {one.found.auc:.2f}{_rise_words(one.effect)})"
            for one in others
        ]
        message += f" It can also be told by {conjoined(named)}."
    if edge is not None and edge.copies is not None and edge.effect is not None:
        message += (
            f" A {_placed(edge.copies)}, reaches the edge and repeats in "
            f"{percent(edge.copies.inside)} of the class; alone it raises the probability by "
            f"{edge.effect.same.value:z.2f}."
        )
    return Finding(
        kind,
        message,
        DECLARED if leak.expected else _ADVICE_WHOLE.get(kind, _ADVICE_DATA),
        classes=(leak.of,),
        effect=_effect(effect)
        if effect
        else Effect("ROC area", own.auc, (own.low, own.high), "number"),
        # of a look that is only told, the p of what was tried with it says nothing
        p=leak.p if kind in _ADVICE_WHOLE and np.isfinite(leak.p) else None,
        images=own.images,
        number=1,
        minor=of_data,
    )


def _rise_words(effect: Shift | None) -> str:
    return f", rise {effect.value:z.2f}" if effect else ""


def _lower(name: str) -> str:
    """What a property is called within a sentence."""
    words = WORDS.get(name, name)
    return words[:1].lower() + words[1:]


_ADVICE_WHOLE = {
    "leak-confirmed": (
        "The accuracy on images that look like this is not to be trusted. Make all classes alike "
        "in this before training, train again, and audit again. If the classes differ in it "
        "wherever they are met, declare it by its name, such as --expected contrast."
    ),
    "leak-suspect": (
        "Look at images of this class beside others. More of them narrow the interval. If the "
        "classes differ in it wherever they are met, declare it, such as --expected contrast."
    ),
}
_ADVICE_DATA = (
    "A class may have such a look for good reasons. If it comes from how the images were made or "
    "saved, make them alike for all classes before training."
)
WORDS = {
    "colour": "The median colour", "contrast": "Brightness and contrast",
    "spectrum": "How fine the detail is", "sharpness": "Sharpness",
    "ring-1": "The outermost pixels", "ring-2": "The outer two rings of pixels",
    "aspect": "The aspect ratio", "size": "The size of the file or image",
    "file-type": "The type of the file", "exif": "The camera or program in the file",
    "jpeg": "How strongly the JPEG is compressed",
}  # fmt: skip


def _of_repeated(found: Repeated) -> Finding:
    images = sum(len(group) for group in found.groups)
    example = conjoined(found.groups[0][:3])
    if found.across == "classes":
        words = "with different labels: at least one label is wrong, or the picture shows both"
        advice = "Look at each group, and correct or drop labels. Each picture counts once here."
    else:
        words = "among both training and test images: their accuracy tells nothing of new images"
        advice = "Drop the test images that are in the training set, and measure again."
    return Finding(
        f"near-duplicates-across-{found.across}",
        f"{count(len(found.groups), 'picture')} ({count(images, 'image')}) are there more than "
        f"once {words}, such as {example}.",
        advice,
        effect=Effect("groups", float(len(found.groups)), unit="count"),
        images=images,
    )
