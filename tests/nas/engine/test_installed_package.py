"""What a package adds that is installed beside the project, in one file: a data format, a strategy, an executor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.engine.options import SettingError
from search_spaces.registry import UnknownName
from tests.support.fakes import CountingEvaluator, small_space
from tests.support.installed_package import installed_package

NEIGHBOUR = """
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluators.data.catalog import DataFormat
from evaluators.data.formats.npz import open_npz
from evaluators.data.listing import DataRequest, ImageFile, Listing, Sample
from nas.engine.strategies.catalog import StrategyRow
from nas.execution.executor import call_through, evaluate_job


# -- a format: the class is the first letter of the file's name


def open_letters(request):
    files = sorted(Path(request.location).glob("*.png"))
    classes = sorted({file.name[0] for file in files})
    samples = [Sample(ImageFile(file), classes.index(file.name[0])) for file in files]
    return Listing(tuple(classes), samples, None, (Path(request.location),))


letters = DataFormat("neighbour:open_letters", ("class",), "a folder", "letters:path/to/images")


# -- a strategy: as many random networks as may be trained, and no more


class JustTrain:
    def __init__(self, context):
        self.context = context
        self.trainings = context.required_trainings("just_train")

    def run(self):
        from nas.engine.training_jobs import Request

        state, searcher = self.context.state, self.context.searcher
        while len(state.candidate_pool.candidates) < state.problem.settings.train:
            candidate, outcome = state.candidate_pool.add_genotype(searcher.ask())
            searcher.tell(outcome)
            if candidate is not None:
                state.record(self.trainings.finish(self.trainings.start(Request(candidate, range(1)))))


just_train = StrategyRow("neighbour:JustTrain", "as many random networks as may be trained")


# -- an executor: in this process, and it counts


class Counting:
    def __init__(self, workers=None):
        self.count = 0
        self.closed = False
        COUNTERS.append(self)

    def submit(self, evaluator, job, middleware=call_through):
        self.count += 1
        future = Future()
        future.set_result(middleware(job, lambda one: evaluate_job(evaluator, one)))
        return future

    def close(self):
        self.closed = True


COUNTERS = []
"""
ENTRY_POINTS = {
    "nas.data": {"letters": "letters"},
    "nas.strategies": {"just_train": "just_train"},
    "nas.executors": {"counting": "Counting"},
}


def test_a_format_a_strategy_and_an_executor_of_one_file_work_together(tmp_path: Path) -> None:
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        brightness = 40 if index % 2 else 200
        pixels = rng.integers(brightness - 30, brightness + 30, (20, 20, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{'ab'[index % 2]}{index:02}.png")
    with installed_package(tmp_path / "site", NEIGHBOUR, ENTRY_POINTS):
        result = nas.search(
            "mobilenetv2",
            "edgetpu",
            data=f"letters:{pictures}",
            training={"steps": 4, "batch_size": 4, "image_size": 32},
            train=2,
            strategy="just_train",
            executor="counting",
            train_published=False,
            directory=tmp_path / "runs",
        )
        import neighbour  # type: ignore[import-not-found]

        (executor,) = neighbour.COUNTERS
        assert (executor.count, executor.closed) == (2, True)
    assert [c.status for c in result.candidates] == ["trained", "trained"]
    assert all(0 <= c.metrics["accuracy"] <= 1 for c in result.candidates)
    assert result.graph(result.candidates[0]).output_shapes == {"logits": (2,)}
    assert result.candidates[0].measurements["accuracy"].source == f"trained:letters:{pictures}"


def test_names_that_no_package_adds_are_answered_with_the_nearest(tmp_path: Path) -> None:
    arguments = {"evaluator": CountingEvaluator(), "trials": 4, "train": 1, "directory": tmp_path}
    with pytest.raises(UnknownName, match="no strategy 'predict'; did you mean 'predict_only'"):
        nas.search(small_space, "edgetpu", strategy="predict", **arguments)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="no executor 'locale'; did you mean 'local'"):
        nas.search(small_space, "edgetpu", executor="locale", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "score_then_train", "train": 0}, "score_then_train trains candidates"),
        ({"strategy": "train_every_candidate", "train": 0}, "train_every_candidate trains candidates"),
        ({"strategy": "score_then_train", "score": "none"}, "ranks by a zero-cost score"),
        ({"strategy": "predict_only"}, "predict_only trains nothing"),
        ({"strategy": lambda context: None}, r"has no method run\(\)"),
    ],
)
def test_strategies_that_cannot_run_a_search_say_why(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    arguments = {"evaluator": CountingEvaluator(), "trials": 4, "train": 1, "directory": tmp_path, **changes}
    with pytest.raises(SettingError, match=message):
        nas.search(small_space, "edgetpu", **arguments)  # type: ignore[arg-type]


def test_a_release_with_another_number_goes_on_with_a_study(tmp_path: Path) -> None:
    """In a process of its own, whose package has another version."""
    script = f"""
import nas.version
nas.version.__version__ = "9.8.7"
from nas.cli.main import main
main(["resume", "s", "--directory", {str(tmp_path)!r}, "--json"])
"""
    result = nas.search("mobilenetv2", "edgetpu", trials=12, train=0, study="s", directory=tmp_path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    import json

    resumed = json.loads(done.stdout)
    assert resumed["front"] == [c.to_document() for c in result.front]
