"""A space that breaks a check of ``SpaceContract`` is caught by it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from nas.testing import SpaceContract
from nas.testing.searchers import practice_space
from search_spaces.catalog import load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import Genotype, Rng, SpaceError
from search_spaces.space.notation import Notation
from search_spaces.space.space import Space
from tests.support.space_contracts import checks_of


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
    widths: list[int] = []

    def function(choose: Choose) -> Graph:
        widths.append(choose.one_of("width", (4, 8)))
        b = Builder()
        return b.build(b.linear(b.input((widths[-1],)), len(widths)))

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
        repaired = {"stem": 4} if genotype.get("stem") not in (4, 8) else {}
        return super().graph(Genotype({**genotype, **repaired}))


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
    path = f"{tmp_path / 'unordered.py'}:unordered"
    contract = type("Broken", (SpaceContract,), {"make_space": lambda self: load_space(path)})
    contract().test_the_same_seed_draws_the_same_networks()
    with pytest.raises(AssertionError, match="in another process"):
        contract().test_another_process_draws_the_same_network()


def test_every_check_is_broken_by_a_space() -> None:
    broken = {f"test_{check}" for check, _, _ in BROKEN_SPACES}
    assert broken | {"test_another_process_draws_the_same_network"} == set(checks_of(SpaceContract))
