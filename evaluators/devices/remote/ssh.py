"""Another machine on SSH: the model file is written here, sent there, and run by a small agent that is sent along.

The machine needs Python 3.9 or later, numpy and the runtime. Its host key must be in a known_hosts file: an unknown or
changed key is refused. Nothing is installed: the agent runs from a temporary folder that is removed at the end.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, cast

from evaluators.devices.address import Address
from evaluators.devices.device import AddressError, DeviceUnavailable
from evaluators.devices.remote.channel import AGENT, AgentChannel, AgentPipe
from evaluators.devices.runtime_device import Runtime, RuntimeDevice, RuntimeSettings, read_runtime_settings
from search_spaces.registry import import_object, named_row

RUNTIMES: dict[str, str] = {
    "onnxruntime": "evaluators.devices.runtimes.onnx_runtime:runtime",
    "openvino": "evaluators.devices.runtimes.openvino_cpu:runtime",
    "litert": "evaluators.devices.runtimes.litert:runtime",
    "coral": "evaluators.devices.runtimes.coral:runtime",
}
# What the agent imports there, by path below ``evaluators``
_AGENT_FILES = ("devices/timing.py", "devices/remote/agent.py", "devices/runtimes/litert.py")
_PACKAGES = ("", "devices/", "devices/remote/", "devices/runtimes/")
_PYTHON_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_IDLE_S = 600.0  # beyond the limit of one measurement
# The whole remote command: the supervisor's source comes as the first line, as JSON
_START_COMMAND = "import json, sys; exec(json.loads(sys.stdin.readline()))"


@dataclass(frozen=True)
class SshHost:
    """Where to connect and as whom; ``key`` and ``known_hosts`` are files, the user's own where ``None``."""

    host: str
    port: int
    user: str
    key: Path | None
    known_hosts: Path | None
    python: str


def _connect(host: SshHost) -> Any:
    """A connected client. Raises ``DeviceUnavailable``."""
    try:
        import paramiko
    except ImportError:
        raise DeviceUnavailable("SSH needs the package paramiko; pip install paramiko") from None

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    where = f"{host.host}:{host.port}"
    try:
        if host.known_hosts is None:
            client.load_system_host_keys()
        else:
            client.load_host_keys(str(host.known_hosts))
        client.connect(
            host.host,
            host.port,
            host.user or None,
            key_filename=None if host.key is None else str(host.key),
            look_for_keys=host.key is None,
            allow_agent=host.key is None,
            timeout=20,
            banner_timeout=20,
            auth_timeout=20,
        )
    except paramiko.BadHostKeyException as error:
        client.close()
        raise DeviceUnavailable(
            f"{where}: its host key is not the one in known_hosts ({error}); if the machine was reinstalled, replace it"
        ) from None
    except (paramiko.SSHException, OSError) as error:
        client.close()
        hint = f"; ssh-keyscan -p {host.port} {host.host} shows its key" if "known_hosts" in str(error) else ""
        raise DeviceUnavailable(f"{where}: no SSH connection: {error}{hint}") from None
    client.get_transport().set_keepalive(15)
    return client


def _execute(client: Any, host: SshHost) -> Any:
    """A session in which the remote Python waits for the supervisor's source. Raises ``DeviceUnavailable``."""
    import paramiko

    try:
        channel = client.get_transport().open_session(timeout=20)
        channel.exec_command(shlex.join([host.python, "-c", _START_COMMAND]))
    except (paramiko.SSHException, OSError, EOFError) as error:
        client.close()
        raise DeviceUnavailable(f"{host.host}: cannot run {host.python}: {error}") from None
    return channel


def _agent_sources(runtime: Runtime) -> dict[str, str]:
    """The source files that the agent needs, by their path on the remote machine."""
    folder = files("evaluators")
    module = runtime.benchmark.partition(":")[0].partition(".")[2].replace(".", "/") + ".py"
    agent_files = {f"evaluators/{name}": (folder / name).read_text() for name in {*_AGENT_FILES, module}}
    return {**{f"evaluators/{package}__init__.py": "" for package in _PACKAGES}, **agent_files}


def _agent_starter(host: SshHost, runtime: Runtime, settings: RuntimeSettings) -> Callable[[], AgentPipe]:
    instructions = {
        "files": _agent_sources(runtime),
        "agent": AGENT,
        "env": {"OMP_NUM_THREADS": str(settings.threads)},
        "idle_s": settings.timeout_s + _IDLE_S,
    }
    supervisor = (files("evaluators.devices.remote") / "ssh_supervisor.py").read_text()
    first_lines = f"{json.dumps(supervisor)}\n{json.dumps(instructions)}\n".encode()

    def start() -> AgentPipe:
        client = _connect(host)
        channel = _execute(client, host)
        to_agent = channel.makefile_stdin("wb")
        from_agent = channel.makefile("rb")
        stderr_log = channel.makefile_stderr("rb")
        with contextlib.suppress(OSError):  # then there is no answer either, and that is reported
            to_agent.write(first_lines)
            to_agent.flush()

        def last_error_line() -> str:
            channel.settimeout(2)
            try:
                lines = stderr_log.read().decode(errors="replace").strip().splitlines()
            except OSError:
                return ""
            return str(lines[-1]) if lines else ""

        def end() -> None:
            """Close the supervisor's input, let it clean up, then close the connection."""
            channel.shutdown_write()
            channel.status_event.wait(10)
            client.close()

        return AgentPipe(cast(IO[bytes], to_agent), cast(IO[bytes], from_agent), end, last_error_line)

    return start


def device(address: Address) -> RuntimeDevice:
    """``ssh://user@host:22/litert?threads=4&precision=int8&python=python3&key=~/.ssh/id_ed25519&known_hosts=FILE``."""
    user, name, port = address.user_host_port(22)
    runtime: Runtime = import_object(named_row("runtime", address.path, RUNTIMES))()
    settings = read_runtime_settings(address, runtime.precisions)
    python = address.text_option("python", "python3")
    if not _PYTHON_PATH.fullmatch(python) or python.startswith("-"):
        raise AddressError(f"{address.text!r}: python must be the path of a program, not {python!r}")
    key, known_hosts = address.text_option("key"), address.text_option("known_hosts")
    host = SshHost(
        host=name,
        port=port,
        user=user,
        key=Path(key).expanduser() if key else None,
        known_hosts=Path(known_hosts).expanduser() if known_hosts else None,
        python=python,
    )
    channel = AgentChannel(_agent_starter(host, runtime, settings), name)
    return RuntimeDevice(runtime, settings, channel)
