"""OpenVINO on a processor: how an agent runs it, and the device. Sent to remote machines: Python 3.9."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from evaluators.devices.remote.agent import import_runtime, load_and_time, unpack_array

if TYPE_CHECKING:
    from evaluators.devices.address import Address
    from evaluators.devices.runtime_device import Runtime, RuntimeDevice


def run_benchmark(payload: dict[str, Any]) -> dict[str, Any]:
    """Time an ONNX file for latency, in float32 and not in the bfloat16 that processors with it are given otherwise."""
    openvino = import_runtime("openvino", "openvino")

    def load() -> Any:
        core = openvino.Core()
        config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": payload["threads"],
            "ENABLE_CPU_PINNING": False,  # the processors are the request's to say
        }
        model = core.read_model(base64.b64decode(payload["model"]), b"")
        compiled = core.compile_model(model, "CPU", config)
        request = compiled.create_infer_request()
        for index, x in enumerate(payload["inputs"]):
            request.set_input_tensor(index, openvino.Tensor(unpack_array(x).copy()))

        def fetch() -> dict[str, Any]:
            return {out.get_any_name(): request.get_output_tensor(i).data for i, out in enumerate(compiled.outputs)}

        return request.infer, fetch

    return load_and_time(payload, load)


def runtime() -> Runtime:
    """The runtime for the local device and for SSH."""
    from evaluators.devices.runtime_device import Runtime

    return Runtime("openvino", f"{__name__}:run_benchmark", "onnx", ("float32", "int8"))


def device(address: Address) -> RuntimeDevice:
    """``openvino?threads=1``: here, in a process of its own."""
    from evaluators.devices.runtime_device import local_device

    return local_device(runtime(), address)
