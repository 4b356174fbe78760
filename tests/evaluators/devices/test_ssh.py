"""Another machine, for real: an SSH server of this machine on a high port, with keys and folders of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import pytest

from evaluators.devices.catalog import open_device
from evaluators.devices.device import DeviceUnavailable, MeasurementFailed, MeasurementTimeout
from evaluators.devices.remote.channel import AgentChannel
from evaluators.devices.remote.ssh import RUNTIMES
from search_spaces.registry import import_object
from tests.support.device_networks import mobile

for package in ("ai_edge_litert", "onnx", "onnxruntime", "paramiko"):
    pytest.importorskip(package)


def _sshd() -> str:
    path = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if path is None:
        reason = "no sshd here: apt-get install openssh-server"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def _key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Server:
    """A running server: how to reach it, and the folder that its sessions put temporary files into."""

    folder: Path
    port: int
    temporary: Path

    def address(self, runtime: str, known_hosts: str = "known_hosts", **options: object) -> str:
        settings = {
            "python": sys.executable,
            "key": self.folder / "user_key",
            "known_hosts": self.folder / known_hosts,
            "max_s": 0.2,
            "warmup_s": 0.02,
            **options,
        }
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        return f"ssh://{getuser()}@127.0.0.1:{self.port}/{runtime}?{query}"

    def write_known_hosts(self, name: str, public_key: Path) -> None:
        kind, key = public_key.read_text().split()[:2]
        (self.folder / name).write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def remaining_files(self) -> list[Path]:
        """What is in the temporary folder, after a while for processes to end."""
        for _ in range(100):
            remaining = list(self.temporary.iterdir())
            if not remaining:
                return []
            time.sleep(0.05)
        return remaining


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    sshd = _sshd()
    folder = tmp_path_factory.mktemp("sshd")
    temporary = folder / "temporary"
    temporary.mkdir()
    server = Server(folder, _free_port(), temporary)
    _key(folder / "host_key")
    shutil.copy(_key(folder / "user_key").with_suffix(".pub"), folder / "authorized_keys")
    (folder / "authorized_keys").chmod(0o600)
    server.write_known_hosts("known_hosts", folder / "host_key.pub")
    server.write_known_hosts("other_hosts", _key(folder / "other_key").with_suffix(".pub"))
    (folder / "no_hosts").touch()
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": server.port,
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",  # pytest's folders belong to whoever runs the tests
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "SetEnv": f"TMPDIR={temporary}",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks itself up before anybody has logged in
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_a_remote_machine_measures_and_is_left_clean(server: Server, runtime: str) -> None:
    device = open_device(server.address(runtime, precision="int8"))
    try:
        first, second = device.measure(mobile()), device.measure(mobile(64, 16))
        assert list(server.temporary.glob("nas-agent-*"))  # the agent is running there
    finally:
        device.close()
    assert first.source == f"measured:{runtime}-int8-1t@127.0.0.1"
    assert 0 < first.low_ms <= first.latency_ms <= first.high_ms
    assert second.latency_ms > 0
    assert server.remaining_files() == []


def test_a_machine_whose_key_changed_is_refused(server: Server) -> None:
    device = open_device(server.address("litert", known_hosts="other_hosts"))
    with pytest.raises(DeviceUnavailable, match="not the one in known_hosts"):
        device.measure(mobile())
    assert server.remaining_files() == []


def test_a_machine_without_a_known_key_is_refused(server: Server) -> None:
    device = open_device(server.address("litert", known_hosts="no_hosts"))
    with pytest.raises(DeviceUnavailable, match=r"not found in known_hosts.*ssh-keyscan"):
        device.measure(mobile())
    assert server.remaining_files() == []


def test_a_machine_that_does_not_answer(server: Server) -> None:
    device = open_device(server.address("litert").replace(f":{server.port}/", f":{_free_port()}/"))
    with pytest.raises(DeviceUnavailable, match="no SSH connection"):
        device.measure(mobile())


def test_a_machine_without_that_python(server: Server) -> None:
    device = open_device(server.address("litert", python="/nowhere/python3"))
    with pytest.raises(MeasurementFailed, match="/nowhere/python3"):
        device.measure(mobile())
    device.close()


@pytest.fixture
def remote(server: Server) -> Iterator[AgentChannel]:
    """The channel alone, for requests that no device makes."""
    device = open_device(server.address("litert"))
    channel: AgentChannel = device._channel
    yield channel
    channel.close()


def test_what_hangs_there_is_ended_and_cleaned_up(server: Server, remote: AgentChannel) -> None:
    remote.request("builtins:dict", {}, 60)
    pids = _agents(server)
    assert pids
    with pytest.raises(MeasurementTimeout, match="no answer within 1 s"):
        remote.request("time:sleep", 600, 1)
    assert server.remaining_files() == []
    assert not set(pids) & set(_agents(server))
    assert remote.request("builtins:dict", {"again": 1}, 60) == {"again": 1}


def test_what_dies_there_is_cleaned_up(server: Server, remote: AgentChannel) -> None:
    with pytest.raises(MeasurementFailed, match="ended without an answer"):
        remote.request("os:_exit", 9, 60)
    assert server.remaining_files() == []


def test_a_search_that_is_killed_leaves_nothing_there(server: Server) -> None:
    program = (
        "from evaluators.devices.catalog import open_device\n"
        f"device = open_device({server.address('litert')!r})\n"
        "device._channel.request('builtins:dict', {}, 60)\n"
        "print('ready', flush=True)\n"
        "device._channel.request('time:sleep', 600, 600)\n"
    )
    root = str(Path(__file__).parents[3])
    search = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root)
    assert search.stdout is not None
    assert search.stdout.readline() == b"ready\n"
    assert list(server.temporary.glob("nas-agent-*"))
    search.kill()
    search.wait()
    search.stdout.close()
    assert server.remaining_files() == []
    assert _agents(server) == []


def _agents(server: Server) -> list[int]:
    """Processes that run the agent out of the server's temporary folder."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd").startswith(str(server.temporary)):
                pids.append(int(entry.name))
        except OSError:
            continue
    return pids


def test_every_remote_runtime_is_a_row_that_can_be_made() -> None:
    for name, path in RUNTIMES.items():
        assert import_object(path)().name == name
