"""The attribution methods, each one row of a table."""

from layerscope.focus import cams, gradients, perturbations
from layerscope.focus.contract import (
    REDUCTIONS,
    Method,
    Need,
    baseline,
    count,
    one_of,
    share,
    switch,
)
from layerscope.focus.names import name_of

_COLOURS = {"reduction": one_of(*REDUCTIONS)}
_RELU = {"relu": switch(True)}
_GRADIENT: frozenset[Need] = frozenset({"gradient"})
_CAM: frozenset[Need] = frozenset({"gradient", "layer"})
_PATCHES = {
    "patch": count(None, "an eighth of the shorter side"),
    "stride": count(None, "half a patch"),
}

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gradient", "Simonyan et al. 2013", gradients.gradient, _GRADIENT, parameters=_COLOURS
        ),
        Method(
            "gradient-x-input",
            "Shrikumar et al. 2016",
            gradients.gradient_x_input,
            _GRADIENT,
            parameters=_COLOURS,
        ),
        Method(
            "integrated-gradients",
            "Sundararajan et al. 2017",
            gradients.integrated_gradients,
            _GRADIENT,
            parameters={"steps": count(64), "baseline": baseline(0.0), **_COLOURS},
        ),
        Method(
            "smoothgrad",
            "Smilkov et al. 2017",
            gradients.smoothgrad,
            _GRADIENT,
            parameters={"samples": count(25), "noise": share(0.15), **_COLOURS},
            random=True,
        ),
        Method("grad-cam", "Selvaraju et al. 2017", cams.grad_cam, _CAM, False, _RELU),
        Method(
            "grad-cam++", "Chattopadhay et al. 2018", cams.grad_cam_plus_plus, _CAM, False, _RELU
        ),
        Method(
            "hires-cam",
            "Draelos and Carin 2020",
            cams.hires_cam,
            _CAM,
            parameters={"relu": switch(False)},
        ),
        Method("layer-cam", "Jiang et al. 2021", cams.layer_cam, _CAM, False, _RELU),
        Method(
            "score-cam",
            "Wang et al. 2020",
            perturbations.score_cam,
            frozenset({"layer", "perturbation"}),
            False,
            {**_RELU, "baseline": baseline(0.0)},
        ),
        Method(
            "ablation-cam",
            "Desai and Ramaswamy 2020",
            perturbations.ablation_cam,
            frozenset({"layer", "perturbation"}),
            False,
            _RELU,
        ),
        Method(
            "occlusion",
            "Zeiler and Fergus 2014",
            perturbations.occlusion,
            frozenset({"perturbation"}),
            parameters={**_PATCHES, "baseline": baseline("mean")},
        ),
        Method(
            "rise",
            "Petsiuk et al. 2018",
            perturbations.rise,
            frozenset({"perturbation"}),
            parameters={
                "masks": count(1000),
                "cells": count(7),
                "share": share(0.5),
                "baseline": baseline(0.0),
            },
            random=True,
        ),
    )
}


def method_named(name: object) -> Method:
    """Look up a method, see `layerscope.focus.names.name_of`."""
    return METHODS[name_of(name)]
