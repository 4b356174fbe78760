"""A Coral Edge TPU: Google's edgetpu_compiler here, the compiled network on the stick. Sent to remote machines.

The part that an agent runs is Python 3.9, numpy and LiteRT alone. The compiler is a program for x86-64 Debian.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from evaluators.devices.remote.agent import MissingRequirement, load_and_time
from evaluators.devices.runtimes.litert import interpreter_module, load_interpreter

if TYPE_CHECKING:
    from evaluators.devices.address import Address
    from evaluators.devices.runtime_device import CompiledModel, Runtime, RuntimeDevice

COMPILER = "edgetpu_compiler"
_LIBRARY = "libedgetpu.so.1"
_COMPILE_S = 180
_KIB = {"B": 1 / 1024, "KiB": 1.0, "MiB": 1024.0, "GiB": 1024.0**2}
_SIZES = {
    "on_chip_kib": "On-chip memory used for caching model parameters",
    "off_chip_kib": "Off-chip memory used for streaming uncached model parameters",
}
_MAPPED = "Mapped to Edge TPU"
_ROW = re.compile(r"^([A-Z][A-Z0-9_]*)[ \t]+(\d+)[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)


def run_benchmark(payload: dict[str, Any]) -> dict[str, Any]:
    """Time a compiled TFLite file on the first Edge TPU of this machine."""
    module = interpreter_module()
    try:
        delegate = module.load_delegate(_LIBRARY)
    except (ValueError, OSError) as error:
        raise MissingRequirement(
            f"no Edge TPU: {error}; plug it in and install libedgetpu1-std from Coral's packages"
        ) from None

    def load() -> Any:
        model = base64.b64decode(payload["model"])
        return load_interpreter(
            module.Interpreter(model_content=model, num_threads=payload["threads"], experimental_delegates=[delegate]),
            payload,
        )

    return load_and_time(payload, load)


def parse_log(text: str) -> tuple[dict[str, float], tuple[str, ...], tuple[str, ...]]:
    """The compiler's figures, the operators that it leaves to the host, and its reasons, from its output.

    Figures: ``on_chip_kib`` and ``off_chip_kib`` of parameters, ``operators_on_npu``, ``operators_off_npu``,
    ``subgraphs``. Raises ``CannotRun`` for a network that it refused, ``MeasurementFailed`` for output of another form.
    """
    from evaluators.devices.device import CannotRun, MeasurementFailed

    if "compiled successfully" not in text and "successfully compiled" not in text:
        reason = next((line for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")
        raise CannotRun(f"{COMPILER}: {reason.strip()}")
    figures: dict[str, float] = {}
    for name, label in _SIZES.items():
        match = re.search(re.escape(label) + r":\s*([\d.]+)(B|KiB|MiB|GiB)\b", text)
        if match is None:
            raise MeasurementFailed(f"{COMPILER}'s output lacks {label!r}; its release may be another")
        figures[name] = float(match[1]) * _KIB[match[2]]
    subgraphs = re.search(r"Number of Edge TPU subgraphs:\s*(\d+)", text)
    if subgraphs is not None:
        figures["subgraphs"] = float(subgraphs[1])
    rows = [(op, int(count), status) for op, count, status in _ROW.findall(text)]
    if not rows:
        raise MeasurementFailed(f"{COMPILER}'s output lacks its table of operators; run it with --show_operations")
    on_host = [row for row in rows if row[2] != _MAPPED]
    figures["operators_on_npu"] = float(sum(count for _, count, status in rows if status == _MAPPED))
    figures["operators_off_npu"] = float(sum(count for _, count, _ in on_host))
    ops = tuple([op for op, count, _ in on_host for _ in range(count)])
    return figures, ops, tuple([f"{count} {op} left to the host: {status}" for op, count, status in on_host])


def compile_model(model: bytes) -> CompiledModel:
    """Compile an int8 TFLite file for the Edge TPU. Raises ``DeviceError``."""
    import shutil
    import subprocess
    import tempfile
    from pathlib import Path

    from evaluators.devices.device import CannotRun, DeviceUnavailable, MeasurementTimeout
    from evaluators.devices.runtime_device import CompiledModel

    program = shutil.which(COMPILER)
    if program is None:
        raise DeviceUnavailable(f"needs the program {COMPILER}; coral.ai/docs/edgetpu/compiler says how to install it")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.tflite"
        source.write_bytes(model)
        command = [program, "--show_operations", "--out_dir", folder, str(source)]
        try:
            completed = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_S, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise MeasurementTimeout(f"{COMPILER} was still running after {_COMPILE_S} s") from None
        figures, ops, warnings = parse_log(completed.stdout + completed.stderr)
        compiled = Path(folder) / "model_edgetpu.tflite"
        if not compiled.exists():
            raise CannotRun(f"{COMPILER} wrote no file")
        return CompiledModel(compiled.read_bytes(), figures, ops, warnings)


def runtime() -> Runtime:
    """The runtime for the local device and for SSH."""
    from evaluators.devices.runtime_device import Runtime

    return Runtime("coral", f"{__name__}:run_benchmark", "tflite", ("int8",), compile_model)


def device(address: Address) -> RuntimeDevice:
    """``coral``: the stick at this machine."""
    from evaluators.devices.runtime_device import local_device

    return local_device(runtime(), address)
