"""LiteRT on a processor: how an agent runs it, and the device. Sent to remote machines: Python 3.9."""

from __future__ import annotations

import base64
import importlib
from typing import TYPE_CHECKING, Any

from evaluators.devices.remote.agent import MissingRequirement, load_and_time, unpack_array

if TYPE_CHECKING:
    from evaluators.devices.address import Address
    from evaluators.devices.runtime_device import Runtime, RuntimeDevice


def interpreter_module() -> Any:
    """The module with ``Interpreter``: ai-edge-litert, else tflite-runtime. Raises ``MissingRequirement``."""
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingRequirement("needs LiteRT; pip install ai-edge-litert")


def load_interpreter(interpreter: Any, payload: dict[str, Any]) -> Any:
    """``run`` and ``fetch`` of an interpreter: float32 is quantised as it goes in, and back as it comes out."""
    import numpy as np

    interpreter.allocate_tensors()
    for details, packed in zip(interpreter.get_input_details(), payload["inputs"]):  # noqa: B905 - Python 3.9
        x = unpack_array(packed)
        if details["dtype"] != np.float32:
            scale, zero = details["quantization"]
            limits = np.iinfo(details["dtype"])
            x = np.clip(np.round(x / scale + zero), limits.min, limits.max).astype(details["dtype"])
        interpreter.set_tensor(details["index"], x)

    def fetch() -> dict[str, Any]:
        outputs = {}
        for details in interpreter.get_output_details():
            x = interpreter.get_tensor(details["index"])
            if details["dtype"] != np.float32:
                scale, zero = details["quantization"]
                x = (x.astype(np.float32) - zero) * scale
            outputs[details["name"]] = x
        return outputs

    return interpreter.invoke, fetch


def run_benchmark(payload: dict[str, Any]) -> dict[str, Any]:
    """Time a TFLite file with ``threads`` threads and the default delegate, XNNPACK."""
    module = interpreter_module()

    def load() -> Any:
        model = base64.b64decode(payload["model"])
        return load_interpreter(module.Interpreter(model_content=model, num_threads=payload["threads"]), payload)

    return load_and_time(payload, load)


def runtime() -> Runtime:
    """The runtime for the local device and for SSH."""
    from evaluators.devices.runtime_device import Runtime

    return Runtime("litert", f"{__name__}:run_benchmark", "tflite", ("float32", "int8"))


def device(address: Address) -> RuntimeDevice:
    """``litert?threads=1&precision=int8``: here, in a process of its own."""
    from evaluators.devices.runtime_device import local_device

    return local_device(runtime(), address)
