"""Functions for an agent to run, some of which fail."""

from __future__ import annotations

import os
import time
from typing import Any


def hang(payload: dict[str, Any]) -> dict[str, Any]:
    """Never answers; writes its process id to a file first."""
    with open(payload["note"], "w") as note:
        note.write(str(os.getpid()))
    time.sleep(600)
    return {}


def die(payload: dict[str, Any]) -> dict[str, Any]:
    """Ends its process."""
    os._exit(9)


def chatter(payload: dict[str, Any]) -> dict[str, Any]:
    """Prints to standard output, as runtimes do, and answers."""
    os.write(1, b"native code says hello\n")
    print("so does Python", flush=True)
    return {"payload": payload, "pid": os.getpid()}


def fail(payload: dict[str, Any]) -> dict[str, Any]:
    """Raises."""
    raise RuntimeError("no such operator")
