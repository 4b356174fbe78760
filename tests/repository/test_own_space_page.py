"""The page on a space of one's own, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "own_space.md").read_text(encoding="utf-8")


def test_the_page_on_a_space_of_ones_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    space, look, search = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(space.splitlines()) <= 40
    (tmp_path / "parts.py").write_text(space, encoding="utf-8")
    names: dict[str, object] = {}
    exec(compile(look, "docs/own_space.md", "exec"), names)  # noqa: S102 - our own text
    told = capsys.readouterr().out.splitlines()
    # 2 activations, 3 stems, and 4 stages: 2 widths, and 1 to 3 layers of (separable or 2 x 3 expansions) x 2 kernels
    layers = sum((2 * (1 + 2 * 3)) ** depth for depth in (1, 2, 3))
    assert told[0] == f"{2 * 3 * (2 * layers) ** 4:,} networks"
    exec(compile(search, "docs/own_space.md", "exec"), names)  # noqa: S102
    assert "latency_ms" in capsys.readouterr().out
    command = re.search(r"^nas (spaces show .*)$", PAGE, flags=re.MULTILINE)
    assert command is not None
    with pytest.raises(SystemExit) as ended:
        main(command[1].split())
    assert ended.value.code == 0
    assert (tmp_path / "parts.png").stat().st_size > 10_000
