"""The options of a search, each in one place: what ``nas.search``, the command line and studies are made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nas.engine.options import SettingError, check_options, option, options_of
from nas.study.earlier_names import EARLIER_NAMES
from search_spaces.registry import import_object

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from evaluators.data.catalog import DataSpec
    from evaluators.evaluator import Evaluator
    from hardware_models.composed.multi_device import HardwareSpec
    from nas.cache import EvaluationCache
    from nas.candidates.constraints import Limit
    from nas.candidates.objectives import Objective
    from nas.engine.progress import Reporter
    from nas.engine.verification import DeviceSpec
    from nas.execution.executor import Executor
    from nas.searchers.protocol import SearcherFunction
    from search_spaces.graph.graph import Graph
    from search_spaces.space.space import Space

    SpaceSpec = str | Path | Callable[..., Graph] | Space

DEFAULT_VERIFY_COUNT = 8
"""Candidates that are measured where a device is named and no number."""


@dataclass(frozen=True)
class SearchSettings:
    """Everything that a search is told. One field an option: its default, its help, its checks.

    What ``decides`` the result is kept in the study as texts and numbers, from which ``nas resume`` goes on; an object
    has no text, and is passed again.
    """

    space: SpaceSpec = option(
        "mobiledet",
        "What to search: a name, package.module:function, ./file.py:function, or a YAML file; from Python, a function"
        " or a Space too.",
        as_text="nas.engine.settings:text_of_space",
    )
    hw: HardwareSpec = option(
        "edgetpu",
        "A hardware model's name, or its TOML file; several joined by commas: their worst case, and latency@NAME is"
        " that of one.",
        as_text="hardware_models.composed.multi_device:hardware_text",
    )
    _: KW_ONLY
    task: str = option("", "classify, detect or segment; default: the space's own, if the data can train it.")
    limits: str | Mapping[str, float] | Sequence[str | Limit] | None = option(
        None,
        "Hard constraint, such as latency<=7ms, latency@pixel3_cpu<=60ms or accuracy>=0.9; repeatable.",
        kind="texts",
        flags="limit",
    )
    objectives: str | Sequence[str | Objective] | None = option(
        None,
        "Metric, such as latency, accuracy, map, miou, macs:min, or one of the evaluator's; repeatable. Default:"
        " latency, and the quality of the task.",
        kind="texts",
        flags="objective",
    )
    data: str | DataSpec | Any = option(
        "digits",
        "Images to train on: digits (built in), folder:PATH, voc:PATH, coco:PATH, yolo:PATH, csv:FILE, npz:FILE;"
        " accuracies to look up: table:CSV. From Python, a dataset object too.",
        as_text="nas.engine.settings:text_of_data",
    )
    trials: int = option(1000, "Distinct candidates to cost and score.", minimum=1)
    train: int = option(12, "How many of them to train; 0: none.", minimum=0)
    score: str = option("entropy", "Zero-cost score: entropy, log_macs, synflow; none: train all.")
    searcher: str | BaseSampler | SearcherFunction = option(
        "auto",
        "auto, evolution, nsga2, gp, predictor, local, sobol, random, optuna:SAMPLER, or halving:SEARCHER, which trains"
        " at lower fidelities first.",
        as_text="nas.engine.settings:text_or_nothing",
    )
    strategy: str | Callable[..., Any] = option(
        "auto",
        "How the budget is spent: score_then_train, train_every_candidate, predict_only, or one of your own; auto:"
        " what score and train ask for.",
        as_text="nas.engine.settings:text_or_nothing",
    )
    warm_start: str = option(
        "", "An earlier study (name or folder): its best go first, and what it learnt is used.", flags="warm-start"
    )
    repair: bool = option(
        True, "Constraint repair: mutate what is over a limit until it is within it, before it counts."
    )
    in_flight: int = option(4, "With --score none: candidates in training when the next is asked for.", minimum=1)
    seed: int = option(0, "One seed, one result.")
    verify: int | None = option(
        None,
        "How many of the best candidates to measure on --device; default: 8 with it, else 0.",
        kind="integer",
        minimum=0,
    )
    device: DeviceSpec | None = option(
        None,
        "Real device, such as onnxruntime?threads=1; of several --hw, NAME=DEVICE says which it is.",
        kind="text",
        as_text="nas.engine.verification:device_text",
    )
    baselines: bool = option(
        False,
        "Put the published networks of the task beside the front, as predicted.",
        flags="baselines",
        decides=False,
    )
    train_published: bool = option(
        True, "Train the space's published networks beside the search.", flags="train-published references"
    )
    space_options: Mapping[str, Any] = option(
        {}, "Option of the space, such as image_size=256; repeatable.", kind="assignments", flags="set"
    )
    evaluator: Evaluator | Mapping[str, Any] | str | None = option(
        None,
        "What finds out how good a network is, in place of training on --data: package.module:Class or"
        " ./file.py:Class, a subclass of nas.Evaluator.",
        kind="text",
        as_text="nas.engine.settings:text_of_evaluator",
    )
    training: Mapping[str, Any] = option(
        {}, "Setting of the training or of --evaluator, such as steps=300; repeatable.", kind="assignments"
    )
    searcher_options: Mapping[str, Any] = option(
        {},
        "Setting of the searcher, such as population=100, resample=10; repeatable.",
        kind="assignments",
        flags="searching",
    )
    rules: str = option("exact", "Which candidates are one network: exact, pool-linear, bn-scale, ... joined by +.")
    repeats: int = option(
        1, "Trainings of one network, whose mean is its quality.", minimum=1, flags="repeats evaluations"
    )
    revisit_probability: float = option(
        0.0,
        "With --score none: chance that a network met again, trained as often as --repeats says, is trained again.",
        minimum=0,
        maximum=1,
        flags="revisit-probability forget",
    )
    keep_weights_mib: int = option(
        512, "Trained weights to keep in the study's folder, the front's first; 0: none.", minimum=0, decides=False
    )
    study: str | None = option(None, "Name of the study; default: from the settings.", kind="text", decides=False)
    storage: str | Path | None = option(
        None, "Optuna storage URL; default: a journal file under --directory.", kind="text", decides=False
    )
    cache: str | Path | EvaluationCache | None = option(
        "",
        "Evaluation cache: a file, an SQLAlchemy URL, or off; default: a file under --directory.",
        kind="text",
        decides=False,
        variable="NAS_CACHE",
    )
    directory: str | Path = option(
        Path("nas-runs"), "Folder of the studies.", kind="path", decides=False, variable="NAS_RUNS"
    )
    workers: int | None = option(
        None, "Training processes; default: one a core; 0: none.", kind="integer", minimum=0, decides=False
    )
    executor: str | Executor | None = option(
        None,
        "Where trainings run: in_process, local, or one that a package adds; default: local, and in_process for what"
        " is looked up.",
        kind="text",
        decides=False,
    )
    reporter: Reporter | None = option(None, "Told of the search's progress.", kind="object", decides=False)

    def check(self) -> None:
        """Raise ``SettingError`` for values that make no sense."""
        check_options(self)
        if self.train == 0 and self.score == "none" and self.strategy == "auto":
            raise SettingError("nothing ranks the candidates: choose a score, or train some (train=12)")

    @property
    def verify_count(self) -> int:
        """How many candidates are measured on a real device."""
        return (0 if self.device is None else DEFAULT_VERIFY_COUNT) if self.verify is None else self.verify

    def with_training_apart(self) -> Self:
        """A mapping of settings in place of an evaluator, as early releases had it, where it belongs now."""
        if not isinstance(self.evaluator, Mapping):
            return self
        return replace(self, evaluator=None, training={**self.evaluator, **self.training})

    def to_document(self) -> dict[str, Any]:
        """What decides the result, as JSON-able data by name; tuples become lists."""
        document = {}
        for named in options_of(type(self)):
            value = getattr(self, named.name)
            if named.option.decides:
                as_text = named.option.as_text
                document[named.name] = import_object(as_text)(value) if as_text else value
        json_data: dict[str, Any] = json.loads(json.dumps(document))
        return json_data

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read ``to_document``'s data, of earlier releases too; keys that are no options are passed over."""
        named = {EARLIER_NAMES.get(key, key): value for key, value in document.items()}
        if isinstance(named.get("evaluator"), Mapping):
            named["training"] = named.pop("evaluator")
        values: dict[str, Any] = {}
        for one in options_of(cls):
            if one.option.decides and one.name in named:
                value = named[one.name]
                nothing = one.option.nullable and value == ""
                values[one.name] = None if nothing else tuple(value) if isinstance(value, list) else value
        return cls(**values)


def text_or_nothing(value: object) -> str:
    """A text as it is; of an object, which a study cannot keep, nothing."""
    return value if isinstance(value, str) else ""


def text_of_evaluator(evaluator: object) -> str:
    """An evaluator by name; nothing for none, and ``<Class>`` for an object, which a study cannot keep."""
    if evaluator is None or isinstance(evaluator, str | Mapping):
        return text_or_nothing(evaluator)
    return f"<{evaluator.__name__ if isinstance(evaluator, type) else type(evaluator).__name__}>"


def text_of_space(space: object) -> str:
    """A space by name or file; nothing for an object."""
    return str(space) if isinstance(space, str | Path) else ""


def text_of_data(data: object) -> str:
    """The data as a text; of an object, a text that stands for it in records and cannot be opened."""
    if isinstance(data, str):
        return data
    from evaluators.data.catalog import data_text

    return data_text(data)
