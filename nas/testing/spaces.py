"""Contract tests for plug-ins: subclass one in a test file, say what to test, and pytest runs every check.

    from nas.testing.spaces import SpaceContract

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
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from nas.hashing import functional_hash
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError, Rng
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import torch


UNKNOWN_CHOICE = "no choice of any space"


_IDLE_CHOICES = 12  # choices of two options that bear on nothing: 4,096 times as many genotypes


_SAMPLE_SCRIPT = """
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
    only: Mapping[str, Sequence[DecisionValue]] = {}
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

    def sampled_networks(self, space: Space) -> Iterator[tuple[Genotype, Graph]]:
        """``samples`` random genotypes and their networks, the same at every call."""
        rng = random.Random(self.seed)
        for _ in range(self.samples):
            genotype = space.sample(rng)
            yield genotype, space.graph(genotype)

    def test_every_option_of_every_choice_makes_a_network(self) -> None:
        self.space.check(self.seed)

    def test_networks_count_what_their_modules_do(self) -> None:
        """Parameters, running statistics, shapes, and half of the operations that PyTorch's flop counter sees."""
        for genotype, graph in self.sampled_networks(self.space):
            differences = module_differences(graph)
            assert not differences, f"{genotype!r}: {'; '.join(differences)}"

    def test_networks_run_and_learn(self) -> None:
        for genotype, graph in islice(self.sampled_networks(self.space.with_options(**self.small)), self.trained):
            faults = training_faults(graph, self.seed)
            assert not faults, f"{genotype!r}: {'; '.join(faults)}"

    def test_genotypes_survive_json_and_yaml(self) -> None:
        for genotype, _ in self.sampled_networks(self.space):
            text = genotype.to_json()
            for way, again in (
                ("JSON", Genotype.from_json(text)),
                ("YAML", Genotype.from_yaml(genotype.to_yaml())),
                ("Space.parse", self.space.parse(text)),
            ):
                assert again == genotype, f"{genotype!r} comes back from {way} as {again!r}"
                assert again.to_json() == text, f"{way} changes the order or the type of a decision: {text}"

    def test_notation_is_read_as_it_is_written(self) -> None:
        for genotype, graph in self.sampled_networks(self.space):
            text = self.space.format(genotype)
            again = self.space.parse(text)
            same = again == genotype or functional_hash(self.space.graph(again)) == functional_hash(graph)
            assert same, f"{genotype!r} is written {text!r}, which is read as another network: {again!r}"

    def test_texts_that_are_no_architecture_are_errors(self) -> None:
        for text in ("", "no such architecture", "{", "[1, 2]", f'{{"{UNKNOWN_CHOICE}": 1}}', ":,;|+~ -1 0x"):
            self._assert_refused(f"the text {text!r}", partial(self.space.parse, text))

    def test_foreign_decisions_are_errors(self) -> None:
        for genotype, _ in islice(self.sampled_networks(self.space), 5):
            own = dict(genotype)
            wrong: list[tuple[str, dict[str, DecisionValue]]] = [
                ("a choice that there is not", {**own, UNKNOWN_CHOICE: 1})
            ]
            for name in own:
                wrong.append((f"an option that {name!r} has not", {**own, name: UNKNOWN_CHOICE}))
                wrong.append((f"a genotype without {name!r}", {n: v for n, v in own.items() if n != name}))
            for what, decisions in wrong:
                self._assert_refused(what, partial(self.space.graph, Genotype(decisions)))

    def test_a_mutation_changes_one_decision(self) -> None:
        """One that parent and child both made; those that this opens or closes come and go with it."""
        rng = random.Random(self.seed + 1)
        for parent, _ in self.sampled_networks(self.space):
            child = self.space.mutate(parent, rng)
            changed = [n for n, value in parent.items() if n in child and child[n] != value]
            # decisions() takes long in large spaces, and is asked only of a parent that came back
            free = bool(changed) or any(len(self.space.decisions()[name]) > 1 for name in parent)
            assert len(changed) == free, f"a mutation of {parent!r} changed {changed or 'nothing'}: {child!r}"
            self._assert_in_space(child, "a mutation")

    def test_a_crossover_takes_from_its_parents(self) -> None:
        rng = random.Random(self.seed + 1)
        parents = [genotype for genotype, _ in self.sampled_networks(self.space)]
        for a, b in zip(parents, [*parents[1:], parents[0]], strict=True):
            child = self.space.crossover(a, b, rng)
            self._assert_in_space(child, "a crossover")
            for name, value in child.items():
                had = [parent[name] for parent in (a, b) if name in parent]
                assert not had or value in had, f"a crossover made {name!r} {value!r}; its parents have {had}"

    def test_vectors_are_read_as_they_are_written(self) -> None:
        table = self.space.decisions()
        for genotype, _ in self.sampled_networks(self.space):
            vector = self.space.encode(genotype)
            assert len(vector) == len(table), f"a vector has {len(vector)} entries for {len(table)} choices"
            unmade = [name for name, option_number in zip(table, vector, strict=True) if option_number == -1]
            assert set(unmade) == set(table) - set(genotype), f"-1 stands for {unmade} in the vector of {genotype!r}"
            again = self.space.decode(vector)
            assert again == genotype, f"{genotype!r} comes back from its vector as {again!r}"

    def test_decisions_cover_what_is_sampled(self) -> None:
        table = self.space.decisions()
        for genotype, _ in self.sampled_networks(self.space):
            for name, value in genotype.items():
                assert name in table, f"decisions() lacks the choice {name!r}, which {genotype!r} makes"
                assert value in table[name], f"decisions() lacks the option {value!r} of {name!r}"

    def test_the_size_is_what_enumeration_counts(self) -> None:
        """On the part that can be listed, and on that part beside idle choices, which has to be counted."""
        subspace = self.subspace()
        genotypes = list(subspace.enumerate())
        assert len(set(genotypes)) == len(genotypes), "enumerate() lists a genotype twice"
        table = subspace.decisions()
        chances = [_sampling_probability([len(table[name]) for name in genotype]) for genotype in genotypes]
        assert sum(chances) == 1, "enumerate() lists other genotypes than sample() draws"
        listed = set(genotypes)
        for genotype, _ in self.sampled_networks(subspace):
            assert genotype in listed, f"enumerate() does not list {genotype!r}, which sample() draws"
        assert subspace.size() == len(genotypes), (
            f"size() is {subspace.size()}, but there are {len(genotypes)} genotypes"
        )
        counted = with_idle_choices(subspace, _IDLE_CHOICES).size()
        assert counted == len(genotypes) << _IDLE_CHOICES, (
            f"{len(genotypes)} genotypes are counted as {counted / 2**_IDLE_CHOICES:g}"
        )

    def test_options_leave_the_choices_alone(self) -> None:
        """Under the options ``small``, the space has the same genotypes: searches train networks at a small scale."""
        small = self.space.with_options(**self.small)
        for here, there in ((self.space, small), (small, self.space)):
            for genotype, _ in self.sampled_networks(here):
                try:
                    there.graph(Genotype(dict(genotype)))
                except GenotypeError as error:
                    raise AssertionError(f"with other options the choices are others: {error}") from error

    def test_the_same_seed_draws_the_same_networks(self) -> None:
        with other_global_seeds(1):
            first = [(genotype.to_json(), graph.digest) for genotype, graph in self.sampled_networks(self.make_space())]
        with other_global_seeds(2):
            again = [(genotype.to_json(), graph.digest) for genotype, graph in self.sampled_networks(self.make_space())]
        for one, other in zip(first, again, strict=True):
            assert one[0] == other[0], f"the same seed draws {one[0]} and then {other[0]}"
            assert one[1] == other[1], f"the same genotype makes two networks: {one[0]}"

    def test_another_process_draws_the_same_network(self) -> None:
        """With another seed of Python's own hashes, which the order of sets depends on."""
        import pytest

        space = self.make_space()
        where = self.where or _importable_name(space)
        if not where:
            pytest.skip("another process cannot load a function that is made in another; set `where`")
        options = repr(dict(space.options))
        try:
            ast.literal_eval(options)
        except (ValueError, SyntaxError):
            pytest.skip("another process cannot be told options that are no plain data")
        other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": other}
        command = [sys.executable, "-c", _SAMPLE_SCRIPT, where, options, str(self.seed)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert run.returncode == 0, f"another process cannot make the space: {run.stderr.strip()[-500:]}"
        genotype = space.sample(random.Random(self.seed))
        here = [genotype.to_json(), functional_hash(space.graph(genotype))]
        there = json.loads(run.stdout)
        assert there == here, f"seed {self.seed} draws {here[0]} here and {there[0]} in another process, keys {here[1]}"

    def test_networks_survive_json(self) -> None:
        for genotype, graph in self.sampled_networks(self.space):
            again = Graph.from_json(graph.to_json())
            assert again.digest == graph.digest, f"the graph of {genotype!r} comes back from JSON as another"
            same = functional_hash(again) == functional_hash(graph)
            assert same, f"the graph of {genotype!r} comes back from JSON with another key"

    def test_networks_do_not_depend_on_those_made_before(self) -> None:
        first = list(self.sampled_networks(self.make_space()))
        other = self.make_space()
        for genotype, graph in reversed(first):
            again = other.graph(Genotype(dict(genotype)))
            assert again.digest == graph.digest, f"made in another order, {genotype!r} is another network"

    def subspace(self) -> Space:
        """A part of the space that is small enough to list."""
        space = self.space.with_options(**{**self.small, **self.cut_down})
        if self.only:
            return restricted_space(space, self.only)
        if self.cut_down or self.space.size() <= self.listed:
            return space
        return random_subspace(space, self.space.decisions(), random.Random(self.seed), self.listed)

    def _assert_refused(self, what: str, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except GenotypeError as error:
            message = str(error)
        except Exception as error:  # whatever a plug-in raises
            raise AssertionError(f"{what} ends in {type(error).__name__} ({error}), not in a GenotypeError") from error
        else:
            raise AssertionError(f"{what} is taken, not refused with a GenotypeError")
        assert message.strip(), f"{what} is refused without a word"

    def _assert_in_space(self, child: Genotype, what: str) -> None:
        try:
            self.space.graph(Genotype(dict(child)))
        except GenotypeError as error:
            raise AssertionError(f"{what} leads out of the space: {error}") from error


def _sampling_probability(options: Sequence[int]) -> Fraction:
    """How often a genotype is drawn whose choices have so many options."""
    chance = Fraction(1)
    for count in options:
        chance /= count
    return chance


def _importable_name(space: Space) -> str:
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


class _RestrictedChoose:
    """A chooser that offers fewer options to the one behind it."""

    def __init__(self, choose: Choose, only: Mapping[str, Sequence[DecisionValue]]) -> None:
        self._choose = choose
        self._only = only

    def one_of(self, name: str, options: Sequence[Any]) -> Any:
        kept = self._only.get(name)
        return self._choose.one_of(name, options if kept is None else [o for o in options if o in kept])

    def int(self, name: str, low: int, high: int) -> Any:
        return self.one_of(name, range(low, high + 1))


def restricted_space(space: Space, only: Mapping[str, Sequence[DecisionValue]]) -> Space:
    """``space`` with fewer options of the choices that ``only`` names."""

    def function(choose: Choose, **options: Any) -> Graph:
        return space.function(_RestrictedChoose(choose, only), **options)

    return Space(function, space.name, space.options)


def random_subspace(space: Space, table: Mapping[str, Sequence[DecisionValue]], rng: Rng, listed: int) -> Space:
    """A part of at most ``listed`` genotypes: choices with two of their options, as many as that allows, else one.

    ``table`` holds the choices of ``space`` with their options.
    """
    genotype = space.sample(rng)
    only: dict[str, tuple[DecisionValue, ...]] = {n: (genotype.get(n, options[0]),) for n, options in table.items()}
    names = [name for name, options in table.items() if len(options) > 1]
    for _ in range(min(12, len(names))):
        name = names.pop(int(rng.random() * len(names)))
        others = [o for o in table[name] if o not in only[name]]
        wider = {**only, name: (*only[name], others[int(rng.random() * len(others))])}
        if sum(1 for _ in islice(restricted_space(space, wider).enumerate(), listed + 1)) > listed:
            break
        only = wider
    return restricted_space(space, only)


def with_idle_choices(space: Space, count: int) -> Space:
    """``space`` with ``count`` more choices of two options each, which change nothing: 2**count times its size."""

    def function(choose: Choose, **options: Any) -> Graph:
        for number in range(count):
            choose.one_of(f"idle {number}", (False, True))
        return space.function(choose, **options)

    return Space(function, space.name, space.options)


# -- networks --------------------------------------------------------------------------------------------------------


def _named_outputs(graph: Graph, made: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return made if isinstance(made, dict) else {graph.outputs[0][0]: made}


def module_differences(graph: Graph) -> list[str]:
    """Where the graph's counts are not those of its module, which runs without memory or arithmetic."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from search_spaces.pytorch.module import GraphModule

    batch = 2
    with torch.device("meta"):
        module = GraphModule(graph).eval()
        inputs = [torch.empty(batch, *shape) for shape in graph.input_shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made = _named_outputs(graph, module(*inputs))
    params = sum(p.numel() for p in module.parameters())
    statistics = sum(b.numel() for n, b in module.named_buffers() if not n.endswith("num_batches_tracked"))
    pairs: list[tuple[str, object, object]] = [
        ("parameters", graph.params, params),
        ("variables", graph.variables, params + statistics),
        ("MACs", graph.macs, counter.get_total_flops() / 2 / batch),
        ("output shapes", graph.output_shapes, {name: tuple(value.shape[1:]) for name, value in made.items()}),
    ]
    return [
        f"{what}: the graph says {graph_value}, its module has {module_value}"
        for what, graph_value, module_value in pairs
        if graph_value != module_value
    ]


def training_faults(graph: Graph, seed: int) -> list[str]:
    """What goes wrong in a step of training: outputs or gradients that are no finite numbers, or not there."""
    import torch

    from search_spaces.pytorch.module import to_module

    sampled_networks = torch.Generator().manual_seed(seed)
    module = to_module(graph, seed).train()
    made = _named_outputs(
        graph, module(*[torch.randn(2, *shape, generator=sampled_networks) for shape in graph.input_shapes])
    )
    faults = [f"output {name!r} is not finite" for name, value in made.items() if not value.isfinite().all()]
    shapes = {name: tuple(value.shape[1:]) for name, value in made.items()}
    faults += [] if shapes == graph.output_shapes else [f"outputs are {shapes}, not {graph.output_shapes}"]
    trained = [value.square().mean() for value in made.values() if value.requires_grad]
    if trained:
        torch.stack(trained).sum().backward()  # type: ignore[no-untyped-call]
    used = _nodes_before_outputs(graph)
    for name, parameter in module.named_parameters():
        index = int(name.split(".")[1])
        if index in used and (parameter.grad is None or not parameter.grad.isfinite().all()):
            what = "no gradient" if parameter.grad is None else "a gradient that is not finite"
            faults.append(f"{name} of node {index} ({graph.nodes[index].op}) has {what}")
    return faults


def _nodes_before_outputs(graph: Graph) -> set[int]:
    used = {index for _, index in graph.outputs}
    for index in range(len(graph) - 1, -1, -1):
        if index in used:
            used.update(graph.nodes[index].inputs)
    return used


def tuples_as_lists(value: Any) -> Any:
    """``value`` with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: tuples_as_lists(v) for name, v in value.items()}
    return [tuples_as_lists(v) for v in value] if isinstance(value, list | tuple) else value
