"""Whole runs of ``nas hw``: lists, predictions, a device of one's own from measurements, and how good it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from hardware_models.catalog import hardware, load_hardware
from hardware_models.measured.datasets import nasbench201
from hardware_models.measured.latency_csv import published_network
from nas.cli.main import main
from search_spaces.catalog import load_network, load_space

Shared = Callable[[str], Path]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Runs ``nas hw`` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def of(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["hw", *arguments])
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return of


Run = Callable[..., tuple[Any, str, str]]


def write(path: Path, header: str, rows: Iterable[Iterable[object]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path.name


def published_rows(device: str, factor: float = 3.0) -> list[tuple[str, float]]:
    """Published networks with ``factor`` times what a device's model says."""
    model = load_hardware(device)
    names = [f"mobilenetv2@{size}" for size in (96, 128, 160, 192)] + ["mnasnet_a1", "mobilenet_v1"]
    return [(name, factor * model.estimate(published_network(name)).latency_ms) for name in names]


# -- list, show, predict -----------------------------------------------------------------------------------------------


def test_the_list_has_every_device_with_its_error(run: Run) -> None:
    code, out, _ = run("list", "--json")
    rows = json.loads(out)
    assert code == 0
    assert set(rows) == set(hardware())
    assert rows["zcu102"]["kind"] == "learned"
    assert rows["zcu102"]["error"]["spearman"] > 0.99
    assert rows["edgetpu"]["kind"] == "analytic"
    assert rows["edgetpu"]["error"]["mape_percent"] > 0
    assert "energy_error" in rows["pi5"]
    assert all(row["what"] for row in rows.values())
    assert {row["number_format"] for row in rows.values()} == {"float32", "float16", "int8"}
    assert (rows["zcu102"]["number_format"], rows["pi5"]["number_format"]) == ("int8", "float32")
    code, out, _ = run()
    assert code == 0
    assert all(name in out for name in ("edgetpu", "zcu102", "pi5", "Spearman", "MAPE", "numbers", "float16"))


def test_show_says_what_a_model_rests_on(run: Run) -> None:
    code, out, _ = run("show", "zcu102")
    assert code == 0
    assert all(text in out for text in ("learned", "Accel-NASBench", "int8", "interval_coverage"))
    code, out, _ = run("show", "zcu102", "--json")
    facts = json.loads(out)
    assert (facts["version"], facts["measured"], facts["number_format"]) == (1, "normal form", "int8")


def test_predictions_agree_with_the_model_and_their_rows_add_up(run: Run) -> None:
    cost = load_hardware("pi5").estimate(load_network("mobilenetv2"))
    code, out, _ = run("predict", "mobilenetv2", "--hw", "pi5", "--json", "--layers")
    document = json.loads(out)
    assert code == 0
    assert document["latency_ms"] == cost.latency_ms
    assert document["energy_mj"] == cost.energy_mj
    assert document["latency_interval_ms"] == [cost.latency_low_ms, cost.latency_high_ms]
    assert sum(row["latency_ms"] for row in document["layers"]) == pytest.approx(cost.latency_ms)
    assert document["guessed_ops"] == list(cost.guessed_ops)
    code, out, _ = run("predict", "mobilenetv2", "--hw", "pi5", "--layers", "--plot", "layers.png")
    assert f"mobilenetv2 on pi5: {cost.latency_ms:.2f} ms" in out
    assert f"{cost.energy_mj:.2f} mJ" in out
    assert "Priced by a guess: " in out
    assert Path("layers.png").read_bytes().startswith(b"\x89PNG")


def test_the_number_format_is_part_of_what_is_said_of_a_device(run: Run) -> None:
    documents = {}
    for name in ("pixel3_cpu4:int8", "pixel3_cpu4_int8", "pixel3_cpu4"):
        _, out, _ = run("predict", "mobilenetv2", "--hw", name, "--json")
        documents[name] = json.loads(out)
    assert documents["pixel3_cpu4:int8"] == documents["pixel3_cpu4_int8"]
    assert [documents[name]["number_format"] for name in documents] == ["int8", "int8", "float32"]
    assert documents["pixel3_cpu4"]["weights_kib"] == 4 * documents["pixel3_cpu4:int8"]["weights_kib"]
    _, out, _ = run("predict", "mobilenetv2", "--hw", "pixel3_cpu4:int8")
    assert ", int8, predicted:pixel3_cpu4_int8@1" in out
    _, out, _ = run("show", "pixel3_cpu4:int8")
    assert "number format" in out
    code, _, err = run("show", "pixel3_cpu4:int4")
    assert code == 2
    assert "pixel3_cpu4 is not there in 'int4': write pixel3_cpu4:float32 or pixel3_cpu4:int8" in err
    Path("old.toml").write_text('kind = "learned"\nversion = 1\n')
    code, _, err = run("show", "./old.toml")
    assert code == 2
    assert "old.toml: number_format is missing; add one of 'float32'" in err


def test_networks_are_named_in_every_form(run: Run) -> None:
    Path("graph.json").write_text(load_network("mobilenetv2").to_json())
    cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
    latencies_ms = {}
    for name in ("mobilenetv2", "graph.json", "mobilenetv2@224", "mobilenetv2@96", f"nasbench201={cell}"):
        code, out, _ = run("predict", name, "--hw", "zcu102", "--json")
        assert code == 0
        latencies_ms[name] = json.loads(out)["latency_ms"]
    assert (
        latencies_ms["mobilenetv2"]
        == latencies_ms["graph.json"]
        == latencies_ms["mobilenetv2@224"]
        > latencies_ms["mobilenetv2@96"]
    )


def test_a_network_without_any_cost_is_drawn_too(run: Run, tmp_path: Path) -> None:
    head = 'kind = "learned"\nversion = 1\nnumber_format = "int8"\n'
    Path("free.toml").write_text(head + '[latency]\nbase = 0\n[latency.kinds]\n"act:relu" = [0, 0, 0, 0]\n')
    code, out, _ = run("predict", "mobilenetv2", "--hw", "./free.toml", "--plot", "free.png")
    assert code == 0
    assert Path("free.png").exists()
    assert "0.00 ms" in out


# -- calibrate, check --------------------------------------------------------------------------------------------------


def test_ten_measured_cells_make_a_device(run: Run, shared: Shared, tmp_path: Path) -> None:
    rows = nasbench201.read(shared("data/nb201_latency_help").parent, 60)["2080ti_32"]
    lines = [("nasbench201", row.name, row.latency_ms) for row in rows]
    few = write(tmp_path / "few.csv", "space,architecture,latency_ms", lines[:10])
    rest = write(tmp_path / "rest.csv", "space,architecture,latency_ms", lines[10:])
    code, out, _ = run("calibrate", few, "--out", "mine.toml", "--about", "a card")
    assert code == 0
    assert out.startswith("mine.toml: transferred, 10 networks, as written. Each left out of the fit: Spearman 0.")
    assert "nas search --space nasbench201 --hw ./mine.toml" in out
    code, out, _ = run("check", "./mine.toml", "--against", rest, "--json")
    document = json.loads(out)
    assert document["rows"] == 50
    assert document["spearman"] > 0.9
    assert document["mape_percent"] < 10
    assert document["interval_coverage"] > 0.7
    code, out, _ = run("check", "./mine.toml", "--against", rest)
    assert "spearman" in out
    assert "interval coverage" in out
    code, out, _ = run("show", "./mine.toml", "--json")
    assert json.loads(out)["about"] == "a card"
    code, out, _ = run("predict", "mobilenetv2", "--hw", "./mine.toml", "--layers", "--json")
    document = json.loads(out)
    assert sum(row["latency_ms"] for row in document["layers"]) == pytest.approx(document["latency_ms"])
    assert "conv:depthwise" in document["guessed_ops"]


def test_published_networks_make_a_device(run: Run, tmp_path: Path) -> None:
    rows = published_rows("pi5")
    few = write(tmp_path / "few.csv", "network,latency_ms", rows)
    code, out, _ = run("calibrate", few, "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["file"], document["kind"], document["measured"]) == ("mine.toml", "few_rows", "normal form")
    assert document["error"]["rows"] == 6
    assert json.loads(run("show", "./mine.toml", "--json")[1])["number_format"] == "float32"
    code, out, _ = run("check", "mine.toml", "--against", few, "--json")
    assert json.loads(out)["spearman"] == 1
    code, _, err = run("calibrate", few)
    assert code == 2
    assert "'mine.toml' is there already; name another with --out, or say --force" in err
    _, _, err = run("calibrate", "none.csv", "--force")  # over the file that is there, were there measurements
    assert "cannot read the measurements 'none.csv'" in err


def test_suggested_networks_are_measured_and_calibrate(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("calibrate", "--suggest", "todo.csv", "--space", "nasbench201", "--samples", "6")
    assert code == 0
    assert "todo.csv: 6 networks; fill in latency_ms" in out
    code, _, err = run("calibrate", "todo.csv")
    assert code == 2
    assert "todo.csv:2: latency_ms must be a number, not ''" in err
    space, model = load_space("nasbench201"), load_hardware("pi5")
    with Path("todo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["architecture"] for row in rows}) == 6
    measured = [
        (r["space"], r["architecture"], model.estimate(space.graph(space.parse(r["architecture"]))).latency_ms)
        for r in rows
    ]
    write(tmp_path / "todo.csv", "space,architecture,latency_ms", measured)
    assert run("calibrate", "todo.csv", "--out", "suggested.toml")[0] == 0
    code, out, _ = run("check", "./suggested.toml", "--against", "todo.csv", "--json")
    assert json.loads(out)["spearman"] > 0.9
    code, _, err = run("calibrate", "--suggest", "todo.csv", "--space", "nasbench201")
    assert code == 2
    assert "--suggest, or say --force" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network,ms\nmobilenetv2,3\n", "bad.csv:2: there is no column latency_ms"),
        ("network,latency_ms\nmobilenetv2,-3\n", "bad.csv:2: latency_ms must be above 0, not -3"),
        ("network,latency_ms\nmobilenet_v22,3\n", "bad.csv:2: no network 'mobilenet_v22'; did you mean"),
        (
            "network,latency_ms\nmobilenetv2,3\nmobilenetv2@96,1\nmobilenetv2@128,2\n",
            "a calibration needs 4 different measured networks at least, not 3; ten do well",
        ),
        ("space,architecture,latency_ms\n./x.py:f,a,1\n", "bad.csv:2: the space './x.py:f' is code"),
    ],
)
def test_measurements_that_cannot_be_used_end_in_one_line(text: str, message: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    code, out, err = run("calibrate", "bad.csv")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("mine.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("calibrate",), "say what was measured: a CSV file"),
        (("calibrate", "--suggest", "a.csv"), "--suggest needs --space"),
        (("calibrate", "none.csv"), "cannot read the measurements 'none.csv'"),
        (("check", "zcu102", "--against", "none.csv"), "cannot read the measurements 'none.csv'"),
        (("check", "zcu103", "--against", "none.csv"), "no hardware 'zcu103'; did you mean 'zcu102'?"),
        (("calibrate", "none.csv", "--number-format", "int7"), "must be one of float32, float16, bfloat16, int8"),
        (("calibrate", "--device", "litert", "--space", "mobilenetv2", "--number-format", "i8"), "not 'i8'"),
        (
            ("measure", "mobilenetv2", "--hw", "edgetpu", "--device", "litert?precision=float32"),
            "litert?precision=float32 runs float32, but pixel4_edgetpu is a model of int8; write"
            " --device litert?precision=int8",
        ),
        (("measure", "mobilenetv2", "--hw", "pi5", "--device", "ethos-u55-32"), "a device that runs float32"),
        (("show", "./none.toml"), "cannot read the device file"),
        (("predict", "mobilenet_v22", "--hw", "zcu102"), "no network 'mobilenet_v22'"),
        (("predict", "none.json", "--hw", "zcu102"), "no file 'none.json'"),
        (("calibrate", "--suggest", "no/a.csv", "--space", "nasbench201", "--samples", "4"), "cannot write 'no/a.csv'"),
    ],
)
def test_mistakes_end_in_one_line(arguments: tuple[str, ...], message: str, run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
