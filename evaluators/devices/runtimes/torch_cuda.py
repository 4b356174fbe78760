"""PyTorch on an NVIDIA GPU: the network captured as a CUDA graph and replayed, timed with the GPU's own events.

As a program it measures many networks in one process:

    python -m evaluators.devices.runtimes.torch_cuda GRAPHS.jsonl OUT.csv --batch 1,32 --precision float32,float16

reads a graph as JSON from every line and appends rows ``index,batch,precision,median_ms,std,repeats,error``; rows
that ``OUT.csv`` has a time for are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evaluators.devices.address import Address
from evaluators.devices.device import LatencyMeasurement
from evaluators.devices.model_check import check_outputs, torch_outputs
from evaluators.devices.remote.agent import MissingRequirement, pack_array, timing_plan_of, unpack_array
from evaluators.devices.remote.channel import Channel, local_channel
from evaluators.devices.runtime_device import CompiledModel, latency_measurement
from evaluators.devices.timing import TimingPlan, collect_samples, summarise_timing, wall_clock
from search_spaces.export.weights import random_inputs
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.graph.serialise import graph_from_json

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "float16", "bfloat16")
_SAMPLE_MS = 1.0  # the least duration of one timed stretch: events resolve half a microsecond
_WARM_UP = 3  # runs before the capture, on a stream of their own, as torch.cuda.graph asks


def _require_device(device: str) -> None:
    """Raise ``MissingRequirement`` where there is no such device; float32 is float32 from here on, not TF32."""
    import torch

    if device == "cuda":
        if not torch.cuda.is_available():
            raise MissingRequirement(
                f"no NVIDIA GPU that PyTorch {torch.__version__} can use; it needs a CUDA build and a driver"
            )
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True  # the fastest of cuDNN's algorithms, found while warming up


def _module_and_inputs(
    graph: Graph, batch: int, precision: str, channels_last: bool, seed: int, device: str
) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    """The network and inputs of ``batch`` samples, all the same, on the device."""
    import torch

    from search_spaces.pytorch.module import to_module

    dtype = getattr(torch, precision)
    module: torch.nn.Module = to_module(graph, seed).eval().to(device=device, dtype=dtype)
    inputs = []
    for x in random_inputs(graph.input_shapes, seed)[0]:
        tensor = torch.from_numpy(x)[None].to(device=device, dtype=dtype).repeat(batch, *[1] * x.ndim)
        inputs.append(tensor.to(memory_format=torch.channels_last) if channels_last and tensor.dim() == 4 else tensor)
    if channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module, inputs


def _cuda_graph_replay(module: torch.nn.Module, inputs: list[torch.Tensor]) -> tuple[Callable[[], None], Any]:
    """A function that replays the network as a CUDA graph, and the outputs that it writes."""
    import torch

    cuda: Any = torch.cuda  # untyped in parts
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(_WARM_UP):
            module(*inputs)
    cuda.current_stream().wait_stream(side)
    recorded = cuda.CUDAGraph()
    with cuda.graph(recorded):
        outputs = module(*inputs)
    return recorded.replay, outputs


def _event_clock(replay: Callable[[], None]) -> Callable[[], float]:
    """Milliseconds of one replay, by events around as many of them as last ``_SAMPLE_MS``."""
    import torch

    cuda: Any = torch.cuda  # untyped in parts
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)

    def mean_ms(replays: int) -> float:
        start.record()
        for _ in range(replays):
            replay()
        end.record()
        end.synchronize()
        elapsed: float = start.elapsed_time(end)
        return elapsed / replays

    mean_ms(3)
    replays = max(1, round(_SAMPLE_MS / max(mean_ms(3), 1e-3)))
    return lambda: mean_ms(replays)


class TimedGraph(NamedTuple):
    """Milliseconds a batch by repeat, the first sample's outputs as float32 arrays by name, time of preparation."""

    samples_ms: list[float]
    outputs: dict[str, Any]
    init_ms: float


def time_graph(
    graph: Graph,
    *,
    batch: int = 1,
    precision: str = "float32",
    channels_last: bool = False,
    seed: int = 0,
    plan: TimingPlan | None = None,
    device: str = "cuda",
) -> TimedGraph:
    """Time ``graph`` with weights from ``seed``.

    On ``device="cpu"`` the network runs without a CUDA graph, by the clock. Raises ``agent.MissingRequirement`` without
    a GPU.
    """
    import torch

    start_time = time.perf_counter()
    _require_device(device)
    plan = plan or TimingPlan()
    module, inputs = _module_and_inputs(graph, batch, precision, channels_last, seed, device)
    with torch.inference_mode():
        if device == "cuda":
            replay, outputs = _cuda_graph_replay(module, inputs)
            replay()
            torch.cuda.synchronize()
            init_ms = (time.perf_counter() - start_time) * 1e3
            samples = collect_samples(_event_clock(replay), plan)
        else:
            outputs = module(*inputs)
            init_ms = (time.perf_counter() - start_time) * 1e3
            samples = collect_samples(wall_clock(lambda: module(*inputs)), plan)
        named_outputs = outputs if isinstance(outputs, dict) else {graph.outputs[0][0]: outputs}
        outputs_by_name = {name: value[:1].float().cpu().contiguous().numpy() for name, value in named_outputs.items()}
    return TimedGraph(samples, outputs_by_name, init_ms)


def run_benchmark(payload: dict[str, Any]) -> dict[str, Any]:
    """Time one graph, in the agent."""
    timed = time_graph(graph_from_json(payload["graph"]), **payload["settings"], plan=timing_plan_of(payload))
    outputs = {name: pack_array(value) for name, value in timed.outputs.items()}
    return {"samples_ms": timed.samples_ms, "outputs": outputs, "init_ms": timed.init_ms}


class TorchCudaDevice:
    """PyTorch on the GPU that ``CUDA_VISIBLE_DEVICES`` puts first, in a process of its own."""

    def __init__(
        self, precision: str, batch: int, channels_last: bool, plan: TimingPlan, timeout_s: float, channel: Channel
    ) -> None:
        self.precision = precision
        self.batch = batch
        self.name = f"torch-cuda-{precision}-b{batch}{'-nhwc' if channels_last else ''}"
        self._channels_last = channels_last
        self._plan = plan
        self._timeout_s = timeout_s
        self._channel = channel

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        """Time ``graph`` and compare its outputs; there is no file to keep. Raises ``DeviceError``."""
        settings = {
            "batch": self.batch,
            "precision": self.precision,
            "channels_last": self._channels_last,
            "seed": seed,
        }
        payload = {"graph": graph.to_json(), "settings": settings, "plan": asdict(self._plan)}
        answer = self._channel.request(f"{__name__}:run_benchmark", payload, self._timeout_s)
        inputs = tuple([x[None] for x in random_inputs(graph.input_shapes, seed)[0]])
        expected, _ = torch_outputs(graph, seed, inputs)
        outputs = {name: unpack_array(packed) for name, packed in answer["outputs"].items()}
        check_outputs(self.name, self.precision, expected, outputs)
        return latency_measurement(answer, self._plan, f"{self.name}@{self._channel.where}", CompiledModel(b""))

    def close(self) -> None:
        """End the measuring process."""
        self._channel.close()


def device(address: Address) -> TorchCudaDevice:
    """``torch-cuda?batch=32&precision=float16&layout=channels_last``."""
    address.reject_authority()
    return TorchCudaDevice(
        address.choice("precision", PRECISIONS),
        address.integer("batch", 1, 1, 65_536),
        address.choice("layout", ("channels_first", "channels_last")) == "channels_last",
        address.plan(),
        address.timeout_s(),
        local_channel(),
    )


# -- many networks in one process --------------------------------------------------------------------------------------

_COLUMNS = ("index", "batch", "precision", "median_ms", "std", "repeats", "error")


def _measured_rows(out: Path) -> set[tuple[str, str, str]]:
    if not out.exists():
        return set()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["index"], row["batch"], row["precision"]) for row in rows if row["median_ms"]}


def _row(graph: Graph, batch: int, precision: str, options: argparse.Namespace) -> tuple[str, str, str, str]:
    """Median, standard deviation, repeats and error of one setting; a failure becomes the error."""
    import torch

    plan = TimingPlan(max_s=options.max_s)
    try:
        timed = time_graph(
            graph,
            batch=batch,
            precision=precision,
            channels_last=options.channels_last,
            seed=options.seed,
            plan=plan,
            device=options.device,
        )
    except RuntimeError as error:  # out of memory too
        if options.device == "cuda":
            torch.cuda.empty_cache()
        return "", "", "", str(error).splitlines()[0][:200]
    summary = summarise_timing(timed.samples_ms)
    return f"{summary.latency_ms:.6g}", f"{summary.std_ms:.3g}", str(summary.repeats), ""


def measure_file(options: argparse.Namespace) -> None:
    """Measure every graph of ``options.graphs`` in every setting, a row each, written at once."""
    measured_rows = _measured_rows(options.out)
    is_new = not options.out.exists()
    with options.graphs.open() as lines, options.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(_COLUMNS)
        for index, line in enumerate(lines):
            pending = [
                (b, p) for b in options.batch for p in options.precision if (str(index), str(b), p) not in measured_rows
            ]
            if not pending or not line.strip():
                continue
            try:
                graph = graph_from_json(line)
            except GraphError as error:
                writer.writerows([(index, b, p, "", "", "", str(error)) for b, p in pending])
                continue
            for batch, precision in pending:
                writer.writerow((index, batch, precision, *_row(graph, batch, precision, options)))
                file.flush()


def _batches(text: str) -> list[int]:
    batches = [int(part) for part in text.split(",")]
    if min(batches) < 1:
        raise argparse.ArgumentTypeError("batches are at least 1")
    return batches


def _precisions(text: str) -> list[str]:
    precisions = text.split(",")
    for precision in precisions:
        if precision not in PRECISIONS:
            raise argparse.ArgumentTypeError(f"no precision {precision!r}; known: {', '.join(PRECISIONS)}")
    return precisions


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluators.devices.runtimes.torch_cuda", description=__doc__.split("\n")[0]
    )
    parser.add_argument("graphs", type=Path, metavar="GRAPHS.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT.csv")
    parser.add_argument("--batch", type=_batches, default=[1], help="batch sizes, joined by commas")
    parser.add_argument("--precision", type=_precisions, default=["float32"], help=f"of {', '.join(PRECISIONS)}")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--max-s", type=float, default=0.5, help="seconds of repeats for each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args(arguments)
    try:
        _require_device(options.device)
        measure_file(options)
    except (MissingRequirement, OSError) as error:
        print(f"torch_cuda: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
