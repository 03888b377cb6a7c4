"""The preprocessings that image classifiers were trained with, by name.

All work on float32 images with RGB values 0..255 and leave their input unchanged. The figures of
``caffe`` and ``torch`` are the channel means and deviations of ImageNet that
``keras.applications.imagenet_utils.preprocess_input`` uses.
"""

import difflib
import math
from dataclasses import dataclass, replace

import numpy as np

from layerscope.errors import InputError
from layerscope.vocabulary import Floats


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A named change of pixel values: ``(x - mean) / std`` per channel, reversed first or not.

    Attributes:
        name: as the user writes it, ``-1..1``.
        mean: subtracted; one value for all channels or one per channel, on the scale 0..255.
        std: divided by after that; one value or one per channel, on the scale 0..255.
        bgr: True where the order of the channels is reversed first.
    """

    name: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False

    def apply(self, pixels: Floats) -> Floats:
        """Preprocess images of shape (..., H, W, C) into a new array of that shape.

        Raises:
            InputError: the figures are per channel and the images have another number of them.
        """
        figures = max(len(self.mean), len(self.std))
        if figures > 1 and pixels.shape[-1] != figures:
            raise InputError(
                f"Preprocessing {self.name!r} needs images of {figures} channels; these have "
                f"{pixels.shape[-1]}. Use one without figures per channel, such as 0..1 or -1..1."
            )
        ordered = pixels[..., ::-1] if self.bgr else pixels
        result: Floats = np.subtract(ordered, np.array(self.mean, np.float32), dtype=np.float32)
        result /= np.array(self.std, np.float32)
        return result


CANDIDATES: tuple[Preprocessing, ...] = (
    Preprocessing("none"),
    Preprocessing("0..1", std=(255.0,)),
    Preprocessing("-1..1", (127.5,), (127.5,)),
    Preprocessing("caffe", (103.939, 116.779, 123.68), bgr=True),
    Preprocessing("torch", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    Preprocessing("mean=127,std=128", (127.0,), (128.0,)),
)
"""The standard ones, among which an automatic choice is made. The last differs from ``-1..1`` by
at most .012, so a choice between those two means nothing."""

_BY_NAME = {candidate.name: candidate for candidate in CANDIDATES}

_APPLICATIONS = {
    "none": "convnext ConvNeXtTiny ConvNeXtSmall ConvNeXtBase ConvNeXtLarge ConvNeXtXLarge "
    "efficientnet EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 EfficientNetB4 "
    "EfficientNetB5 EfficientNetB6 EfficientNetB7 efficientnet_v2 EfficientNetV2B0 "
    "EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2S EfficientNetV2M "
    "EfficientNetV2L mobilenet_v3 MobileNetV3Small MobileNetV3Large",
    "-1..1": "inception_resnet_v2 inception_v3 mobilenet mobilenet_v2 nasnet NASNetMobile "
    "NASNetLarge resnet_v2 ResNet50V2 ResNet101V2 ResNet152V2 xception",
    "caffe": "resnet ResNet50 ResNet101 ResNet152 vgg16 vgg19",
    "torch": "densenet DenseNet121 DenseNet169 DenseNet201",
}
"""What ``preprocess_input`` of each module and class of ``keras.applications`` does."""


def _plain(application: str) -> str:
    return application.casefold().replace("_", "").replace("-", "")


_BY_APPLICATION = {
    _plain(application): name
    for name, text in _APPLICATIONS.items()
    for application in text.split()
}


def preprocessing(name: str) -> Preprocessing:
    """Look up a preprocessing.

    Args:
        name: ``none``, ``0..1``, ``-1..1``, ``caffe``, ``torch``; ``keras:NAME`` with a class or
            module of keras.applications, ``keras:ResNet50``; or ``mean=M,std=S`` in values of
            0..255, where M and S are one number or one per channel, ``mean=124/116/104,std=58``
            (a mean left out is 0, a deviation left out is 1).

    Raises:
        InputError: the name is none of these.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.startswith("keras:"):
        return _of_application(name)
    if name.startswith(("mean=", "std=")):
        return _of_figures(name)
    raise InputError(
        f"Preprocessing is none, 0..1, -1..1, caffe, torch, keras:NAME or mean=127,std=128; "
        f"got {name!r}.{_near(name, list(_BY_NAME))}"
    )


def _near(name: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _of_application(name: str) -> Preprocessing:
    asked = name.removeprefix("keras:")
    if _plain(asked) not in _BY_APPLICATION:
        shown = {_plain(word): word for text in _APPLICATIONS.values() for word in text.split()}
        near = difflib.get_close_matches(_plain(asked), list(shown), n=1)
        raise InputError(
            f"keras: takes a class or module of keras.applications, such as keras:ResNet50; got "
            f"{name!r}." + (f" Did you mean 'keras:{shown[near[0]]}'?" if near else "")
        )
    return replace(_BY_NAME[_BY_APPLICATION[_plain(asked)]], name=name)


def _of_figures(name: str) -> Preprocessing:
    figures = dict(part.partition("=")[::2] for part in name.split(","))
    mean, std = (
        _numbers(figures.pop(key, default)) for key, default in (("mean", "0"), ("std", "1"))
    )
    fits = len({len(values) for values in (mean, std) if len(values) > 1}) < 2
    if figures or not mean or not std or 0 in std or not fits:
        raise InputError(
            "Write mean=M,std=S with one number each, or one per channel with '/' between them "
            f"and no std of 0, such as mean=124/116/104,std=58/57/57; got {name!r}."
        )
    return Preprocessing(name, mean, std)


def _numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of ``1/2/3``, or nothing where one of them is no finite number."""
    try:
        values = tuple(float(part) for part in text.split("/"))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()
