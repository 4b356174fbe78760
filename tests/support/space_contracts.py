"""The contract of every named search space, with parts of each that are small enough to enumerate."""

from __future__ import annotations

from typing import Any

from nas.testing import SpaceContract
from search_spaces.catalog import load_space
from search_spaces.space.space import Space

# Whichever of them a space has
SMALL: dict[str, Any] = {"image_size": 32, "num_classes": 4, "width": 0.25, "channels": 8, "cells": 1, "modules": 1}
_EMO_PART: dict[str, Any] = {
    "depths": ((1,), (1,), (1, 2), (1,)),
    "widths": ((32,), (48,), (80,), (160,)),
    "expansions": (2,),
    "kernels": (3,),
    "head_dims": (16,),
}
# Parts with choices that open others; where none is named, the contract draws one
CUT_DOWN: dict[str, dict[str, Any]] = {
    "emo": {**_EMO_PART, "stem_widths": (24,)},
    "emov2": _EMO_PART,
    "leyolo": {
        "widths": ((8,), (8, 16), (8,), (8,)),
        "depths": ((1, 2), (1,), (1,)),
        "kernels": (3,),
        "expansions": (2,),
        "width_multiples": (1.0,),
    },
    "mobilenetv4": {
        "widths": ((32,), (48,), (80, 96), (160,), (256,)),
        "layers": ((1, 2), (1,), (1,)),
        "kernels": (3,),
        "expansions": (4,),
    },
}
# Spaces under options that change what is chosen or built, by name of the test
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "efficientnet_lite": ("efficientnet", {"lite": True}),
    "emo_detect": ("emo", {"task": "detect"}),
    "emov2_detect": ("emov2", {"task": "detect"}),
    "fbnet_timm": ("fbnet", {"implementation": "timm"}),
    "mobiledet_classify": ("mobiledet", {"task": "classify"}),
    "mobiledet_cpu": ("mobiledet", {"target": "cpu"}),
    "mobiledet_ibn": ("mobiledet", {"blocks": "ibn"}),
    "mobiledet_dsp_ibn_fused": ("mobiledet", {"target": "dsp", "blocks": "ibn+fused", "expansions": (3, 6)}),
    "mobilenetv2_detect": ("mobilenetv2", {"task": "detect"}),
    "mobilenetv3_detect": ("mobilenetv3", {"task": "detect"}),
    "mobilenetv3_small": ("mobilenetv3", {"size": "small"}),
    "mobilenetv4_hybrid": ("mobilenetv4", {"hybrid": True, "act": "gelu"}),
    "nasbench201_bias": ("nasbench201", {"zeros": "bias"}),
}


def contract_of(name: str, options: dict[str, Any], **settings: Any) -> type[SpaceContract]:
    """The contract tests of a named space."""

    def make_space(self: SpaceContract) -> Space:
        return load_space(name, **options)

    space = load_space(name, **options)
    small = {option: value for option, value in SMALL.items() if space.accepts(option)}
    cut_down = CUT_DOWN.get(name, {})
    return type(name, (SpaceContract,), {"make_space": make_space, "small": small, "cut_down": cut_down, **settings})


def checks_of(contract: type) -> list[str]:
    """The names of a contract's checks."""
    return [name for name in dir(contract) if name.startswith("test_")]
