"""PyTorch on this processor: the network itself, without a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluators.devices.address import Address
from evaluators.devices.device import LatencyMeasurement
from evaluators.devices.remote.agent import pin_to_cpus, time_runs, timing_plan_of
from evaluators.devices.remote.channel import Channel, local_channel
from evaluators.devices.runtime_device import CompiledModel, RuntimeSettings, latency_measurement, read_runtime_settings
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json


def run_benchmark(payload: dict[str, Any]) -> dict[str, Any]:
    """Time a graph in inference mode, in the agent."""
    import time

    pin_to_cpus(payload["cpus"])
    import torch

    from search_spaces.pytorch.module import to_module

    torch.set_num_threads(payload["threads"])
    start = time.perf_counter()
    graph = graph_from_json(payload["graph"])
    memory_format = torch.channels_last if payload["channels_last"] else torch.contiguous_format
    module = to_module(graph, payload["seed"]).eval()
    generator = torch.Generator().manual_seed(payload["seed"])
    inputs = [torch.randn((payload["batch"], *shape), generator=generator) for shape in graph.input_shapes]
    if payload["channels_last"]:
        module = module.to(memory_format=memory_format)  # type: ignore[call-overload]
        inputs = [x.to(memory_format=memory_format) if x.dim() == 4 else x for x in inputs]
    init_ms = (time.perf_counter() - start) * 1e3
    with torch.inference_mode():
        return {**time_runs(lambda: module(*inputs), timing_plan_of(payload)), "init_ms": init_ms}


class TorchCpuDevice:
    """PyTorch in float32. Its outputs are what other devices are compared with, so there is nothing to compare."""

    precision = "float32"

    def __init__(self, settings: RuntimeSettings, batch: int, channels_last: bool, channel: Channel) -> None:
        self.batch = batch
        layout = "-nhwc" if channels_last else ""
        self.name = f"torch-cpu-float32-{settings.threads}t-b{batch}{layout}"
        self._settings = settings
        self._channels_last = channels_last
        self._channel = channel

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        """Time ``graph``; there is no file to keep. Raises ``DeviceError``."""
        payload = {
            "graph": graph.to_json(),
            "seed": seed,
            "batch": self.batch,
            "channels_last": self._channels_last,
            "threads": self._settings.threads,
            "cpus": list(self._settings.cpus),
            "plan": asdict(self._settings.plan),
        }
        answer = self._channel.request(f"{__name__}:run_benchmark", payload, self._settings.timeout_s)
        return latency_measurement(
            answer, self._settings.plan, f"{self.name}@{self._channel.where}", CompiledModel(b"")
        )

    def close(self) -> None:
        """End the measuring process."""
        self._channel.close()


def device(address: Address) -> TorchCpuDevice:
    """``torch-cpu?threads=1&batch=1&layout=channels_last``."""
    address.reject_authority()
    settings = read_runtime_settings(address, ("float32",))
    batch = address.integer("batch", 1, 1, 65_536)
    channels_last = address.choice("layout", ("channels_first", "channels_last")) == "channels_last"
    bound = str(settings.threads)
    return TorchCpuDevice(
        settings, batch, channels_last, local_channel({"OMP_NUM_THREADS": bound, "MKL_NUM_THREADS": bound})
    )
