"""Every kind of hardware model keeps the contract of models, and every device file makes a model that prices networks.

The contract tests the code that a kind of model shares; of a single device its file is tested, so that a new device is
tested by its file and a new kind by its row in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest

from hardware_models.catalog import device_kind, hardware, load_hardware, model_from_text
from hardware_models.composed.corrected import CorrectedModel, fit_correction
from hardware_models.composed.multi_device import load_hardware_models
from hardware_models.cost import HardwareModel
from hardware_models.device_file.kinds import MODEL_KINDS
from nas.testing import HardwareContract
from search_spaces.catalog import load_network
from tests.support.space_contracts import checks_of

# Of a kind that no shipped device has: a file of one's own
OPERATION_TABLE = """
kind = "table"
version = 1
number_format = "int8"
measured = "normal form"
[latency]
launch_ms = 0.25
per_operation_ms = 0.01
scale = 1.5
[latency.operations]
"conv:regular 3x32x32>8x16x16 k3x3 s2x2 +norm:batch+act:relu6" = 0.2
"conv:pointwise 16x16x16>16x16x16 k1x1 s1x1" = 0.01
"conv:pointwise 64x16x16>64x16x16 k1x1 s1x1" = 0.1
"conv:pointwise 128x16x16>128x16x16 k1x1 s1x1" = 0.39
"""


def first_device(kind: str) -> str:
    """The first named device whose file is of that kind."""
    return next(name for name in hardware() if device_kind(name) == kind)


def corrected_model() -> HardwareModel:
    model = CorrectedModel(load_hardware("edgetpu"))
    model.correction = fit_correction([1.0, 2.0, 4.0, 8.0], [2.1, 3.9, 8.2, 15.8])
    assert model.correction is not None
    return model


def make_kind(kind: str) -> HardwareModel:
    if kind == "table":
        return model_from_text(OPERATION_TABLE, "table", "table.toml")
    return load_hardware(first_device(kind))


MODELS: dict[str, Callable[[], HardwareModel]] = {
    **{kind: lambda kind=kind: make_kind(kind) for kind in MODEL_KINDS},  # type: ignore[misc]
    "multi_device": lambda: load_hardware_models("edgetpu,pi5"),
    "corrected": corrected_model,
}


@cache
def shared_model(kind: str) -> HardwareModel:
    """One instance for the checks that need no second one."""
    return MODELS[kind]()


# A correction by measurements is one of whole networks
EXCEPTIONS = {("corrected", "test_the_breakdown_adds_up")}
CHECKS = [(kind, check) for kind in MODELS for check in checks_of(HardwareContract) if (kind, check) not in EXCEPTIONS]


@pytest.mark.parametrize(("kind", "check"), CHECKS)
def test_every_kind_of_model_keeps_its_contract(kind: str, check: str) -> None:
    make = MODELS[kind] if check == "test_the_same_network_costs_the_same" else partial(shared_model, kind)
    contract = type(kind, (HardwareContract,), {"make_model": lambda self: make()})
    getattr(contract(), check)()


def test_the_breakdown_of_a_corrected_model_is_that_of_the_model_alone() -> None:
    graph = load_network("mobilenetv2", image_size=64)
    assert corrected_model().estimate(graph).breakdown() == load_hardware("edgetpu").estimate(graph).breakdown()


class OneNetwork(HardwareContract):
    """The checks that depend on a device's numbers, on one network and one instance of the model."""

    networks = ("mobilenetv3_small",)  # with squeeze-excite and hard swish
    checks = (
        HardwareContract.test_it_is_a_hardware_model,
        HardwareContract.test_costs_are_positive_and_finite,
        HardwareContract.test_the_breakdown_adds_up,
        HardwareContract.test_the_interval_holds_the_estimate,
        HardwareContract.test_an_unknown_operation_is_named_and_not_free,
    )


@pytest.mark.parametrize("name", hardware())
def test_every_device_file_makes_a_model_that_prices_a_network(name: str) -> None:
    model = load_hardware(name)
    contract = type(name, (OneNetwork,), {"make_model": lambda self: model})()
    for check in OneNetwork.checks:
        check(contract)
