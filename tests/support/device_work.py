"""Work for an agent, some of which goes wrong."""

from __future__ import annotations

import os
import time
from typing import Any


def hang(payload: dict[str, Any]) -> dict[str, Any]:
    """Never answers; says where it is in a file first."""
    with open(payload["note"], "w") as note:
        note.write(str(os.getpid()))
    time.sleep(600)
    return {}


def die(payload: dict[str, Any]) -> dict[str, Any]:
    """Ends its process."""
    os._exit(9)


def chatter(payload: dict[str, Any]) -> dict[str, Any]:
    """Prints, as runtimes do, and answers."""
    os.write(1, b"native code says hello\n")
    print("so does Python", flush=True)
    return {"payload": payload, "pid": os.getpid()}


def fail(payload: dict[str, Any]) -> dict[str, Any]:
    """Raises."""
    raise RuntimeError("no such operator")
