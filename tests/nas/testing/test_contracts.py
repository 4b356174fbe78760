"""Every space, device, searcher and the built-in evaluator keeps its contract; and whoever breaks one is caught.

What stands in a table is tested here without being named: a new space is one file and one row.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from evaluators.tasks.detection import DetectionTraining
from hardware_models.catalog import HARDWARE, load_hardware
from hardware_models.cost import Cost, NodeCost
from nas.cli.main import main
from nas.searchers.catalog import SEARCHERS, make_searcher
from nas.searchers.protocol import Outcome
from nas.testing.evaluators import EvaluatorContract
from nas.testing.hardware import HardwareContract
from nas.testing.searchers import SearcherContract, practice_space
from nas.testing.spaces import SpaceContract
from search_spaces.catalog import SPACES, SpaceRow, load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import Genotype, Rng, SpaceError
from search_spaces.space.space import Notation, Space


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost small networks more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- every space -----------------------------------------------------------------------------------------------------

# Whichever of them a space has
SMALL: dict[str, Any] = {"image_size": 32, "num_classes": 4, "width": 0.25, "channels": 8, "cells": 1, "modules": 1}
_EMO_PART: dict[str, Any] = {
    "depths": ((1,), (1,), (1, 2), (1,)),
    "widths": ((32,), (48,), (80,), (160,)),
    "expansions": (2,),
    "kernels": (3,),
    "head_dims": (16,),
}
# Parts with choices that open others; where none is named, the contract draws one
CUT_DOWN: dict[str, dict[str, Any]] = {
    "emo": {**_EMO_PART, "stem_widths": (24,)},
    "emov2": _EMO_PART,
    "leyolo": {
        "widths": ((8,), (8, 16), (8,), (8,)),
        "depths": ((1, 2), (1,), (1,)),
        "kernels": (3,),
        "expansions": (2,),
        "width_multiples": (1.0,),
    },
    "mobilenetv4": {
        "widths": ((32,), (48,), (80, 96), (160,), (256,)),
        "layers": ((1, 2), (1,), (1,)),
        "kernels": (3,),
        "expansions": (4,),
    },
}
# Spaces under options that change what is chosen or built, by name of the test
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "efficientnet_lite": ("efficientnet", {"lite": True}),
    "emo_detect": ("emo", {"task": "detect"}),
    "emov2_detect": ("emov2", {"task": "detect"}),
    "fbnet_timm": ("fbnet", {"implementation": "timm"}),
    "mobiledet_classify": ("mobiledet", {"task": "classify"}),
    "mobiledet_cpu": ("mobiledet", {"target": "cpu"}),
    "mobiledet_ibn": ("mobiledet", {"blocks": "ibn"}),
    "mobiledet_dsp_ibn_fused": ("mobiledet", {"target": "dsp", "blocks": "ibn+fused", "expansions": (3, 6)}),
    "mobilenetv2_detect": ("mobilenetv2", {"task": "detect"}),
    "mobilenetv3_detect": ("mobilenetv3", {"task": "detect"}),
    "mobilenetv3_small": ("mobilenetv3", {"size": "small"}),
    "mobilenetv4_hybrid": ("mobilenetv4", {"hybrid": True, "act": "gelu"}),
    "nasbench201_bias": ("nasbench201", {"zeros": "bias"}),
}


def contract_of(name: str, options: dict[str, Any], **settings: Any) -> type[SpaceContract]:
    """The contract tests of a named space."""

    def make_space(self: SpaceContract) -> Space:
        return load_space(name, **options)

    space = load_space(name, **options)
    small = {option: value for option, value in SMALL.items() if space.accepts(option)}
    cut_down = CUT_DOWN.get(name, {})
    return type(name, (SpaceContract,), {"make_space": make_space, "small": small, "cut_down": cut_down, **settings})


for _name in SPACES:
    globals()[f"Test_{_name}"] = contract_of(_name, {}, samples=8, trained=3)
    globals()[f"TestThousand_{_name}"] = pytest.mark.slow(contract_of(_name, {}, samples=1000, trained=1000))
for _name, (_space, _options) in VARIANTS.items():
    globals()[f"TestThousand_{_name}"] = pytest.mark.slow(contract_of(_space, _options, samples=1000, trained=50))


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_make_networks_and_genotypes_as_they_should(name: str) -> None:
    """The checks that need no exploration of the whole space; the others are among the slow ones."""
    space, options = VARIANTS[name]
    contract = contract_of(space, options, samples=3, trained=1)()
    contract.test_networks_count_what_their_modules_do()
    contract.test_networks_run_and_learn()
    contract.test_genotypes_survive_json_and_yaml()
    contract.test_notation_is_read_as_it_is_written()
    contract.test_a_mutation_changes_one_decision()
    contract.test_options_leave_the_choices_alone()


def test_no_space_of_the_table_is_missing() -> None:
    for name in SPACES:
        for prefix in ("Test_", "TestThousand_"):
            tested = globals()[prefix + name]
            assert issubclass(tested, SpaceContract)
            assert tested().make_space().name == name


class TestPractice(SpaceContract):
    """The small space that searchers are tried on."""

    small = {"image_size": 8}  # noqa: RUF012

    def make_space(self) -> Space:
        return Space(practice_space)

    def test_its_size_by_hand(self) -> None:
        layer = 2 * (2 + 2)  # a width, and two expansions or two kernels
        assert self.make_space().size() == 2 * (layer + layer**2 + layer**3) == 1168


# -- every space in a search -----------------------------------------------------------------------------------------


def searched(capsys: pytest.CaptureFixture[str], folder: Path, space: str, *more: str) -> Any:
    """The result of ``nas search`` with predicted cost and a score alone."""
    arguments = ["search", "--space", space, "--hw", "edgetpu", "--train", "0", "--directory", str(folder), "--json"]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, *more])
    out, err = capsys.readouterr()
    assert caught.value.code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_is_searched(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas

    result = searched(capsys, tmp_path, name, "--trials", "50")
    assert result["tally"]["scored"] == 50
    assert result["front"]
    table = pandas.read_csv(Path(result["directory"]) / "candidates.csv")
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
    result = searched(capsys, tmp_path, "toy", "--trials", "30")
    assert result["settings"]["space"] == "toy"
    assert result["tally"]["scored"] == 30
    assert {"depth", "width0"} <= set(result["front"][0]["genotype"])


# -- every device, every searcher, the built-in evaluator ------------------------------------------------------------


def checks_of(contract: type) -> list[str]:
    return [name for name in dir(contract) if name.startswith("test_")]


@pytest.mark.parametrize("check", checks_of(HardwareContract))
@pytest.mark.parametrize("name", HARDWARE)
def test_every_device(name: str, check: str) -> None:
    contract = type(name, (HardwareContract,), {"make_model": lambda self: load_hardware(name)})
    getattr(contract(), check)()


@pytest.mark.parametrize("check", checks_of(SearcherContract))
@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher(name: str, check: str) -> None:
    def make(self: object, space: Space, rng: Random, known: Any = ()) -> Any:
        return make_searcher(name, space, rng, known)

    contract = type(name, (SearcherContract,), {"make_searcher": make})
    getattr(contract(), check)()


class TestDetectionTraining(EvaluatorContract):
    def make_evaluator(self) -> Any:
        return DetectionTraining(image_size=64, width=0.25, steps=2, max_train_images=16, max_val_images=8)

    def make_wrong_graphs(self) -> list[Any]:
        classifier = load_space("mobilenetv2", image_size=64, width=0.25)
        larger = load_space("mobiledet", image_size=96, width=0.25)
        return [
            *super().make_wrong_graphs(),
            *[space.graph(space.sample(Random(0))) for space in (classifier, larger)],
        ]


# -- whoever breaks a contract is caught -----------------------------------------------------------------------------


class LyingGraph(Graph):
    """A graph that says something else of itself than it is."""

    lie = ""

    @property
    def macs(self) -> int:
        return super().macs + (self.lie == "macs")

    @property
    def params(self) -> int:
        return super().params + (self.lie == "params")

    def to_json(self) -> str:
        return super().to_json().replace('"bias":true', '"bias":false') if self.lie == "json" else super().to_json()


def lying(lie: str) -> Callable[..., Graph]:
    def function(choose: Choose, **options: Any) -> Graph:
        graph = practice_space(choose, **options)
        liar = LyingGraph(graph.pieces, graph.outputs, len(graph))
        liar.lie = lie
        return liar

    return function


def seldom_impossible(choose: Choose) -> Graph:
    b = Builder()
    width = choose.one_of("width", tuple(range(1, 500)))
    return b.build(b.conv(b.input((3, 8, 8)), width if width != 499 else 0, 3))


def overflowing(choose: Choose, *, image_size: int = 16) -> Graph:
    b = Builder()
    x = b.conv(b.input((3, image_size, image_size)), choose.one_of("width", (4, 8)), 3)
    return b.build(b.conv(b.scale(b.act(b.scale(x, 1e30), "relu"), 1e30), 4, 3))


def deeper_when_large(choose: Choose, *, image_size: int = 32) -> Graph:
    b = Builder()
    x = b.conv(b.input((3, image_size, image_size)), choose.one_of("width", (4, 8)), 3)
    return b.build(b.conv(x, choose.one_of("more", (4, 8)), 3) if image_size > 16 else x)


def from_elsewhere(choose: Choose) -> Graph:
    b = Builder()
    return b.build(b.linear(b.input((choose.one_of("width", (4, 8)),)), random.randrange(1, 1000)))


def counting_space() -> Callable[..., Graph]:
    made: list[int] = []

    def function(choose: Choose) -> Graph:
        made.append(choose.one_of("width", (4, 8)))
        b = Builder()
        return b.build(b.linear(b.input((made[-1],)), len(made)))

    return function


def one_width(choose: Choose, **options: Any) -> Graph:
    b = Builder()
    return b.build(b.linear(b.input((choose.one_of("width", (4,)),)), 2))


def forgetful(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {**json.loads(text[1:]), "stem": 4}


class Other(Space):
    """Spaces whose methods do something else than they should, each in a subclass."""

    def __init__(self) -> None:
        super().__init__(practice_space)

    def with_options(self, **options: Any) -> Space:
        return self

    def first(self) -> Genotype:
        return next(Space(practice_space).enumerate())


class TakesAnything(Other):
    def graph(self, genotype: Mapping[str, Any]) -> Graph:
        return super().graph(self.first())


class TakesAnyOption(Other):
    def graph(self, genotype: Mapping[str, Any]) -> Graph:
        known = {"stem": 4} if genotype.get("stem") not in (4, 8) else {}
        return super().graph(Genotype({**genotype, **known}))


class MutatesTwice(Other):
    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype:
        child = genotype
        while sum(child.get(n) != genotype[n] for n in genotype if n in child) < 2:
            child = super().mutate(child, rng)
        return child


class MutatesNothing(Other):
    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype:
        return genotype


class MutatesOutside(Other):
    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype:
        return Genotype({**genotype, "stem": 5})


class DrawsInCrossover(Other):
    def crossover(self, a: Genotype, b: Genotype, rng: Rng) -> Genotype:
        return self.sample(rng)


class CrossesOutside(Other):
    def crossover(self, a: Genotype, b: Genotype, rng: Rng) -> Genotype:
        return Genotype({n: v for n, v in a.items() if n != "stem"})


class DecodesTheFirst(Other):
    def decode(self, vector: Any) -> Genotype:
        return self.first()


class EncodesNoAbsence(Other):
    def encode(self, genotype: Mapping[str, Any]) -> Any:
        return super().encode(genotype).clip(0)


class HidesAChoice(Other):
    def decisions(self) -> dict[str, tuple[Any, ...]]:
        return {name: options for name, options in super().decisions().items() if name != "depth"}


class HidesAnOption(Other):
    def decisions(self) -> dict[str, tuple[Any, ...]]:
        return {name: options[:2] for name, options in super().decisions().items()}


class Listed(Other):
    """Few enough to list."""

    def __init__(self) -> None:
        Space.__init__(self, deeper_when_large)


class ListsOneLess(Listed):
    def enumerate(self) -> Iterator[Genotype]:
        return iter(list(super().enumerate())[1:])


class ListsOneTwice(Listed):
    def enumerate(self) -> Iterator[Genotype]:
        yield from super().enumerate()
        yield next(super().enumerate())


class CountsOneMore(Listed):
    def size(self) -> int:
        return super().size() + 1


class ParsesTheFirst(Other):
    def parse(self, text: str) -> Genotype:
        return self.first()


def notation(parse: Callable[..., Any]) -> Callable[[], Space]:
    return lambda: Space(
        practice_space, notation=Notation(parse, lambda decisions, options: "!" + json.dumps(dict(decisions)))
    )


def of(function: Callable[..., Graph]) -> Callable[[], Space]:
    return lambda: Space(function)


BROKEN_SPACES: list[tuple[str, Callable[[], Space], str]] = [
    ("every_option_of_every_choice_makes_a_network", of(seldom_impossible), "choice 'width' = 499"),
    ("networks_count_what_their_modules_do", of(lying("macs")), "MACs: the graph says"),
    ("networks_count_what_their_modules_do", of(lying("params")), "parameters: the graph says"),
    ("networks_run_and_learn", of(overflowing), "output 'output' is not finite; .* gradient that is not finite"),
    ("genotypes_survive_json_and_yaml", ParsesTheFirst, "comes back from Space.parse as"),
    ("notation_is_read_as_it_is_written", notation(forgetful), "is read as another network"),
    ("texts_that_are_no_architecture_are_errors", notation(forgetful), "the text '' ends in JSONDecodeError"),
    ("texts_that_are_no_architecture_are_errors", ParsesTheFirst, "the text '' is taken, not refused"),
    ("foreign_decisions_are_errors", TakesAnything, "a choice that there is not is taken, not refused"),
    ("foreign_decisions_are_errors", TakesAnyOption, "an option that 'stem' has not is taken, not refused"),
    ("a_mutation_changes_one_decision", MutatesTwice, "changed .*, "),
    ("a_mutation_changes_one_decision", MutatesNothing, "changed nothing"),
    ("a_mutation_changes_one_decision", MutatesOutside, "a mutation leads out of the space"),
    ("a_crossover_takes_from_its_parents", DrawsInCrossover, "a crossover made '.*' .*; its parents have"),
    ("a_crossover_takes_from_its_parents", CrossesOutside, "a crossover leads out of the space"),
    ("vectors_are_read_as_they_are_written", DecodesTheFirst, "comes back from its vector as"),
    ("vectors_are_read_as_they_are_written", EncodesNoAbsence, "-1 stands for"),
    ("decisions_cover_what_is_sampled", HidesAChoice, "lacks the choice 'depth'"),
    ("decisions_cover_what_is_sampled", HidesAnOption, "lacks the option 3 of 'depth'"),
    (
        "decisions_cover_what_is_sampled",
        lambda: Space(practice_space, cheap_twin=Space(one_width)),
        "lacks the choice 'stem'",
    ),
    ("the_size_is_what_enumeration_counts", ListsOneLess, "enumerate.* lists other genotypes than sample"),
    ("the_size_is_what_enumeration_counts", ListsOneTwice, "lists a genotype twice"),
    ("the_size_is_what_enumeration_counts", CountsOneMore, "size.* is 5, but there are 4 genotypes"),
    ("options_leave_the_choices_alone", of(deeper_when_large), "with other options the choices are others"),
    ("the_same_seed_draws_the_same_networks", of(from_elsewhere), "the same genotype makes two networks"),
    ("networks_survive_json", of(lying("json")), "comes back from JSON as another"),
    ("networks_do_not_depend_on_those_made_before", lambda: Space(counting_space()), "made in another order"),
]


@pytest.mark.parametrize(("check", "make", "message"), BROKEN_SPACES, ids=[f"{c}-{m}" for c, _, m in BROKEN_SPACES])
def test_a_broken_space_is_caught(check: str, make: Callable[[], Space], message: str) -> None:
    space = make()
    small = {"image_size": 16} if space.accepts("image_size") else {}
    contract = type("Broken", (SpaceContract,), {"make_space": lambda self: make(), "small": small, "samples": 12})
    with pytest.raises((AssertionError, SpaceError), match=message):
        getattr(contract(), f"test_{check}")()


SET_ORDER = """
from nas import Builder
def unordered(choose):
    b = Builder()
    for layer in range(8):  # the chance that all of them agree all the same is one in 20**8
        name = choose.one_of(f"name{layer}", tuple({f"option {i}" for i in range(20)}))
        net = b.linear(b.input((4,)) if not layer else net, int(name.split()[1]) + 1)
    return b.build(net)
"""


def test_a_space_that_depends_on_the_order_of_a_set_is_caught(tmp_path: Path) -> None:
    (tmp_path / "unordered.py").write_text(SET_ORDER)
    place = f"{tmp_path / 'unordered.py'}:unordered"
    contract = type("Broken", (SpaceContract,), {"make_space": lambda self: load_space(place)})
    contract().test_the_same_seed_draws_the_same_networks()
    with pytest.raises(AssertionError, match="in another process"):
        contract().test_another_process_draws_the_same_network()


class Priced:
    """The Edge TPU's costs, changed."""

    name = "priced"

    def __init__(self, change: Callable[[Cost, int], Cost] = lambda cost, calls: cost, name: str = "priced") -> None:
        self.model, self.change, self.name, self.calls = load_hardware("edgetpu"), change, name, 0

    def estimate(self, graph: Graph) -> Cost:
        self.calls += 1
        return self.change(self.model.estimate(graph), self.calls)


class TwiceTheInvocation:
    """A breakdown that counts a row twice."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost

    def breakdown(self) -> list[NodeCost]:
        rows = self.cost.breakdown()
        return [*rows, next(row for row in rows if row.index is None)]

    def peak_memory_kib(self) -> float | None:
        return self.cost.peak_memory_kib


def priced(**changes: Callable[[Cost], Any]) -> Callable[[], Any]:
    return lambda: Priced(lambda cost, calls: replace(cost, **{n: change(cost) for n, change in changes.items()}))


BROKEN_HARDWARE: list[tuple[str, Callable[[], Any], str]] = [
    ("it_is_a_hardware_model", object, "has no `name` or no `estimate`"),
    ("it_is_a_hardware_model", lambda: Priced(name=""), "the model's name is empty"),
    ("costs_are_positive_and_finite", priced(latency_ms=lambda cost: 0.0), "latency_ms is 0.0"),
    ("costs_are_positive_and_finite", priced(energy_mj=lambda cost: math.nan), "energy_mj is nan"),
    ("costs_are_positive_and_finite", priced(source=lambda cost: ""), "does not say its source"),
    ("the_breakdown_adds_up", priced(details=TwiceTheInvocation), "the breakdown adds up to"),
    ("the_breakdown_adds_up", priced(latency_ms=lambda cost: 2 * cost.latency_ms), "the breakdown adds up to"),
    ("the_interval_holds_the_estimate", priced(latency_low_ms=lambda cost: 2 * cost.latency_ms), "is not in"),
    ("the_interval_holds_the_estimate", priced(coverage=lambda cost: None), "all or none"),
    ("the_interval_holds_the_estimate", priced(coverage=lambda cost: 90.0), "is 90.0, not a share"),
    (
        "the_same_network_costs_the_same",
        lambda: Priced(slower_each_time),
        "costs .* and then",
    ),
    ("an_unknown_operation_is_named_and_not_free", priced(guessed_ops=lambda cost: ()), "is not among guessed_ops"),
    ("an_unknown_operation_is_named_and_not_free", priced(latency_ms=lambda cost: 1.0), "costs nothing"),
]


def slower_each_time(cost: Cost, calls: int) -> Cost:
    return replace(cost, latency_ms=cost.latency_ms * calls)


@pytest.mark.parametrize(("check", "make", "message"), BROKEN_HARDWARE, ids=[f"{c}-{m}" for c, _, m in BROKEN_HARDWARE])
def test_a_broken_hardware_model_is_caught(check: str, make: Callable[[], Any], message: str) -> None:
    contract = type("Broken", (HardwareContract,), {"make_model": lambda self: make()})
    with pytest.raises(AssertionError, match=message):
        getattr(contract(), f"test_{check}")()


@dataclass
class Quick:
    """An evaluator that trains nothing, and keeps its contract unless told otherwise."""

    label: str = "quick"
    time_limit_s: float = 5.0
    proxy: dict[str, Any] = field(default_factory=lambda: {"image_size": 64})
    deploy: dict[str, Any] = field(default_factory=dict)
    refuses: bool = True
    figure: Any = 0.5
    metric: str = "map"

    @property
    def name(self) -> str:
        return self.label

    def describe(self) -> str:
        return f"nothing, {self.label}"

    def check(self, graph: Graph) -> None:
        if self.refuses and len(graph.input_shape) != 3:
            raise ValueError(f"images are wanted, not {graph.input_shape}")

    def evaluate(self, graph: Graph, *, seed: int) -> dict[str, float]:
        return {self.metric: self.figure() if callable(self.figure) else self.figure}


class Forgetful(Quick):
    def cache_identity(self) -> dict[str, Any]:
        return {"evaluator": id(self)}


class TestQuick(EvaluatorContract):
    def make_evaluator(self) -> Any:
        return Quick()


BROKEN_EVALUATORS: list[tuple[str, Callable[[], Quick], str]] = [
    ("it_describes_itself", lambda: Quick(""), "name is empty"),
    ("it_describes_itself", lambda: Quick(time_limit_s=0.0), "time_limit_s is 0.0"),
    ("it_is_plain_data", lambda: Quick(proxy={"size": object()}), "proxy is no plain data"),
    ("it_is_plain_data", lambda: Quick(deploy={"scale": math.nan}), "deploy is no plain data"),
    ("it_takes_its_networks_and_refuses_others", lambda: Quick(refuses=False), "takes .*, which it cannot evaluate"),
    ("the_same_seed_gives_the_same_figures", lambda: Quick(figure=random.random), "and then"),
    ("the_same_seed_gives_the_same_figures", lambda: Quick(figure=lambda: float(torch.rand(()))), "and then"),
    ("figures_are_finite_numbers", lambda: Quick(figure=math.nan), "map is nan"),
    ("figures_are_finite_numbers", lambda: Quick(figure="0.5"), "map is '0.5', not a float"),
    ("figures_are_finite_numbers", lambda: Quick(metric="accuracy"), "gives accuracy, but not map"),
]


@pytest.mark.parametrize(
    ("check", "make", "message"), BROKEN_EVALUATORS, ids=[f"{c}-{m}" for c, _, m in BROKEN_EVALUATORS]
)
def test_a_broken_evaluator_is_caught(check: str, make: Callable[[], Quick], message: str) -> None:
    contract = type("Broken", (EvaluatorContract,), {"make_evaluator": lambda self: make()})
    with pytest.raises(AssertionError, match=message):
        getattr(contract(), f"test_{check}")()


def test_an_evaluator_whose_identity_changes_is_caught() -> None:
    kept: list[Forgetful] = []

    def make(self: object) -> Forgetful:
        kept.append(Forgetful())  # alive, so that no two have one id
        return kept[-1]

    contract = type("Broken", (EvaluatorContract,), {"make_evaluator": make})
    with pytest.raises(AssertionError, match=r"cache_identity.* and then"):
        contract().test_it_is_plain_data()


class Search:
    """Random search, in which subclasses break something."""

    def __init__(self, space: Space, rng: Random, known: Any) -> None:
        self.space, self.rng, self.known = space, rng, known
        self.open = 0

    def ask(self) -> Any:
        self.open += 1
        return self.space.sample(self.rng)

    def tell(self, outcome: Outcome) -> None:
        self.open -= 1


class AsksForDicts(Search):
    def ask(self) -> Any:
        return dict(super().ask())


class AsksOutside(Search):
    def ask(self) -> Any:
        return Genotype({**super().ask(), "stem": 5})


class DrawsFromElsewhere(Search):
    def ask(self) -> Any:
        return self.space.sample(random.Random(random.random()))


class OneAtATime(Search):
    def ask(self) -> Any:
        assert not self.open, "tell me first"
        return super().ask()


class FailsAtFailures(Search):
    def tell(self, outcome: Outcome) -> None:
        self.best = sum(round(loss) for loss in outcome.losses)


class FailsAtLimits(Search):
    def tell(self, outcome: Outcome) -> None:
        assert outcome.constraint_violation == 0, "no limits here"


class KeepsTheList(Search):
    def tell(self, outcome: Outcome) -> None:
        if self.known:
            self.known.append(outcome)


class WantsTwo(Search):
    def ask(self) -> Any:
        first = super().ask()
        if self.space.size() == 1:
            raise LookupError("nothing to vary")
        return first


BROKEN_SEARCHERS: list[tuple[str, type[Search], str]] = [
    ("it_asks_for_genotypes_of_the_space", AsksForDicts, "returned dict, not a Genotype"),
    ("it_asks_for_genotypes_of_the_space", AsksOutside, "leads out of the space"),
    ("the_same_seed_asks_for_the_same_genotypes", DrawsFromElsewhere, "is for another genotype"),
    ("several_asks_may_come_before_the_outcomes", OneAtATime, "tell me first"),
    ("failures_and_broken_limits_are_outcomes_too", FailsAtFailures, "cannot convert float infinity"),
    ("failures_and_broken_limits_are_outcomes_too", FailsAtLimits, "no limits here"),
    ("it_starts_from_known_outcomes", KeepsTheList, "changed the list of known outcomes"),
    ("a_space_of_one_network_is_asked_again_and_again", WantsTwo, "nothing to vary"),
]


@pytest.mark.parametrize(
    ("check", "made", "message"), BROKEN_SEARCHERS, ids=[m.__name__ for _, m, _ in BROKEN_SEARCHERS]
)
def test_a_broken_searcher_is_caught(check: str, made: type[Search], message: str) -> None:
    contract = type("Broken", (SearcherContract,), {"make_searcher": lambda self, *given: made(*given)})
    good = type("Good", (SearcherContract,), {"make_searcher": lambda self, *given: Search(*given)})
    getattr(good(), f"test_{check}")()
    with pytest.raises((AssertionError, OverflowError, LookupError), match=message):
        getattr(contract(), f"test_{check}")()


def test_every_check_has_one_who_breaks_it() -> None:
    tables: list[tuple[type, list[Any], set[str]]] = [
        (SpaceContract, BROKEN_SPACES, {"test_another_process_draws_the_same_network"}),
        (HardwareContract, BROKEN_HARDWARE, set()),
        (EvaluatorContract, BROKEN_EVALUATORS, set()),
        (SearcherContract, BROKEN_SEARCHERS, set()),
    ]
    for contract, broken, apart in tables:
        assert {f"test_{row[0]}" for row in broken} | apart == set(checks_of(contract))
