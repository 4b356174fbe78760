"""Search spaces as functions, the choices they make, and the genotypes that record them.

A space is a function ``f(choose, **options) -> Graph``. Each named choice it asks for is one *decision*; the
decisions of one run, in order, are a ``Genotype``. Conditional choices are plain ``if`` statements. The same function
runs under random draws, the replay of a genotype, a mutation of one, or an enumeration.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.graph.splice import OBSERVED_BUILDERS, Splicer
from search_spaces.space.choose import ChoiceGroup, Choose, FirstOption, SectioningChoose, format_options
from search_spaces.space.counting import GenotypeCounter, enumerate_genotypes
from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError, Rng, SpaceError
from search_spaces.space.impossible_network import blame_choices
from search_spaces.space.notation import Notation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass
class Space:
    """A search space: a function of a ``Choose`` and options that returns a ``Graph``.

    ``options`` are the function's keyword arguments, for example the image size; ``with_options`` changes them. Every
    method raises ``SpaceError`` where the function contradicts itself and ``GenotypeError`` for decisions that it
    does not contain.
    """

    function: Callable[..., Graph]
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    notation: Notation | None = None
    cheap_twin: Space | None = None  # the same choices at less cost a run: it counts them and lists their options

    def __post_init__(self) -> None:
        self.name = self.name or getattr(self.function, "__name__", "space")
        parameters = inspect.signature(self.function).parameters
        positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if not positional:
            raise SpaceError(f"space {self.name!r}: the function must take `choose` as its first argument")
        self._accepts_any_option = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._option_defaults = {
            p.name: p.default
            for p in parameters.values()
            if p is not positional[0] and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        for option in self.options:
            if not self.accepts(option):
                declared = ", ".join(self._option_defaults) or "none"
                raise SpaceError(f"space {self.name!r} has no option {option!r}; its options: {declared}")
        missing = [
            n
            for n, default in self._option_defaults.items()
            if default is inspect.Parameter.empty and n not in self.options
        ]
        if missing:
            raise SpaceError(f"space {self.name!r} needs a value for {', '.join(missing)}")
        self._declared_options: dict[str, tuple[Any, ...]] = {}
        self._declared_groups: set[ChoiceGroup] = set()
        self._last_run: tuple[Genotype | None, Graph | None] = (None, None)
        # The choices of the genotype that was mutated last, and those of them that have two options or more
        self._mutable_choices: tuple[list[str], list[str]] = ([], [])
        self._size_and_choices: tuple[int, tuple[str, ...]] | None = None
        self._checked: set[int] = set()
        self._names_sections: bool | None = None  # whether the function does so; if not, choices begin sections

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what was learned of the function by running it, which a thread may be adding to right now
        return type(self), (self.function, self.name, self.options, self.notation, self.cheap_twin)

    def accepts(self, option: str) -> bool:
        """Whether the function takes the keyword argument ``option``."""
        return self._accepts_any_option or option in self._option_defaults

    def option(self, name: str) -> Any:
        """The value of one option, given or default; ``None`` where there is no such option."""
        if name in self.options:
            return self.options[name]
        default = self._option_defaults.get(name)
        return None if default is inspect.Parameter.empty else default

    def with_options(self, **options: Any) -> Space:
        """The same space with other options; genotypes stay valid where the options leave the choices alone."""
        return Space(self.function, self.name, {**self.options, **options}, self.notation, self.cheap_twin)

    # -- running the function ------------------------------------------------------------------------------------

    def _run(self, given: Mapping[str, DecisionValue], rng: Rng | None) -> tuple[Genotype, Graph]:
        kind = Choose if self._names_sections else SectioningChoose
        choose = kind(self.name, self._declared_options, given, rng, self._declared_groups)
        builders: list[Splicer] = []
        observed = None if self._names_sections else OBSERVED_BUILDERS.set(builders)
        try:
            graph = self.function(choose, **self.options)
        except GraphError as error:
            raise SpaceError(self._explain_failure(error, choose.decisions)) from error
        finally:
            if observed is not None:
                OBSERVED_BUILDERS.reset(observed)
        if not isinstance(graph, Graph):
            raise SpaceError(
                f"space {self.name!r} returned {type(graph).__name__}, not a Graph; end the function with"
                " `return builder.build(outputs)`"
            )
        genotype = Genotype(choose.decisions)
        if self._names_sections is None:
            self._names_sections = not builders or builders[0].names_sections
        self._last_run = (genotype, graph)
        return genotype, graph

    def _explain_failure(self, error: GraphError, decisions: dict[str, Any]) -> str:
        """What is wrong with a network, and the choices behind it."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        text = f"space {self.name!r}{f' with {options}' if options else ''}: {error}"
        if not decisions:
            return text
        return f"{text} {blame_choices(str(error), decisions, self._declared_options, self._failure_reason)}"

    def _failure_reason(self, decisions: Mapping[str, DecisionValue]) -> str | None:
        """What is wrong with the network of these decisions, first options elsewhere; ``None`` where nothing is."""
        try:
            self.function(Choose(self.name, dict(self._declared_options), decisions, FirstOption()), **self.options)
        except (GraphError, SpaceError, GenotypeError) as error:
            return str(error)
        return None

    def graph(self, genotype: Mapping[str, DecisionValue]) -> Graph:
        """The network that a genotype describes, in normal form. ``GenotypeError`` where the space has no such one."""
        last, graph = self._last_run
        return graph if last is genotype and graph is not None else self._replay(genotype)[1]

    def _replay(self, decisions: Mapping[str, DecisionValue]) -> tuple[Genotype, Graph]:
        genotype, graph = self._run(decisions, None)
        unused = set(decisions) - set(genotype)
        if unused:
            raise GenotypeError(f"space {self.name!r} makes no choice {', '.join(map(repr, sorted(unused)))} here")
        return genotype, graph

    def sample(self, rng: Rng) -> Genotype:
        """A random genotype: every choice uniform over its options."""
        return self._run({}, rng)[0]

    def complete(self, decisions: Mapping[str, DecisionValue], rng: Rng) -> Genotype:
        """A genotype with these decisions where their choices are made, and random ones elsewhere."""
        return self._run(decisions, rng)[0]

    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype:
        """One decision changed to another of its options, then replayed; choices that this opens are drawn at random.

        A genotype without any choice of two options comes back as it is.
        """
        declared = self._declared_options
        given = dict(genotype._values)
        order = list(given)
        if order != self._mutable_choices[0]:  # most spaces make the same choices in every network
            if not declared.keys() >= given.keys():
                self._replay(genotype)
            self._mutable_choices = order, [n for n in order if len(declared[n]) > 1]
        names = self._mutable_choices[1]
        if not names:
            return genotype
        name = names[int(rng.random() * len(names))]
        options = declared[name]
        shift = 1 + int(rng.random() * (len(options) - 1))
        given[name] = options[(self._option_index(name, given[name]) + shift) % len(options)]
        child = self._run(given, rng)[0]
        if name not in child:
            raise GenotypeError(f"space {self.name!r} makes no choice {name!r} here")
        return child

    def _option_index(self, name: str, value: DecisionValue) -> int:
        try:
            return self._declared_options[name].index(value)
        except ValueError:
            options = format_options(self._declared_options[name])
            raise GenotypeError(
                f"space {self.name!r}: {name!r} cannot be {value!r}; its options are {options}"
            ) from None

    def crossover(self, a: Genotype, b: Genotype, rng: Rng) -> Genotype:
        """Uniform crossover: each decision from either parent, from the one that has it, or at random."""
        given = {**b, **a}
        for name in given:
            if name in a and name in b and rng.random() < 0.5:
                given[name] = b[name]
        return self._run(given, rng)[0]

    # -- the whole space -----------------------------------------------------------------------------------------

    def enumerate(self) -> Iterator[Genotype]:
        """Every genotype once, in the order of the options, last decision fastest. For small spaces."""
        return enumerate_genotypes(lambda prefix: self._run(prefix, FirstOption())[0], self._declared_options)

    def size(self) -> int:
        """How many genotypes there are. Spaces of up to 2,000 are listed; larger ones are counted without that.

        Choices that do not bear on which other choices are made multiply; the others are followed option by option.
        Which do is determined by running the function some thousand times, with single decisions changed and at
        random: in a large space, a choice that fewer than one random network in some hundred makes may be missed.
        """
        return self._count_and_names()[0]

    def decisions(self) -> dict[str, tuple[Any, ...]]:
        """All choices the space can make, by name, with their options; determined as by ``size``."""
        return {name: self._declared_options[name] for name in self._count_and_names()[1]}

    def check(self, seed: int = 0) -> None:
        """Run the function with every option of every choice at least once. Raises ``SpaceError``."""
        if self.cheap_twin is None:
            if seed not in self._checked:
                GenotypeCounter(self.name, self._run, self._declared_options, seed).count(samples=32)
                self._checked.add(seed)
            return
        self.cheap_twin.check(seed)
        rng = random.Random(seed)
        for _ in range(8):
            self.sample(rng)

    def _count_and_names(self) -> tuple[int, tuple[str, ...]]:
        if self._size_and_choices is None and self.cheap_twin is not None:
            self._size_and_choices = self.cheap_twin._count_and_names()
            self._declared_options.update(self.cheap_twin._declared_options)
        if self._size_and_choices is None:
            counter = GenotypeCounter(self.name, self._run, self._declared_options)
            self._size_and_choices = counter.count_and_names(self.enumerate)
        return self._size_and_choices

    def encode(self, genotype: Mapping[str, DecisionValue]) -> npt.NDArray[np.int64]:
        """A vector of ``len(decisions())`` option numbers; -1 stands for a choice that is not made."""
        import numpy as np

        table = self.decisions()
        unknown = set(genotype) - set(table)
        if unknown:
            raise GenotypeError(f"space {self.name!r} makes no choice {', '.join(map(repr, sorted(unknown)))}")
        option_indices = [self._option_index(name, genotype[name]) if name in genotype else -1 for name in table]
        return np.array(option_indices, dtype=np.int64)

    def decode(self, vector: Sequence[int] | npt.NDArray[np.int64]) -> Genotype:
        """The genotype that ``encode`` wrote; entries of choices that are not made do not matter."""
        table = self.decisions()
        if len(vector) != len(table):
            raise GenotypeError(f"space {self.name!r}: a vector has {len(table)} entries, not {len(vector)}")
        given = {}
        for (name, options), index in zip(table.items(), vector, strict=True):
            if not -1 <= index < len(options) or index != int(index):
                raise GenotypeError(
                    f"space {self.name!r}: the entry of {name!r} must be -1 to {len(options) - 1}, not {index!r}"
                )
            if index >= 0:
                given[name] = options[int(index)]
        return self._run(given, None)[0]

    # -- writing architectures down --------------------------------------------------------------------------------

    def parse(self, text: str) -> Genotype:
        """Read an architecture: the system's published notation where it has one, else a genotype's JSON."""
        if self.notation is None or text.lstrip().startswith("{"):
            return self._replay(Genotype.from_json(text))[0]
        try:
            decisions = self.notation.parse(text, self._resolved_options())
        except GraphError as error:  # of the options
            raise SpaceError(f"space {self.name!r}: {error}") from error
        return self._replay(decisions)[0]

    def format(self, genotype: Genotype) -> str:
        """Write an architecture: the system's published notation where it has one, else the genotype's JSON."""
        return genotype.to_json() if self.notation is None else self.notation.format(genotype, self._resolved_options())

    def _resolved_options(self) -> dict[str, Any]:
        own_options = {**{n: self.option(n) for n in self._option_defaults}, **self.options}
        return own_options if self.cheap_twin is None else {**self.cheap_twin._resolved_options(), **own_options}
