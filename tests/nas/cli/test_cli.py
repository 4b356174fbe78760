"""Whole runs of the command line: what it prints, where it stops, what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nas.cli.main import main
from tests.support.command_line import CommandResult, run_command

ROOT = Path(__file__).parents[3]

SPACE_FILE = """
from nas import Builder, Choose, Graph, blocks, heads


def my_space(choose: Choose, *, image_size: int = 64, num_classes: int = 10) -> Graph:
    b = Builder()
    x = blocks.conv_norm_act(b, b.input((3, image_size, image_size)), choose.one_of("stem", (8, 16)), 3, 2)
    features = []
    for stage in range(4):
        width = choose.one_of(f"stage{stage}.width", (16, 24))
        x = blocks.inverted_bottleneck(
            b, x, width, expanded=x.channels * choose.one_of(f"stage{stage}.expansion", (2, 4)), stride=2
        )
        features.append(x)
    return b.build(heads.ssdlite(b, features[-2:], num_classes=num_classes, extra_widths=(32,)))


def bad_width(choose: Choose) -> Graph:
    b = Builder()
    x = b.input((3, 32, 32))
    for layer in range(3):
        x = b.conv(x, choose.one_of(f"width{layer}", (0, 8) if layer == 1 else (8, 16)), 3)
    return b.build(x)
"""


QUICK = ("--space", "./my_space.py:my_space", "--hw", "edgetpu")
SEARCH = ("search", *QUICK, "--trials", "40", "--train", "0", "--json")
TRAINED_SEARCH = (
    *("search", *QUICK, "--trials", "20", "--train", "2", "--limit", "latency<=50ms", "--workers", "1"),
    *("--training", "steps=3", "--training", "max_train_images=32", "--training", "max_val_images=16"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, but for the file of a space."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_space.py").write_text(SPACE_FILE)
    return tmp_path


@dataclass(frozen=True)
class FinishedSearch:
    """A search that was run in ``folder``, which tests read and do not change."""

    folder: Path
    result: CommandResult


def search_in(folder: Path, *arguments: str) -> FinishedSearch:
    (folder / "my_space.py").write_text(SPACE_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run_command(*arguments)
    assert result.code == 0, result.err
    return FinishedSearch(folder, result)


@pytest.fixture(scope="module")
def untrained_search(tmp_path_factory: pytest.TempPathFactory) -> FinishedSearch:
    return search_in(tmp_path_factory.mktemp("untrained"), *SEARCH)


@pytest.fixture(scope="module")
def trained_search(tmp_path_factory: pytest.TempPathFactory) -> FinishedSearch:
    return search_in(tmp_path_factory.mktemp("trained"), *TRAINED_SEARCH)


def study_of(search: FinishedSearch) -> str:
    return next((search.folder / "nas-runs").glob("*/study.journal")).parent.name


def test_a_users_own_space_from_file_to_front(untrained_search: FinishedSearch) -> None:
    result = untrained_search.result.json
    front = result["front"]
    assert front
    assert all(set(c["genotype"]) >= {"stem", "stage0.width", "stage3.expansion"} for c in front)
    folder = untrained_search.folder / result["directory"]
    assert {p.name for p in folder.iterdir()} >= {"study.journal", "front.png", "candidates.csv", "result.json"}
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")


def test_training_on_digits_from_end_to_end(trained_search: FinishedSearch) -> None:
    out = trained_search.result.out
    assert "Pareto front of my_space-pixel4_edgetpu" in out or "Pareto front of my_space-edgetpu" in out
    assert "20 candidates costed" in out
    assert "2 trained, 0 failed" in out
    assert f"Next: nas dashboard {study_of(trained_search)}" in out


def test_the_same_search_again_trains_nothing(trained_search: FinishedSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained_search.folder)
    assert "0 trained, 0 failed, 2 taken over" in run_command(*TRAINED_SEARCH).out


def test_a_finished_search_is_resumed_and_shown(
    trained_search: FinishedSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained_search.folder)
    study = study_of(trained_search)
    resumed = run_command("resume", study, "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["tally"]["resumed"] == 2
    assert "2 trained" in run_command("show", study).out
    document = run_command("show", study, "--json").json
    assert len(document["candidates"]) == 20
    trained = [c for c in document["candidates"] if c["status"] == "trained"]
    assert len(trained) == 2
    assert all(c["measurements"]["map"]["source"] == "trained:digits" for c in trained)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("search", "--space", "mobildet", "--hw", "edgetpu"), "no space 'mobildet'; did you mean 'mobiledet'?"),
        (("search", "--space", "mobiledet", "--hw", "edgetp"), "no hardware 'edgetp'; did you mean 'edgetpu'?"),
        (("search", "--space", "./none.py:f", "--hw", "edgetpu"), "no file 'none.py'"),
        (("search", "--space", "./my_space.py", "--hw", "edgetpu"), "name the function too"),
        (("search", "--space", "./my_space.py:my_spac", "--hw", "edgetpu"), "it defines my_space, bad_width"),
        (("search", "--space", "./my_space.py:bad_width", "--hw", "edgetpu", "--train", "0"), "'width1' = 0 of (0, 8)"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--limit", "latncy<=7"), "no metric 'latncy'"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--limit", "latency"), "not of the form latency<=7ms"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--set", "imagesize=3"), "has no option 'imagesize'"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--set", "blocks=ibm"), "no block set 'ibm'"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--data", "voc:/no/such"), "/no/such"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--training", "stps=3"), "stps"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--trials", "many"), "'--trials'"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--training", "steps=abc"), "steps is 'abc'"),
        (("search", "--space", "mobiledet", "--hw", "edgetpu", "--set", "width=-1"), "a factor above 0"),
        (
            ("search", "--space", "mobiledet", "--hw", "edgetpu", "--set", "image_size=8"),
            "with image_size=8: conv: stride",
        ),
        (("search", "--space", "mobiledet", "--hw", "./mine.toml"), "cannot read the device file 'mine.toml'"),
        (("search", *("--space", "mobiledet", "--hw", "edgetpu"), "--directory", "/proc/no"), "cannot write the study"),
        (("search", "--space", "mobiledet"), "--hw"),
        (("search", *("--space", "mobiledet", "--hw", "edgetpu"), "--study", "../../evil"), "'../../evil' is no name"),
        (("search", *("--space", "mobiledet", "--hw", "edgetpu"), "--study", ""), "name is empty"),
        (("serch",), "Did you mean 'search'"),
        (("show", "nothing"), "no study"),
        (("resume", "nothing"), "no study 'nothing'"),
        (("dashboard", "nothing"), "no study 'nothing'"),
        (("spaces", "show", "mobildet"), "did you mean 'mobiledet'?"),
        (("hw", "predict", "none.json"), "no file 'none.json'"),
        (("hw", "predict", "mobiledet_edgtpu"), "did you mean 'mobiledet_edgetpu'?"),
    ],
)
def test_mistakes_end_in_one_clear_line(here: Path, arguments: tuple[str, ...], text: str) -> None:
    result = run_command(*arguments)
    assert result.code == 2
    assert text in result.err
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert lines[-1].startswith("nas: ")
    assert "Traceback" not in result.err


def test_limits_that_nothing_meets_end_in_1_with_what_was_missed(here: Path) -> None:
    arguments = ("search", *QUICK, "--trials", "6", "--train", "0", "--limit", "latency<=1us")
    told = run_command(*arguments)
    assert told.code == 1
    assert "No candidate is within the limits; the nearest: latency_ms is" in told.out
    again = run_command(*arguments, "--json")
    assert (again.code, again.json["front"]) == (1, [])
    assert again.err.splitlines()[-1].startswith("nas: No candidate is within the limits; the nearest: latency_ms is")
    assert again.err.splitlines()[-1].endswith(" %.")
    assert run_command("resume", again.json["study"], "--json").code == 1


def test_an_error_that_is_no_mistake_of_the_user_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class LooksLikeAMistake(Exception):
        def format_message(self) -> str:
            return "all is well"

    def fail() -> None:
        raise LooksLikeAMistake

    monkeypatch.setattr("nas.cli.doctor.check_installation", fail)
    with pytest.raises(LooksLikeAMistake):
        main(["doctor"])


def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.cli.doctor.check_installation", interrupt)
    result = run_command("doctor")
    assert result.code == 130
    assert result.err == "nas: stopped; the same command goes on from here\n"


def test_lists(here: Path) -> None:
    assert "mobiledet" in run_command("spaces", "--json").json["spaces"]
    assert "edgetpu" in run_command("hw", "--json").json
    for group in ("spaces", "hw"):
        for options in ((), ("--json",)):
            assert run_command(group, "list", *options) == run_command(group, *options)
    document = run_command("spaces", "show", "mobiledet", "--json").json
    assert document["size"] == 2959241712662221432223348293632
    assert "block1.width" in document["decisions"]
    network = run_command("show", "mobiledet_edgetpu", "--hw", "edgetpu", "--json").json
    assert network["macs"] == 1533181504
    assert network["latency_ms"] > 0
    assert "mobiledet_cpu" in run_command("spaces").out
    assert "latency" in run_command("show", "mobiledet_edgetpu", "--hw", "edgetpu").out


def test_predict_shows_every_layer(here: Path) -> None:
    result = run_command("hw", "predict", "mobiledet_edgetpu", "--layers", "--json")
    rows = result.json["layers"]
    assert sum(r["macs"] for r in rows) == 1533181504
    assert sum(r["latency_ms"] for r in rows) == pytest.approx(result.json["latency_ms"])
    assert "ms" in run_command("hw", "predict", "mobiledet_cpu", "--hw", "coral_usb").out


def test_doctor_finds_this_installation_sound(here: Path) -> None:
    checks = run_command("doctor", "--json")
    assert checks.code == 0, checks.out
    assert {c["what"] for c in checks.json} >= {"Python", "torch", "optuna", "cores"}


def test_help_imports_nothing_heavy() -> None:
    """What `nas --help` loads decides how long it takes; a list is steadier than a stopwatch."""
    script = "import sys, nas.cli.main\ntry: nas.cli.main.main(['--help'])\nexcept SystemExit: pass\n" + (
        "print('LOADED', sorted({'torch', 'numpy', 'pandas', 'optuna', 'networkx', 'matplotlib', 'scipy', 'sklearn'}"
        " & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "LOADED []" in run.stdout
    assert "search" in run.stdout


def test_the_dashboard_serves_a_study(untrained_search: FinishedSearch) -> None:
    import socket
    import time
    import urllib.request

    pytest.importorskip("optuna_dashboard")
    study = untrained_search.result.json["study"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "nas", "dashboard", study, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=untrained_search.folder
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}/api/studies"
            for _ in range(100):
                try:
                    with urllib.request.urlopen(address, timeout=5) as answer:
                        studies = json.load(answer)["study_summaries"]
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                pytest.fail("the dashboard did not answer within 20 s")
        finally:
            server.terminate()
    assert [s["study_name"] for s in studies] == [study]
