"""Supervises the agent on the remote machine: unpacks the files, starts the agent, and leaves nothing behind.

Sent as text and run by ``python3 -c``: Python 3.9 and its standard library alone, nothing of this project. The first
line that it reads holds the files; all further lines go to the agent. When its input ends, when a signal ends it, or
when nothing comes for ``idle_s`` seconds, it kills the agent and removes the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading


def supervise() -> None:
    """Unpack, run the agent, clean up."""
    instructions = json.loads(sys.stdin.readline())
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="nas-agent-")
    agent = None
    try:
        for name, text in instructions["files"].items():
            path = os.path.join(folder, *name.split("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        settings = {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": folder}
        agent = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-c", instructions["agent"]],
            stdin=subprocess.PIPE,
            env={**os.environ, **settings, **instructions["env"]},
            cwd=folder,
            start_new_session=True,
        )
        forward(agent, instructions["idle_s"])
    finally:
        if agent is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
        shutil.rmtree(folder, ignore_errors=True)


def forward(agent: subprocess.Popen[bytes], idle_s: float) -> None:
    """Forward lines until the input ends, none came for ``idle_s`` seconds, or the agent ended."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    def write(line: str) -> None:
        with contextlib.suppress(OSError):
            agent.stdin.write(line.encode())  # type: ignore[union-attr]
            agent.stdin.flush()  # type: ignore[union-attr]

    threading.Thread(target=read, daemon=True).start()
    waited = 0.0
    while agent.poll() is None and waited < idle_s:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            waited += 0.2
            continue
        if not line:
            return
        waited = 0.0
        threading.Thread(target=write, args=(line,), daemon=True).start()  # an agent that hangs reads nothing


try:
    supervise()
finally:
    os._exit(0)  # a thread may still wait for a line, and would stop an orderly end
