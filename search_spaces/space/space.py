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
from itertools import islice
from typing import TYPE_CHECKING, Any

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choices, Choose, _First, _listed
from search_spaces.space.counting import _Explorer
from search_spaces.space.genotype import Genotype, GenotypeError, Rng, SpaceError, Value

if TYPE_CHECKING:
    import numpy
    import numpy.typing


@dataclass(frozen=True)
class Notation:
    """A system's published way of writing an architecture, for a space with the given options.

    ``parse(text, options)`` returns decisions by name and raises ``GenotypeError``; ``format(decisions, options)``
    writes them.
    """

    parse: Callable[[str, Mapping[str, Any]], dict[str, Value]]
    format: Callable[[Mapping[str, Value], Mapping[str, Any]], str]


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
    alike: Space | None = None  # one with the same choices that costs less to run: it is asked which there are

    def __post_init__(self) -> None:
        self.name = self.name or getattr(self.function, "__name__", "space")
        parameters = inspect.signature(self.function).parameters
        positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if not positional:
            raise SpaceError(f"space {self.name!r}: the function must take `choose` as its first argument")
        self._any_option = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._accepted = {
            p.name: p.default
            for p in parameters.values()
            if p is not positional[0] and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        for option in self.options:
            if not self.accepts(option):
                known = ", ".join(self._accepted) or "none"
                raise SpaceError(f"space {self.name!r} has no option {option!r}; its options: {known}")
        missing = [
            n for n, default in self._accepted.items() if default is inspect.Parameter.empty and n not in self.options
        ]
        if missing:
            raise SpaceError(f"space {self.name!r} needs a value for {', '.join(missing)}")
        self._known: dict[str, tuple[Any, ...]] = {}
        self._offered: set[Choices] = set()
        self._last: tuple[Genotype | None, Graph | None] = (None, None)
        self._changeable: tuple[list[str], list[str]] = ([], [])  # the choices last changed, those of two options
        self._explored: tuple[int, tuple[str, ...]] | None = None
        self._checked: set[int] = set()

    def accepts(self, option: str) -> bool:
        """Whether the function takes the keyword argument ``option``."""
        return self._any_option or option in self._accepted

    def option(self, name: str) -> Any:
        """The value of one option, given or default; ``None`` where there is no such option."""
        if name in self.options:
            return self.options[name]
        default = self._accepted.get(name)
        return None if default is inspect.Parameter.empty else default

    def with_options(self, **options: Any) -> Space:
        """The same space with other options; genotypes stay valid where the options leave the choices alone."""
        return Space(self.function, self.name, {**self.options, **options}, self.notation, self.alike)

    # -- running the function ------------------------------------------------------------------------------------

    def _run(self, given: Mapping[str, Value], rng: Rng | None) -> tuple[Genotype, Graph]:
        choose = Choose(self.name, self._known, given, rng, self._offered)
        try:
            graph = self.function(choose, **self.options)
        except GraphError as error:
            raise SpaceError(self._blame(error, choose.made)) from error
        if not isinstance(graph, Graph):
            raise SpaceError(
                f"space {self.name!r} returned {type(graph).__name__}, not a Graph; end the function with"
                " `return builder.build(outputs)`"
            )
        genotype = Genotype(choose.made)
        self._last = (genotype, graph)
        return genotype, graph

    def _blame(self, error: GraphError, made: dict[str, Any]) -> str:
        """Name the choice behind an impossible network: one whose other options all or partly make it possible."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        text = f"space {self.name!r}{f' with {given}' if given else ''}: {error}"
        if not made:
            return text
        mended, moved = [], []
        for name, value in made.items():
            answers = {self._complaint({**made, name: other}) for other in self._known[name] if other != value}
            if None in answers:
                mended.append(name)
            elif answers and str(error) not in answers:
                moved.append(name)  # then something else is wrong as well
        last = list(made)[-1]
        named = " or ".join(
            f"{n!r} = {made[n]!r} of {_listed(self._known[n])}" for n in (mended or moved or [last])[:3]
        )
        return f"{text} (choice {named})" if mended or moved else f"{text} (no one choice mends it; the last: {named})"

    def _complaint(self, decisions: Mapping[str, Value]) -> str | None:
        """What is wrong with the network of these decisions, first options elsewhere; ``None`` where nothing is."""
        try:
            self.function(Choose(self.name, dict(self._known), decisions, _First()), **self.options)
        except (GraphError, SpaceError, GenotypeError) as error:
            return str(error)
        return None

    def graph(self, genotype: Mapping[str, Value]) -> Graph:
        """The network that a genotype describes, in normal form. ``GenotypeError`` where the space has no such one."""
        last, graph = self._last
        return graph if last is genotype and graph is not None else self._replay(genotype)[1]

    def _replay(self, decisions: Mapping[str, Value]) -> tuple[Genotype, Graph]:
        genotype, graph = self._run(decisions, None)
        unused = set(decisions) - set(genotype)
        if unused:
            raise GenotypeError(f"space {self.name!r} makes no choice {', '.join(map(repr, sorted(unused)))} here")
        return genotype, graph

    def sample(self, rng: Rng) -> Genotype:
        """A random genotype: every choice uniform over its options."""
        return self._run({}, rng)[0]

    def complete(self, decisions: Mapping[str, Value], rng: Rng) -> Genotype:
        """A genotype with these decisions where their choices are made, and random ones elsewhere."""
        return self._run(decisions, rng)[0]

    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype:
        """One decision changed to another of its options, then replayed; choices that this opens are drawn anew.

        A genotype without any choice of two options comes back as it is.
        """
        known = self._known
        given = dict(genotype._values)
        order = list(given)
        if order != self._changeable[0]:  # most spaces make the same choices in every network
            if not known.keys() >= given.keys():
                self._replay(genotype)
            self._changeable = order, [n for n in order if len(known[n]) > 1]
        names = self._changeable[1]
        if not names:
            return genotype
        name = names[int(rng.random() * len(names))]
        options = known[name]
        shift = 1 + int(rng.random() * (len(options) - 1))
        given[name] = options[(self._place(name, given[name]) + shift) % len(options)]
        child = self._run(given, rng)[0]
        if name not in child:
            raise GenotypeError(f"space {self.name!r} makes no choice {name!r} here")
        return child

    def _place(self, name: str, value: Value) -> int:
        try:
            return self._known[name].index(value)
        except ValueError:
            raise GenotypeError(
                f"space {self.name!r}: {name!r} cannot be {value!r}; its options are {_listed(self._known[name])}"
            ) from None

    def crossover(self, a: Genotype, b: Genotype, rng: Rng) -> Genotype:
        """Uniform crossover: each decision from either parent, from the one that has it, or else drawn anew."""
        given = {**b, **a}
        for name in given:
            if name in a and name in b and rng.random() < 0.5:
                given[name] = b[name]
        return self._run(given, rng)[0]

    # -- the whole space -----------------------------------------------------------------------------------------

    def enumerate(self) -> Iterator[Genotype]:
        """Every genotype once, in the order of the options, last decision fastest. For small spaces."""
        prefix: dict[str, Value] = {}
        while True:
            genotype = self._run(prefix, _First())[0]
            yield genotype
            values = dict(genotype)
            for name in reversed(list(values)):
                options = self._known[name]
                place = options.index(values[name])
                if place + 1 < len(options):
                    values[name] = options[place + 1]
                    prefix = values
                    break
                del values[name]
            else:
                return

    def size(self) -> int:
        """How many genotypes there are. Spaces of up to 2,000 are listed; larger ones are counted without that.

        Choices that do not bear on which other choices are made multiply; the others are followed option by option.
        Which do is found by running the function some thousand times, with single decisions changed and at random: in
        a large space, a choice that fewer than one random network in some hundred makes may be missed.
        """
        return self._explore()[0]

    def decisions(self) -> dict[str, tuple[Any, ...]]:
        """All choices the space can make, by name, with their options; found as ``size`` finds them."""
        return {name: self._known[name] for name in self._explore()[1]}

    def check(self, seed: int = 0) -> None:
        """Run the function with every option of every choice at least once. Raises ``SpaceError``."""
        if self.alike is None:
            if seed not in self._checked:
                _Explorer(self.name, self._run, self._known, seed).count(samples=32)
                self._checked.add(seed)
            return
        self.alike.check(seed)
        rng = random.Random(seed)
        for _ in range(8):
            self.sample(rng)

    def _explore(self) -> tuple[int, tuple[str, ...]]:
        if self._explored is None and self.alike is not None:
            self._explored = self.alike._explore()
            self._known.update(self.alike._known)
        if self._explored is None:
            explorer = _Explorer(self.name, self._run, self._known)
            total = explorer.count()
            if total is None or total <= 2000:
                total = 0
                for genotype in islice(self.enumerate(), 20_000):
                    explorer.first_run.update({n: {} for n in genotype if n not in explorer.first_run})
                    total += 1
                if total == 20_000:
                    raise SpaceError(
                        f"space {self.name!r}: which choices are made depends on too many others together to count, for"
                        f" example {next(reversed(explorer.links), '')!r}"
                    )
            self._explored = total, tuple(explorer.first_run)
        return self._explored

    def encode(self, genotype: Mapping[str, Value]) -> numpy.typing.NDArray[numpy.int64]:
        """A vector of ``len(decisions())`` option numbers; -1 stands for a choice that is not made."""
        import numpy

        table = self.decisions()
        unknown = set(genotype) - set(table)
        if unknown:
            raise GenotypeError(f"space {self.name!r} makes no choice {', '.join(map(repr, sorted(unknown)))}")
        places = [self._place(name, genotype[name]) if name in genotype else -1 for name in table]
        return numpy.array(places, dtype=numpy.int64)

    def decode(self, vector: Sequence[int] | numpy.typing.NDArray[numpy.int64]) -> Genotype:
        """The genotype that ``encode`` wrote; entries of choices that are not made do not matter."""
        table = self.decisions()
        if len(vector) != len(table):
            raise GenotypeError(f"space {self.name!r}: a vector has {len(table)} entries, not {len(vector)}")
        given = {}
        for (name, options), place in zip(table.items(), vector, strict=True):
            if not -1 <= place < len(options) or place != int(place):
                raise GenotypeError(
                    f"space {self.name!r}: the entry of {name!r} must be -1 to {len(options) - 1}, not {place!r}"
                )
            if place >= 0:
                given[name] = options[int(place)]
        return self._run(given, None)[0]

    # -- writing architectures down --------------------------------------------------------------------------------

    def parse(self, text: str) -> Genotype:
        """Read an architecture: the system's published notation where it has one, else a genotype's JSON."""
        if self.notation is None or text.lstrip().startswith("{"):
            return self._replay(Genotype.from_json(text))[0]
        try:
            decisions = self.notation.parse(text, self._settings())
        except GraphError as error:  # of the options
            raise SpaceError(f"space {self.name!r}: {error}") from error
        return self._replay(decisions)[0]

    def format(self, genotype: Genotype) -> str:
        """Write an architecture: the system's published notation where it has one, else the genotype's JSON."""
        return genotype.to_json() if self.notation is None else self.notation.format(genotype, self._settings())

    def _settings(self) -> dict[str, Any]:
        own = {**{n: self.option(n) for n in self._accepted}, **self.options}
        return own if self.alike is None else {**self.alike._settings(), **own}
