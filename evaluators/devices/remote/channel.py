"""The caller's side of an agent: sends it requests, waits no longer than the limit, and ends an agent that hangs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol

from evaluators.devices.device import CannotRun, DeviceUnavailable, MeasurementFailed, MeasurementTimeout

START_S = 120.0
_LONGEST_ANSWER = 256 * 2**20
AGENT = "from evaluators.devices.remote.agent import main; main()"


class Channel(Protocol):
    """Sends one request at a time to an agent. Raises ``DeviceError``."""

    @property
    def where(self) -> str: ...

    def request(self, function: str, payload: Mapping[str, Any], timeout_s: float) -> dict[str, Any]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class AgentPipe:
    """A running agent: its pipes, how to kill it, and the last line of its standard error."""

    to_agent: IO[bytes]
    from_agent: IO[bytes]
    end: Callable[[], None]
    last_error_line: Callable[[], str]


class AgentChannel:
    """Requests to an agent that ``start`` starts, and starts again after it ended."""

    def __init__(self, start: Callable[[], AgentPipe], where: str) -> None:
        self.where = where
        self._start = start
        self._pipe: AgentPipe | None = None
        self._lock = threading.Lock()

    def request(self, function: str, payload: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """What ``module:function`` returns for ``payload`` there; ``MeasurementTimeout`` after ``timeout_s``."""
        line = json.dumps({"function": function, "payload": payload}).encode() + b"\n"
        with self._lock:
            if self._pipe is None:
                self._pipe = self._start()
                self._exchange(self._pipe, b"", START_S)
            reply = self._exchange(self._pipe, line, timeout_s)
        match reply:
            case {"ok": dict(answer)}:
                return answer
            case {"error": {"kind": "missing", "message": message}}:
                raise DeviceUnavailable(f"{self.where}: {message}")
            case {"error": {"kind": "refused", "message": message}}:
                raise CannotRun(f"{self.where}: {message}")
            case {"error": {"kind": kind, "message": message}}:
                raise MeasurementFailed(f"{self.where}: {kind}: {message}")
        raise MeasurementFailed(f"{self.where}: the agent's answer has an unknown form")

    def _exchange(self, pipe: AgentPipe, line: bytes, timeout_s: float) -> dict[str, Any]:
        """Send a line and wait for one, in a thread: a write blocks too when nobody reads."""
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def talk() -> None:
            try:
                pipe.to_agent.write(line)
                pipe.to_agent.flush()
                answers.put(pipe.from_agent.readline(_LONGEST_ANSWER))
            except (OSError, EOFError, ValueError):  # the agent ended; ValueError: its pipe was closed meanwhile
                answers.put(b"")

        threading.Thread(target=talk, daemon=True).start()
        try:
            received = answers.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            raise MeasurementTimeout(
                f"{self.where}: no answer within {timeout_s:.0f} s; its process was ended"
            ) from None
        except BaseException:  # interrupted: nobody waits for its answer any more
            self.close()
            raise
        try:
            reply: dict[str, Any] = json.loads(received)
            if not isinstance(reply, dict):
                raise ValueError(reply)
        except ValueError:
            last_line = pipe.last_error_line()
            self.close()
            raise MeasurementFailed(
                f"{self.where}: the measuring process ended without an answer{': ' + last_line if last_line else ''}"
            ) from None
        return reply

    def close(self) -> None:
        """End the agent, even in the middle of a request."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.end()


def local_channel(env: Mapping[str, str] | None = None) -> AgentChannel:
    """An agent in a process of this machine, with ``env`` added to its environment."""

    def start() -> AgentPipe:
        stderr_log = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the process runs
        path = os.pathsep.join(p for p in sys.path if p)
        process = subprocess.Popen(  # noqa: S603 - this very Python, nothing from outside
            [sys.executable, "-c", AGENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr_log,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
            start_new_session=True,
        )
        to_agent, from_agent = process.stdin, process.stdout
        assert to_agent is not None
        assert from_agent is not None

        def last_error_line() -> str:
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                return "what it answered is not JSON"
            stderr_log.seek(max(0, stderr_log.seek(0, os.SEEK_END) - 2000))
            lines = stderr_log.read().decode(errors="replace").strip().splitlines()
            return f"exit status {process.returncode}" + (f", {lines[-1]}" if lines else "")

        def end() -> None:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
            process.wait()
            for stream in (to_agent, from_agent, stderr_log):
                with contextlib.suppress(OSError):  # nobody reads what was still to be written
                    stream.close()

        return AgentPipe(to_agent, from_agent, end, last_error_line)

    return AgentChannel(start, platform.node() or "localhost")


def encode(data: bytes) -> str:
    """Bytes as base64 text for a payload."""
    return base64.b64encode(data).decode("ascii")
