"""ONNX Runtime on a processor: how an agent runs it, and the device. Sent to remote machines: Python 3.9."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from evaluators.devices.remote.agent import import_runtime, load_and_time, unpack_array

if TYPE_CHECKING:
    from evaluators.devices.address import Address
    from evaluators.devices.runtime_device import Runtime, RuntimeDevice


def run_benchmark(payload: dict[str, Any]) -> dict[str, Any]:
    """Time an ONNX file: all graph optimisations, ``threads`` threads within operators, none between them."""
    onnxruntime = import_runtime("onnxruntime", "onnxruntime")

    def load() -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = payload["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = base64.b64decode(payload["model"])
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = [unpack_array(x) for x in payload["inputs"]]
        feed = {session.get_inputs()[i].name: x for i, x in enumerate(inputs)}
        names = [output.name for output in session.get_outputs()]
        return (lambda: session.run(names, feed)), (lambda: dict(zip(names, session.run(names, feed))))  # noqa: B905

    return load_and_time(payload, load)


def runtime() -> Runtime:
    """The runtime for the local device and for SSH."""
    from evaluators.devices.runtime_device import Runtime

    return Runtime("onnxruntime", f"{__name__}:run_benchmark", "onnx", ("float32", "int8"))


def device(address: Address) -> RuntimeDevice:
    """``onnxruntime?threads=1&precision=int8``: here, in a process of its own."""
    from evaluators.devices.runtime_device import local_device

    return local_device(runtime(), address)
