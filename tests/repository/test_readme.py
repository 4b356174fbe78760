"""The README's own examples, run as they stand; its figures have rows in results/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nas

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = next(b for b in blocks("python") if "nas.load_space" in b)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own text
    printed = capsys.readouterr().out.splitlines()
    for line, text in enumerate(example.splitlines()):
        if (match := re.search(r"print\(.*\)\s+# ([\d ]+)$", text)) is not None:
            assert match[1] in printed, f"line {line} of the example prints something else"


def test_the_space_of_ones_own_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = next(b for b in blocks("python") if "def my_space" in b)
    (tmp_path / "my_space.py").write_text(example)
    result = nas.search("./my_space.py:my_space", "edgetpu", trials=30, train=0, directory=tmp_path / "runs")
    assert len(result.candidates) == 30
    assert result.front


def test_everything_the_readme_points_at_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_every_result_is_listed_with_its_command() -> None:
    listed = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    files = [path for path in (ROOT / "results").rglob("*") if path.suffix in (".csv", ".png", ".md")]
    assert len(files) > 40
    for path in files:
        if path.name != "README.md":
            link = path.relative_to(ROOT / "results").as_posix()
            assert f"]({link})" in listed, f"results/README.md does not say how {link} came about"
