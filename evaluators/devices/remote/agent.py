"""The agent: a process on the device that reads requests as lines of JSON and answers each with one line.

A request is ``{"function": "module:function", "payload": {...}}``, an answer ``{"ok": {...}}`` or ``{"error": {"kind",
"message"}}``. Standard output holds the answers alone: whatever a runtime prints goes to standard error. The process
ends when its input does. Sent to remote machines as it is: Python 3.9 and its standard library alone.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import resource
import sys
import time
from typing import Any, Callable  # noqa: UP035 - Python 3.9 on the remote machine

from evaluators.devices.timing import TimingPlan, collect_samples, wall_clock


class MissingRequirement(Exception):
    """A package or device that is not there; the message says what to install or to plug in."""


class NetworkRefused(Exception):
    """A network that the runtime or compiler rejects; the message is its own."""


def import_runtime(module: str, package: str) -> Any:
    """Import a runtime. Raises ``MissingRequirement`` with the package's name."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingRequirement(f"needs {module} ({error}); pip install {package}, in {sys.executable}") from None


def pack_array(array: Any) -> dict[str, Any]:
    """A float32 array as JSON."""
    import numpy as np

    data = np.ascontiguousarray(array, dtype="<f4")
    return {"shape": list(data.shape), "data": base64.b64encode(data.tobytes()).decode("ascii")}


def unpack_array(packed: dict[str, Any]) -> Any:
    """The float32 array of ``pack_array``."""
    np = import_runtime("numpy", "numpy")
    return np.frombuffer(base64.b64decode(packed["data"]), dtype="<f4").reshape(packed["shape"])


def pin_to_cpus(cpus: list[int] | None) -> None:
    """Keep this process, and the threads that it starts from now on, on these processors."""
    if cpus:
        if not hasattr(os, "sched_setaffinity"):
            raise MissingRequirement(f"cannot keep to processors {cpus}: {sys.platform} has no way to; leave cpus out")
        try:
            os.sched_setaffinity(0, cpus)
        except OSError:
            here = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
            raise MissingRequirement(f"cannot run on processors {cpus}; this machine has {here}") from None


def timing_plan_of(payload: dict[str, Any]) -> TimingPlan:
    """The timing plan of a request."""
    return TimingPlan(**payload.get("plan", {}))


def time_runs(run: Callable[[], Any], plan: TimingPlan) -> dict[str, Any]:
    """``samples_ms`` of ``run``, and how often the system meanwhile took the processor away (``interruptions``)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    samples = collect_samples(wall_clock(run), plan)
    return {"samples_ms": samples, "interruptions": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before}


def load_and_time(
    payload: dict[str, Any], load: Callable[[], tuple[Callable[[], Any], Callable[[], dict[str, Any]]]]
) -> dict[str, Any]:
    """Load a network, run it once for its outputs, and time it.

    ``load`` returns ``run``, which computes the network once, and ``fetch``, which then gives its outputs by name.
    """
    pin_to_cpus(payload.get("cpus"))
    start = time.perf_counter()
    try:
        run, fetch = load()
    except Exception as error:  # noqa: BLE001 - every runtime has errors of its own
        raise NetworkRefused(f"{type(error).__name__}: {error}") from None
    init_ms = (time.perf_counter() - start) * 1e3
    run()
    outputs = {name: pack_array(value) for name, value in fetch().items()}
    return {**time_runs(run, timing_plan_of(payload)), "outputs": outputs, "init_ms": init_ms}


def handle_request(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request. Every failure becomes an answer too."""
    try:
        module, _, function = request["function"].partition(":")
        return {"ok": getattr(importlib.import_module(module), function)(request["payload"])}
    except MissingRequirement as error:
        return {"error": {"kind": "missing", "message": str(error)}}
    except NetworkRefused as error:
        return {"error": {"kind": "refused", "message": str(error)}}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller decides what it means
        return {"error": {"kind": type(error).__name__, "message": str(error) or "no reason given"}}


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answers.write('{"ready": true}\n')
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(handle_request(json.loads(line))) + "\n")
        answers.flush()
