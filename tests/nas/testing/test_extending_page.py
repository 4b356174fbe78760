"""The examples of the page on extending keep the contracts as they stand."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nas
from evaluators.evaluator import EvaluationJob, Evaluator
from nas.execution.executor import Executor, evaluate_job
from nas.testing import EvaluatorContract, ExecutorContract
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.registry import import_file
from search_spaces.space.space import Space
from tests.support.fakes import small_space
from tests.support.installed_package import installed_package

PAGE = (Path(__file__).parents[3] / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def example(name: str) -> str:
    """The example of the page that defines ``name``."""
    (text,) = [block for block in EXAMPLES if re.search(rf"^(class|def) {name}\b", block, flags=re.MULTILINE)]
    return text


@pytest.fixture(scope="class", autouse=True)
def _example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The class of the page, from a file of its own."""
    for name in ("Stripes", "Threads"):
        path = tmp_path_factory.mktemp("page") / f"{name.lower()}.py"
        path.write_text(example(name), encoding="utf-8")
        if request.cls is not None:
            setattr(request.cls, name, import_file(path, name, ValueError))


class TestStripes(EvaluatorContract):
    Stripes: Any

    def make_evaluator(self) -> Evaluator:
        evaluator: Evaluator = self.Stripes(steps=3)
        return evaluator

    def make_space(self, evaluator: Evaluator) -> Space:
        return Space(small_space, options=evaluator.proxy)

    def make_wrong_graphs(self) -> list[Graph]:
        b = Builder()
        return [b.build(b.conv(b.input((3, 32, 32)), 2, 3))]

    def test_networks_learn_it(self) -> None:
        evaluator = self.Stripes()
        space = self.make_space(evaluator)
        graph = space.graph(space.sample(random.Random(2)))
        result = evaluate_job(evaluator, EvaluationJob(graph))
        assert result.metrics["accuracy"] == 1.0, result


class TestThreads(ExecutorContract):
    Threads: Any
    survives_exit = False

    def make_executor(self) -> Executor:
        executor: Executor = self.Threads(workers=2)
        return executor


def test_the_format_and_the_strategy_of_the_page_search_together(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(20):
        shade = np.full((16, 16, 3), 50 if index % 2 else 200, np.uint8)
        Image.fromarray(shade).save(pictures / f"{'dl'[index % 2]}{index:02}.png")
    strategy_file = tmp_path / "just_train.py"
    strategy_file.write_text(example("JustTrain"), encoding="utf-8")
    strategy = import_file(strategy_file, "JustTrain", ValueError)
    rows = {"nas.data": {"letters": "letters"}}
    with installed_package(tmp_path / "site", example("open_letters"), rows, package="letters"):
        result = nas.search(
            "mobilenetv2",
            "edgetpu",
            data=f"letters:{pictures}",
            training={"steps": 3, "batch_size": 4, "image_size": 32},
            train=2,
            strategy=strategy,
            train_published=False,
            workers=0,
            directory=tmp_path / "runs",
        )
    assert [c.status for c in result.candidates] == ["trained", "trained"]
