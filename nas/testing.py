"""Contract tests for plug-ins: subclass one in a test file, say what to test, and pytest runs every check.

    from nas.testing import SpaceContract

    class TestMySpace(SpaceContract):
        small = {"image_size": 32}

        def make_space(self):
            return nas.load_space("my_package.my_space:my_space")

Each failure says in a line what was wrong and of which network. Nothing here needs more than pytest's collection:
the checks are plain methods, and may be called without it.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import islice
from math import inf, isclose, isfinite
from typing import TYPE_CHECKING, Any

from evaluators.quality import QualityEvaluator
from hardware_models.cost import Cost, HardwareModel
from nas.hashing import functional_hash
from nas.searchers import Outcome, Searcher
from search_spaces import blocks, heads
from search_spaces.builder import Builder
from search_spaces.catalog import load_network, load_space
from search_spaces.graph import Fragment, Graph, Node, Piece
from search_spaces.ops import OPS, Op
from search_spaces.space import Choose, Genotype, GenotypeError, Rng, Space, Value

if TYPE_CHECKING:
    import torch

NO_CHOICE = "no choice of any space"
_IDLE = 12  # choices of two options that bear on nothing: 4,096 times as many genotypes
_DRAW = """
import ast, json, random, sys
from nas import functional_hash, load_space
space = load_space(sys.argv[1], **ast.literal_eval(sys.argv[2]))
genotype = space.sample(random.Random(int(sys.argv[3])))
print(json.dumps([genotype.to_json(), functional_hash(space.graph(genotype))]))
"""


class SpaceContract:
    """What every search space keeps. Subclasses define ``make_space``, and options that keep the tests quick.

    ``samples``: random networks to look at. ``trained``: how many of them, at most, run forward and backward.
    ``small``: options, such as the image size, under which that takes little; they must leave the choices alone.
    ``cut_down``: options of the space, and ``only``: options of single choices by name, that leave few enough
    genotypes to list; where neither is given, a random part of up to ``listed`` genotypes is. ``where``: what
    ``nas.load_space`` takes for the space in another process; needed only where the function is no top-level function
    of a module or a file.
    """

    samples: int = 20
    trained: int = 5
    seed: int = 0
    small: Mapping[str, Any] = {}
    cut_down: Mapping[str, Any] = {}
    only: Mapping[str, Sequence[Value]] = {}
    listed: int = 100
    where: str = ""

    def make_space(self) -> Space:
        """The space, made anew."""
        raise NotImplementedError(f"{type(self).__name__} needs make_space, which returns the space to test")

    @property
    def space(self) -> Space:
        """The space that most checks share."""
        made = type(self).__dict__.get("_made")
        if not isinstance(made, Space):
            made = self.make_space()
            assert isinstance(made, Space), f"make_space returned {type(made).__name__}, not a Space"
            type(self)._made = made  # type: ignore[attr-defined]
        return made

    def draws(self, space: Space) -> Iterator[tuple[Genotype, Graph]]:
        """``samples`` random genotypes and their networks, the same at every call."""
        rng = random.Random(self.seed)
        for _ in range(self.samples):
            genotype = space.sample(rng)
            yield genotype, space.graph(genotype)

    def test_every_option_of_every_choice_makes_a_network(self) -> None:
        self.space.check(self.seed)

    def test_networks_count_what_their_modules_do(self) -> None:
        """Parameters, running statistics, shapes, and half of the operations that PyTorch's flop counter sees."""
        for genotype, graph in self.draws(self.space):
            differences = module_differences(graph)
            assert not differences, f"{genotype!r}: {'; '.join(differences)}"

    def test_networks_run_and_learn(self) -> None:
        for genotype, graph in islice(self.draws(self.space.with_options(**self.small)), self.trained):
            faults = training_faults(graph, self.seed)
            assert not faults, f"{genotype!r}: {'; '.join(faults)}"

    def test_genotypes_survive_json_and_yaml(self) -> None:
        for genotype, _ in self.draws(self.space):
            text = genotype.to_json()
            for way, again in (
                ("JSON", Genotype.from_json(text)),
                ("YAML", Genotype.from_yaml(genotype.to_yaml())),
                ("Space.parse", self.space.parse(text)),
            ):
                assert again == genotype, f"{genotype!r} comes back from {way} as {again!r}"
                assert again.to_json() == text, f"{way} changes the order or the type of a decision: {text}"

    def test_notation_is_read_as_it_is_written(self) -> None:
        for genotype, graph in self.draws(self.space):
            text = self.space.format(genotype)
            again = self.space.parse(text)
            same = again == genotype or functional_hash(self.space.graph(again)) == functional_hash(graph)
            assert same, f"{genotype!r} is written {text!r}, which is read as another network: {again!r}"

    def test_texts_that_are_no_architecture_are_errors(self) -> None:
        for text in ("", "no such architecture", "{", "[1, 2]", f'{{"{NO_CHOICE}": 1}}', ":,;|+~ -1 0x"):
            self._refused(f"the text {text!r}", partial(self.space.parse, text))

    def test_foreign_decisions_are_errors(self) -> None:
        for genotype, _ in islice(self.draws(self.space), 5):
            own = dict(genotype)
            wrong: list[tuple[str, dict[str, Value]]] = [("a choice that there is not", {**own, NO_CHOICE: 1})]
            for name in own:
                wrong.append((f"an option that {name!r} has not", {**own, name: NO_CHOICE}))
                wrong.append((f"a genotype without {name!r}", {n: v for n, v in own.items() if n != name}))
            for what, decisions in wrong:
                self._refused(what, partial(self.space.graph, Genotype(decisions)))

    def test_a_mutation_changes_one_decision(self) -> None:
        """One that parent and child both made; those that this opens or closes come and go with it."""
        rng = random.Random(self.seed + 1)
        for parent, _ in self.draws(self.space):
            child = self.space.mutate(parent, rng)
            changed = [n for n, value in parent.items() if n in child and child[n] != value]
            # decisions() takes long in large spaces, and is asked only of a parent that came back
            free = bool(changed) or any(len(self.space.decisions()[name]) > 1 for name in parent)
            assert len(changed) == free, f"a mutation of {parent!r} changed {changed or 'nothing'}: {child!r}"
            self._inside(child, "a mutation")

    def test_a_crossover_takes_from_its_parents(self) -> None:
        rng = random.Random(self.seed + 1)
        parents = [genotype for genotype, _ in self.draws(self.space)]
        for a, b in zip(parents, [*parents[1:], parents[0]], strict=True):
            child = self.space.crossover(a, b, rng)
            self._inside(child, "a crossover")
            for name, value in child.items():
                had = [parent[name] for parent in (a, b) if name in parent]
                assert not had or value in had, f"a crossover made {name!r} {value!r}; its parents have {had}"

    def test_vectors_are_read_as_they_are_written(self) -> None:
        table = self.space.decisions()
        for genotype, _ in self.draws(self.space):
            vector = self.space.encode(genotype)
            assert len(vector) == len(table), f"a vector has {len(vector)} entries for {len(table)} choices"
            unmade = [name for name, place in zip(table, vector, strict=True) if place == -1]
            assert set(unmade) == set(table) - set(genotype), f"-1 stands for {unmade} in the vector of {genotype!r}"
            again = self.space.decode(vector)
            assert again == genotype, f"{genotype!r} comes back from its vector as {again!r}"

    def test_decisions_cover_what_is_sampled(self) -> None:
        table = self.space.decisions()
        for genotype, _ in self.draws(self.space):
            for name, value in genotype.items():
                assert name in table, f"decisions() lacks the choice {name!r}, which {genotype!r} makes"
                assert value in table[name], f"decisions() lacks the option {value!r} of {name!r}"

    def test_the_size_is_what_enumeration_counts(self) -> None:
        """On the part that can be listed, and on that part beside idle choices, which has to be counted."""
        part = self.part()
        genotypes = list(part.enumerate())
        assert len(set(genotypes)) == len(genotypes), "enumerate() lists a genotype twice"
        table = part.decisions()
        chances = [_chance([len(table[name]) for name in genotype]) for genotype in genotypes]
        assert sum(chances) == 1, "enumerate() lists other genotypes than sample() draws"
        listed = set(genotypes)
        for genotype, _ in self.draws(part):
            assert genotype in listed, f"enumerate() does not list {genotype!r}, which sample() draws"
        assert part.size() == len(genotypes), f"size() is {part.size()}, but there are {len(genotypes)} genotypes"
        counted = with_idle_choices(part, _IDLE).size()
        assert counted == len(genotypes) << _IDLE, f"{len(genotypes)} genotypes are counted as {counted / 2**_IDLE:g}"

    def test_options_leave_the_choices_alone(self) -> None:
        """Under the options ``small``, the space has the same genotypes: searches train networks at a small scale."""
        small = self.space.with_options(**self.small)
        for here, there in ((self.space, small), (small, self.space)):
            for genotype, _ in self.draws(here):
                try:
                    there.graph(Genotype(dict(genotype)))
                except GenotypeError as error:
                    raise AssertionError(f"with other options the choices are others: {error}") from error

    def test_the_same_seed_draws_the_same_networks(self) -> None:
        with other_global_seeds(1):
            first = [(genotype.to_json(), graph.digest) for genotype, graph in self.draws(self.make_space())]
        with other_global_seeds(2):
            again = [(genotype.to_json(), graph.digest) for genotype, graph in self.draws(self.make_space())]
        for one, other in zip(first, again, strict=True):
            assert one[0] == other[0], f"the same seed draws {one[0]} and then {other[0]}"
            assert one[1] == other[1], f"the same genotype makes two networks: {one[0]}"

    def test_another_process_draws_the_same_network(self) -> None:
        """With another seed of Python's own hashes, which the order of sets depends on."""
        import pytest

        space = self.make_space()
        where = self.where or _address(space)
        if not where:
            pytest.skip("another process cannot load a function that is made in another; set `where`")
        options = repr(dict(space.options))
        try:
            ast.literal_eval(options)
        except (ValueError, SyntaxError):
            pytest.skip("another process cannot be told options that are no plain data")
        other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": other}
        command = [sys.executable, "-c", _DRAW, where, options, str(self.seed)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert run.returncode == 0, f"another process cannot make the space: {run.stderr.strip()[-500:]}"
        genotype = space.sample(random.Random(self.seed))
        here = [genotype.to_json(), functional_hash(space.graph(genotype))]
        there = json.loads(run.stdout)
        assert there == here, f"seed {self.seed} draws {here[0]} here and {there[0]} in another process, keys {here[1]}"

    def test_networks_survive_json(self) -> None:
        for genotype, graph in self.draws(self.space):
            again = Graph.from_json(graph.to_json())
            assert again.digest == graph.digest, f"the graph of {genotype!r} comes back from JSON as another"
            same = functional_hash(again) == functional_hash(graph)
            assert same, f"the graph of {genotype!r} comes back from JSON with another key"

    def test_networks_do_not_depend_on_those_made_before(self) -> None:
        first = list(self.draws(self.make_space()))
        other = self.make_space()
        for genotype, graph in reversed(first):
            again = other.graph(Genotype(dict(genotype)))
            assert again.digest == graph.digest, f"made in another order, {genotype!r} is another network"

    def part(self) -> Space:
        """A part of the space that is small enough to list."""
        space = self.space.with_options(**{**self.small, **self.cut_down})
        if self.only:
            return narrowed(space, self.only)
        if self.cut_down or self.space.size() <= self.listed:
            return space
        return random_part(space, self.space.decisions(), random.Random(self.seed), self.listed)

    def _refused(self, what: str, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except GenotypeError as error:
            message = str(error)
        except Exception as error:  # whatever a plug-in raises
            raise AssertionError(f"{what} ends in {type(error).__name__} ({error}), not in a GenotypeError") from error
        else:
            raise AssertionError(f"{what} is taken, not refused with a GenotypeError")
        assert message.strip(), f"{what} is refused without a word"

    def _inside(self, child: Genotype, what: str) -> None:
        try:
            self.space.graph(Genotype(dict(child)))
        except GenotypeError as error:
            raise AssertionError(f"{what} leads out of the space: {error}") from error


def _chance(options: Sequence[int]) -> Fraction:
    """How often a genotype is drawn whose choices have so many options."""
    chance = Fraction(1)
    for count in options:
        chance /= count
    return chance


def _address(space: Space) -> str:
    """What ``load_space`` takes for the space elsewhere; empty where nothing is known."""
    module, name = getattr(space.function, "__module__", ""), getattr(space.function, "__qualname__", "")
    if not module or not name.isidentifier() or module == "__main__":
        return ""
    if module.startswith("nas_file_"):
        return f"{sys.modules[module].__file__}:{name}"
    return f"{module}:{name}"


@contextmanager
def other_global_seeds(seed: int) -> Iterator[None]:
    """Run with the global random sources seeded so; what draws from them, and not from its own, shows."""
    import numpy
    import torch

    kept = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        numpy.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


# -- parts of spaces -------------------------------------------------------------------------------------------------


class _Fewer:
    """A chooser that offers fewer options to the one behind it."""

    def __init__(self, choose: Choose, only: Mapping[str, Sequence[Value]]) -> None:
        self._choose = choose
        self._only = only

    def one_of(self, name: str, options: Sequence[Any]) -> Any:
        kept = self._only.get(name)
        return self._choose.one_of(name, options if kept is None else [o for o in options if o in kept])

    def int(self, name: str, low: int, high: int) -> Any:
        return self.one_of(name, range(low, high + 1))


def narrowed(space: Space, only: Mapping[str, Sequence[Value]]) -> Space:
    """``space`` with fewer options of the choices that ``only`` names."""

    def function(choose: Choose, **options: Any) -> Graph:
        return space.function(_Fewer(choose, only), **options)

    return Space(function, space.name, space.options)


def random_part(space: Space, table: Mapping[str, Sequence[Value]], rng: Rng, listed: int) -> Space:
    """A part of at most ``listed`` genotypes: choices with two of their options, as many as that allows, else one.

    ``table`` holds the choices of ``space`` with their options.
    """
    genotype = space.sample(rng)
    only: dict[str, tuple[Value, ...]] = {n: (genotype.get(n, options[0]),) for n, options in table.items()}
    names = [name for name, options in table.items() if len(options) > 1]
    for _ in range(min(12, len(names))):
        name = names.pop(int(rng.random() * len(names)))
        others = [o for o in table[name] if o not in only[name]]
        wider = {**only, name: (*only[name], others[int(rng.random() * len(others))])}
        if sum(1 for _ in islice(narrowed(space, wider).enumerate(), listed + 1)) > listed:
            break
        only = wider
    return narrowed(space, only)


def with_idle_choices(space: Space, count: int) -> Space:
    """``space`` with ``count`` more choices of two options each, which change nothing: 2**count times its size."""

    def function(choose: Choose, **options: Any) -> Graph:
        for number in range(count):
            choose.one_of(f"idle {number}", (False, True))
        return space.function(choose, **options)

    return Space(function, space.name, space.options)


# -- networks --------------------------------------------------------------------------------------------------------


def _by_name(graph: Graph, made: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return made if isinstance(made, dict) else {graph.outputs[0][0]: made}


def module_differences(graph: Graph) -> list[str]:
    """Where the graph's counts are not those of its module, which runs without memory or arithmetic."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from search_spaces.module import GraphModule

    batch = 2
    with torch.device("meta"):
        module = GraphModule(graph).eval()
        inputs = [torch.empty(batch, *shape) for shape in graph.input_shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made = _by_name(graph, module(*inputs))
    params = sum(p.numel() for p in module.parameters())
    statistics = sum(b.numel() for n, b in module.named_buffers() if not n.endswith("num_batches_tracked"))
    pairs: list[tuple[str, object, object]] = [
        ("parameters", graph.params, params),
        ("variables", graph.variables, params + statistics),
        ("MACs", graph.macs, counter.get_total_flops() / 2 / batch),
        ("output shapes", graph.output_shapes, {name: tuple(value.shape[1:]) for name, value in made.items()}),
    ]
    return [f"{what}: the graph says {said}, its module has {has}" for what, said, has in pairs if said != has]


def training_faults(graph: Graph, seed: int) -> list[str]:
    """What goes wrong in a step of training: outputs or gradients that are no finite numbers, or not there."""
    import torch

    from search_spaces.module import to_module

    draws = torch.Generator().manual_seed(seed)
    module = to_module(graph, seed).train()
    made = _by_name(graph, module(*[torch.randn(2, *shape, generator=draws) for shape in graph.input_shapes]))
    faults = [f"output {name!r} is not finite" for name, value in made.items() if not value.isfinite().all()]
    shapes = {name: tuple(value.shape[1:]) for name, value in made.items()}
    faults += [] if shapes == graph.output_shapes else [f"outputs are {shapes}, not {graph.output_shapes}"]
    trained = [value.square().mean() for value in made.values() if value.requires_grad]
    if trained:
        torch.stack(trained).sum().backward()  # type: ignore[no-untyped-call]
    used = _leading_to_outputs(graph)
    for name, parameter in module.named_parameters():
        index = int(name.split(".")[1])
        if index in used and (parameter.grad is None or not parameter.grad.isfinite().all()):
            what = "no gradient" if parameter.grad is None else "a gradient that is not finite"
            faults.append(f"{name} of node {index} ({graph.nodes[index].op}) has {what}")
    return faults


def _leading_to_outputs(graph: Graph) -> set[int]:
    used = {index for _, index in graph.outputs}
    for index in range(len(graph) - 1, -1, -1):
        if index in used:
            used.update(graph.nodes[index].inputs)
    return used


# -- hardware models -------------------------------------------------------------------------------------------------

MYSTERY = "operation of another world"


@contextmanager
def unknown_operation(known: Sequence[str] = ("conv",)) -> Iterator[tuple[Graph, Graph]]:
    """A small network, and the same with an operation behind it that no table has outside of this context."""
    shape = (8, 16, 16)
    b = Builder()
    graph = b.build({"out": b.conv(b.input((3, 16, 16)), 8, 3)})
    OPS[MYSTERY] = Op((), lambda inputs, attrs: inputs[0])
    try:
        end = len(graph)
        mystery = Fragment((Node(MYSTERY, (), (-1,), shape),), (0,), (shape,))
        piece = Piece(mystery, (end - 1,), (graph.nodes[-1].op,), end)
        yield graph, Graph((*graph.pieces, piece), (("out", end),), end + 1)
    finally:
        del OPS[MYSTERY]


class HardwareContract:
    """What every hardware model keeps. Subclasses define ``make_model``.

    ``networks``: published networks to price, at ``image_size``; together they have squeeze-excite, hard swish,
    attention and resizing.
    """

    networks: Sequence[str] = ("mobilenetv2", "mobiledet_cpu", "emo_1m", "leyolo_nano")
    image_size: int = 64

    def make_model(self) -> HardwareModel:
        """The model, made anew."""
        raise NotImplementedError(f"{type(self).__name__} needs make_model, which returns the hardware model to test")

    def graphs(self) -> Iterator[tuple[str, Graph]]:
        """Networks to price, by name."""
        for name in self.networks:
            yield name, load_network(name, image_size=self.image_size)

    def test_it_is_a_hardware_model(self) -> None:
        model = self.make_model()
        assert isinstance(model, HardwareModel), f"{type(model).__name__} has no `name` or no `estimate`"
        assert isinstance(model.name, str), f"the model's name is {model.name!r}, not a text"
        assert model.name, "the model's name is empty"

    def test_costs_are_positive_and_finite(self) -> None:
        for name, cost in self._costs():
            assert isinstance(cost, Cost), f"{name}: estimate returned {type(cost).__name__}, not a Cost"
            assert cost.source, f"{name}: the cost does not say its source"
            for metric, value in cost.metrics().items():
                assert isfinite(value), f"{name}: {metric} is {value!r}"
                assert value > 0, f"{name}: {metric} is {value!r}"

    def test_the_breakdown_adds_up(self) -> None:
        for (name, graph), (_, cost) in zip(self.graphs(), self._costs(), strict=True):
            rows = cost.breakdown()
            for row in rows:
                assert row.latency_ms >= 0, f"{name}: {row.op} of node {row.index} takes {row.latency_ms!r} ms"
                own = row.index is None or (0 <= row.index < len(graph) and graph.nodes[row.index].op == row.op)
                assert own, f"{name}: the breakdown has a row of node {row.index}, {row.op}, which there is not"
            indices = [row.index for row in rows if row.index is not None]
            assert len(set(indices)) == len(indices), f"{name}: the breakdown has two rows of one node"
            total = sum(row.latency_ms for row in rows)
            assert not rows or isclose(total, cost.latency_ms, rel_tol=1e-6), (
                f"{name}: the breakdown adds up to {total} ms, not to {cost.latency_ms} ms"
            )

    def test_the_interval_holds_the_estimate(self) -> None:
        for name, cost in self._costs():
            low, high = cost.latency_low_ms, cost.latency_high_ms
            given = {low is None, high is None, cost.coverage is None}
            assert len(given) == 1, f"{name}: an interval is latency_low_ms, latency_high_ms and coverage, all or none"
            if low is not None and high is not None and cost.coverage is not None:
                assert low <= cost.latency_ms <= high, f"{name}: {cost.latency_ms} ms is not in {low} to {high} ms"
                assert 0 < cost.coverage < 1, f"{name}: the coverage is {cost.coverage!r}, not a share"

    def test_the_same_network_costs_the_same(self) -> None:
        """Priced again, by another model made alike, in another process's copy, and read from JSON."""
        model, other = self.make_model(), self.make_model()
        copied: HardwareModel = pickle.loads(pickle.dumps(self.make_model()))  # noqa: S301  # our own bytes
        for name, graph in self.graphs():
            cost = model.estimate(graph)
            with other_global_seeds(1):
                others = [
                    m.estimate(g) for m in (model, other, copied) for g in (graph, Graph.from_json(graph.to_json()))
                ]
            for again in others:
                assert again == cost, f"{name} costs {cost} and then {again}"
                assert again.metrics() == cost.metrics(), f"{name} costs {cost.metrics()} and then {again.metrics()}"

    def test_an_unknown_operation_is_named_and_not_free(self) -> None:
        with unknown_operation() as (without, graph):
            cost, known = self.make_model().estimate(graph), self.make_model().estimate(without)
        named = [kind for kind in (*cost.guessed_ops, *cost.fallback_ops) if kind.startswith(MYSTERY)]
        assert named, f"an operation that is in no table is not among guessed_ops, {cost.guessed_ops}"
        assert cost.latency_ms > known.latency_ms, "an operation that is in no table costs nothing"

    def _costs(self) -> Iterator[tuple[str, Cost]]:
        model = self.make_model()
        for name, graph in self.graphs():
            yield name, model.estimate(graph)


# -- quality evaluators ----------------------------------------------------------------------------------------------


class EvaluatorContract:
    """What every quality evaluator keeps. Subclasses define ``make_evaluator``; one that takes little time.

    ``space``: whose networks it evaluates, built with its ``proxy`` options and under a head for its ``task``.
    """

    space: str = "mobiledet"
    seed: int = 0

    def make_evaluator(self) -> QualityEvaluator:
        """The evaluator, made anew."""
        raise NotImplementedError(f"{type(self).__name__} needs make_evaluator, which returns the evaluator to test")

    def make_graph(self, evaluator: QualityEvaluator) -> Graph:
        """A network that it can evaluate."""
        from search_spaces.tasks import space_for

        space = load_space(self.space)
        task = getattr(evaluator, "task", "")
        space = space_for(space, task) if task else space
        space = space.with_options(**{n: v for n, v in evaluator.proxy.items() if space.accepts(n)})
        return space.graph(space.sample(random.Random(self.seed)))

    def make_wrong_graphs(self) -> Sequence[Graph]:
        """Networks that it cannot evaluate; empty where it takes any."""
        b = Builder()
        return [b.build(b.linear(b.input((5,)), 2))]

    def test_it_describes_itself(self) -> None:
        evaluator = self.make_evaluator()
        for what, text in (("name", evaluator.name), ("describe()", evaluator.describe())):
            assert isinstance(text, str), f"{what} is {text!r}, not a text"
            assert text, f"{what} is empty"
        assert evaluator.time_limit_s > 0, f"time_limit_s is {evaluator.time_limit_s!r}; it must be above 0"

    def test_it_is_plain_data(self) -> None:
        evaluator = self.make_evaluator()
        identity: Callable[[], dict[str, Any]] = getattr(evaluator, "cache_identity", dict)
        for what, value in (
            ("proxy", evaluator.proxy),
            ("deploy", evaluator.deploy),
            ("cache_identity()", identity()),
        ):
            assert _is_plain(value), f"{what} is no plain data that JSON keeps: {value!r}"
        again: dict[str, Any] = getattr(self.make_evaluator(), "cache_identity", dict)()
        assert again == identity(), f"cache_identity() is {identity()} and then {again}"
        copied: QualityEvaluator = pickle.loads(pickle.dumps(evaluator))  # noqa: S301  # our own bytes
        assert copied.describe() == evaluator.describe(), "a copy for another process describes itself differently"

    def test_it_takes_its_networks_and_refuses_others(self) -> None:
        evaluator = self.make_evaluator()
        evaluator.check(self.make_graph(evaluator))
        for graph in self.make_wrong_graphs():
            try:
                evaluator.check(graph)
            except ValueError as error:
                message = str(error)
            else:
                raise AssertionError(f"check() takes {graph!r}, which it cannot evaluate")
            assert message.strip(), "check() refuses a network without a word"

    def test_the_same_seed_gives_the_same_figures(self) -> None:
        """From an evaluator made alike, and whatever the global random sources are at."""
        first, again = self.make_evaluator(), self.make_evaluator()
        graph = self.make_graph(first)
        with other_global_seeds(1):
            figures = first.evaluate(graph, seed=self.seed)
        with other_global_seeds(2):
            repeated = again.evaluate(graph, seed=self.seed)
        assert figures == repeated, f"seed {self.seed} gives {figures} and then {repeated}"

    def test_figures_are_finite_numbers(self) -> None:
        evaluator = self.make_evaluator()
        figures = evaluator.evaluate(self.make_graph(evaluator), seed=self.seed)
        quality = getattr(evaluator, "quality", "map")
        assert quality in figures, f"evaluate() gives {', '.join(figures)}, but not {quality}"
        for name, value in figures.items():
            assert isinstance(value, float), f"{name} is {value!r}, not a float"
            assert isfinite(value), f"{name} is {value!r}"


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == _listed(value))
    except (TypeError, ValueError):
        return False


def _listed(value: Any) -> Any:
    """``value`` with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: _listed(v) for name, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value


# -- searchers -------------------------------------------------------------------------------------------------------


def practice_space(choose: Choose, *, image_size: int = 16, num_classes: int = 4) -> Graph:
    """A small space with choices that come and go: 1,168 genotypes, of quick networks."""
    b = Builder()
    x = blocks.conv_norm_act(b, b.input((3, image_size, image_size)), choose.one_of("stem", (4, 8)), 3, 2)
    for layer in range(choose.int("depth", 1, 3)):
        width = choose.one_of(f"layer{layer}.width", (4, 8))
        if choose.one_of(f"layer{layer}.bottleneck", (False, True)):
            expansion = choose.one_of(f"layer{layer}.expansion", (2, 3))
            x = blocks.inverted_bottleneck(b, x, width, expanded=expansion * x.channels)
        else:
            x = blocks.conv_norm_act(b, x, width, choose.one_of(f"layer{layer}.kernel", (1, 3)))
    return b.build(heads.classifier(b, x, num_classes))


def _one_network(choose: Choose) -> Graph:
    b = Builder()
    return b.build(b.linear(b.input((choose.one_of("width", (4,)),)), 2))


class SearcherContract:
    """What every searcher keeps (``nas.searchers.Searcher``). Subclasses define ``make_searcher``.

    ``asks``: genotypes to ask for in each check, more than a first population where the searcher has one.
    """

    asks: int = 150
    seed: int = 0

    def make_searcher(self, space: Space, rng: random.Random, known: Sequence[Outcome] = ()) -> Searcher:
        """The searcher on ``space``, with that random source, starting from ``known`` outcomes."""
        raise NotImplementedError(f"{type(self).__name__} needs make_searcher, which returns the searcher to test")

    def test_it_asks_for_genotypes_of_the_space(self) -> None:
        for objectives in (1, 2, 3):
            self._play(objectives=objectives)

    def test_the_same_seed_asks_for_the_same_genotypes(self) -> None:
        with other_global_seeds(1):
            first = self._play()
        with other_global_seeds(2):
            again = self._play()
        different = [n for n, (one, other) in enumerate(zip(first, again, strict=True)) if one != other]
        assert not different, f"with the same seed and outcomes, ask {different[:1]} is for another genotype"

    def test_several_asks_may_come_before_the_outcomes(self) -> None:
        self._play(batch=16)

    def test_failures_and_broken_limits_are_outcomes_too(self) -> None:
        """All failed, all beyond the limits, and some of each."""
        for share, excess in ((1.0, 0.0), (0.0, 1.0), (0.3, 0.5)):
            self._play(failed=share, excess=excess)

    def test_it_starts_from_known_outcomes(self) -> None:
        space, rng = Space(practice_space), random.Random(self.seed)
        known = [_outcome(space.sample(rng), rng, 2, 0.1, 0.5) for _ in range(100)]
        told = list(known)
        self._play(known=known)
        assert known == told, "the searcher changed the list of known outcomes, which belongs to the caller"

    def test_a_space_of_one_network_is_asked_again_and_again(self) -> None:
        asked = self._play(space=Space(_one_network))
        assert len(set(asked)) == 1

    def _play(
        self,
        *,
        space: Space | None = None,
        objectives: int = 2,
        batch: int = 1,
        failed: float = 0.0,
        excess: float = 0.0,
        known: Sequence[Outcome] = (),
    ) -> list[Genotype]:
        """Ask, and tell random outcomes; the genotypes that were asked for."""
        space = space or Space(practice_space)
        searcher = self.make_searcher(space, random.Random(self.seed), known)
        rng = random.Random(self.seed + 1)
        asked: list[Genotype] = []
        while len(asked) < self.asks:
            wave = [searcher.ask() for _ in range(batch)]
            for genotype in wave:
                assert isinstance(genotype, Genotype), f"ask() returned {type(genotype).__name__}, not a Genotype"
                try:
                    space.graph(Genotype(dict(genotype)))
                except GenotypeError as error:
                    raise AssertionError(f"ask() leads out of the space: {error}") from error
            asked += wave
            for genotype in wave:
                searcher.tell(_outcome(genotype, rng, objectives, failed, excess))
        return asked


def _outcome(genotype: Genotype, rng: random.Random, objectives: int, failed: float, excess: float) -> Outcome:
    losses = tuple([rng.random() for _ in range(objectives)])
    over = rng.random() if rng.random() < excess else 0.0
    return Outcome(genotype, (inf,) * objectives if rng.random() < failed else losses, over)
