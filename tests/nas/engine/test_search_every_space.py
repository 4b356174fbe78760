"""Every named space is searched from the command line, and so is a new one: a file and a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.cli.main import main
from search_spaces.catalog import SPACES, SpaceRow, load_space
from tests.support.space_contracts import checks_of, contract_of


def search_result(capsys: pytest.CaptureFixture[str], folder: Path, space: str, *more: str) -> Any:
    """The result of ``nas search`` with predicted cost and a score alone."""
    arguments = ["search", "--space", space, "--hw", "edgetpu", "--train", "0", "--directory", str(folder), "--json"]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, *more])
    out, err = capsys.readouterr()
    assert caught.value.code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_is_searched(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    result = search_result(capsys, tmp_path, name, "--trials", "50")
    assert result["tally"]["scored"] == 50
    assert result["front"]
    table = pd.read_csv(Path(result["directory"]) / "candidates.csv")
    assert len(table) == 50
    figures = table[["latency_ms", "macs", "params", "score"]]
    assert figures.notna().all(axis=None)
    assert (figures.abs() < float("inf")).all(axis=None)
    assert (figures["latency_ms"] > 0).all()  # a cell of nothing has no MACs, but the chip has to be called
    assert table["front"].sum() == len(result["front"])
    assert set(table["status"]) == {"scored"}


TOY = '''
"""A toy space."""

from nas import Builder, Choose, Graph, blocks, heads


def toy(choose: Choose, *, image_size: int = 32, num_classes: int = 10) -> Graph:
    b = Builder()
    x = b.input((3, image_size, image_size))
    for layer in range(choose.int("depth", 1, 3)):
        width, kernel = choose.one_of(f"width{layer}", (8, 16, 24)), choose.one_of(f"kernel{layer}", (1, 3))
        x = blocks.conv_norm_act(b, x, width, kernel, 2)
    return b.build(heads.classifier(b, x, num_classes))
'''


def test_a_new_space_is_one_file_and_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy_space.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SPACES, "toy", SpaceRow("toy_space:toy", "a toy"))
    contract = contract_of("toy", {})
    assert contract.small == {"image_size": 32, "num_classes": 4}
    for check in checks_of(contract):
        getattr(contract(), check)()
    assert load_space("toy").size() == 6 + 6**2 + 6**3
    result = search_result(capsys, tmp_path, "toy", "--trials", "30")
    assert result["settings"]["space"] == "toy"
    assert result["tally"]["scored"] == 30
    assert {"depth", "width0"} <= set(result["front"][0]["genotype"])
