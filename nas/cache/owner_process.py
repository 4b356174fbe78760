"""Which process this is, and whether another still runs: whether a claim's owner is alive."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def machine_and_process() -> tuple[str, str]:
    """This machine since its last boot, as a name within which process numbers are unique; and host and process."""
    import platform

    host = platform.node() or "unknown"
    boot = _read_text("/proc/sys/kernel/random/boot_id") or f"{uuid.getnode():x}"
    try:
        # Containers on one machine number their processes separately
        pid_namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        pid_namespace = ""
    return f"{host} {boot} {pid_namespace}", f"{host}/{os.getpid()}"


def process_start_time(pid: int) -> str | None:
    """When a process of this machine was started; empty where that is unknown, ``None`` where it does not run."""
    if os.name != "posix":  # elsewhere ``os.kill`` does not merely look
        return ""
    try:
        if pid < 1:
            return None
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass  # it is another user's
    # The name, in brackets, may hold anything; state is the first field after it, the start the twentieth.
    fields = _read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 20:
        return ""
    return None if fields[0] in "ZX" else fields[19]


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
