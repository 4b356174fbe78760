"""Search spaces as functions, the choices they make, and the genotypes that record them.

A space is a function ``f(choose, **options) -> Graph``. Each named choice it asks for is one *decision*; the
decisions of one run, in order, are a ``Genotype``. Conditional choices are plain ``if`` statements. The same function
runs under random draws, the replay of a genotype, a mutation of one, or an enumeration.
"""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from search_spaces.graph import Graph
from search_spaces.ops import GraphError

if TYPE_CHECKING:
    import numpy
    import numpy.typing

Value = None | bool | int | float | str | tuple[Any, ...]
T = TypeVar("T")


class Rng(Protocol):
    """What spaces need of a random source: ``random.Random`` and ``numpy.random.Generator`` both have it."""

    def random(self) -> float: ...


class SpaceError(ValueError):
    """A space that contradicts itself or makes a network that cannot be; the message names the choice."""


class GenotypeError(ValueError):
    """Decisions that the space does not contain, or text that is no genotype."""


class Genotype(Mapping[str, Value]):
    """The named decisions of one run of a space, in the order they were made. Immutable, hashable, JSON-able."""

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)
        self._hash: int | None = None

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genotype) and self._values == other._values

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._values.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"Genotype({self._values!r})"

    def to_json(self) -> str:
        """The decisions as a JSON object, in order."""
        return json.dumps(self._values)

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read ``to_json``'s text. Raises ``GenotypeError``; whether a space contains it, ``Space.graph`` says."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GenotypeError(f"no genotype: the text is not JSON ({error})") from None
        return cls.from_document(document)

    def to_yaml(self) -> str:
        """The decisions as a YAML mapping, in order."""
        import yaml

        return yaml.safe_dump(json.loads(self.to_json()), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> Genotype:
        """Read ``to_yaml``'s text. Raises ``GenotypeError``."""
        import yaml

        try:
            document = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # it reads dates and numbers too
            raise GenotypeError(f"no genotype: the text is not YAML ({error})") from None
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: object) -> Genotype:
        """The genotype of JSON-able data: a mapping of choice names to values. Raises ``GenotypeError``."""
        if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
            raise GenotypeError("no genotype: expected one object of choice names and values")
        try:
            return cls({name: _frozen(value) for name, value in document.items()})
        except RecursionError:
            raise GenotypeError("no genotype: its lists hold themselves or nest too deep") from None


def _frozen(value: Any) -> Value:
    if isinstance(value, list):
        return tuple([_frozen(v) for v in value])
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise GenotypeError(
        f"a decision is a number, a text, true, false, null or a list of them, not {type(value).__name__}"
    )


class Choices:
    """Choices that every network makes, together: options by name. To be made once and given to ``all_of``."""

    __slots__ = ("names", "options", "tables")

    def __init__(self, options: Mapping[str, Sequence[Any]]) -> None:
        self.options = {name: tuple(values) for name, values in options.items()}
        self.names = list(self.options)
        self.tables = [{value: value for value in values} for values in self.options.values()]


class Choose:
    """Makes the choices of one run. A space function receives one as its first argument.

    A decision comes from the replayed genotype where that has it and else from the random source; without either
    it is an error, or, for an enumeration, the first option.
    """

    __slots__ = ("_given", "_offered", "_options", "_rng", "_space", "made")

    def __init__(
        self,
        space: str,
        options: dict[str, tuple[Any, ...]],
        given: Mapping[str, Value],
        rng: Rng | None,
        offered: set[Choices] | None = None,
    ) -> None:
        self._space = space
        self._options = options
        self._given = given._values if isinstance(given, Genotype) else given
        self._rng = rng
        self._offered = set() if offered is None else offered  # what agrees with ``options``
        self.made: dict[str, Any] = {}

    def one_of(self, name: str, options: Sequence[T]) -> T:
        """One of ``options``, which are always the same for one name: numbers, texts, booleans, None or tuples."""
        known = self._options.get(name)
        if known is None or (known is not options and known != tuple(options)):
            known = self._register(name, options, known)
        if name in self.made:
            raise SpaceError(
                f"space {self._space!r}: the choice {name!r} is made twice in one network; give each choice its own"
                " name, for example with the number of the layer in it"
            )
        if name in self._given:
            given = self._given[name]
            try:
                value = known[known.index(given)]
            except ValueError:
                raise GenotypeError(
                    f"space {self._space!r}: {name!r} cannot be {given!r}; its options are"
                    f" {', '.join(map(repr, known))}"
                ) from None
        elif self._rng is None:
            raise GenotypeError(f"space {self._space!r}: the genotype has no decision for {name!r}")
        else:
            value = known[int(self._rng.random() * len(known))]
        self.made[name] = value
        return value  # type: ignore[no-any-return]

    def _replay(self, choices: Choices) -> dict[str, Any] | None:
        """All that is given, at once, where it is a decision for each of these choices and for no other."""
        if self.made or choices not in self._offered or list(self._given) != choices.names:
            return None
        try:
            decided = [table[value] for table, value in zip(choices.tables, self._given.values(), strict=True)]
        except (KeyError, TypeError):  # ``one_of`` says which
            return None
        self.made = dict(zip(choices.names, decided, strict=True))
        return dict(self.made)

    def int(self, name: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return self.one_of(name, range(low, high + 1))

    def _register(self, name: object, given: Sequence[Any], known: tuple[Any, ...] | None) -> tuple[Any, ...]:
        where = f"space {self._space!r}: the choice {name!r}"
        if not isinstance(name, str) or not name:
            raise SpaceError(f"{where} needs a name: a text that is not empty")
        if not isinstance(given, Sequence):
            raise SpaceError(f"{where} needs its options in order, as a list or tuple, not {type(given).__name__}")
        options = tuple(given)
        if known is not None:
            raise SpaceError(
                f"{where} was offered {_listed(known)} before and {_listed(options)} now; the options of one name"
                " must not depend on other choices: use another name for the other options"
            )
        if not options:
            raise SpaceError(f"{where} has no options")
        for option in options:
            if not _is_value(option):
                raise SpaceError(
                    f"{where} offers {option!r}; options are finite numbers, texts, true, false, None or tuples of"
                    " them (choose a name, and look the object up)"
                )
        if len(set(options)) != len(options):
            raise SpaceError(f"{where} offers one option twice: {_listed(options)}")
        self._options[name] = options
        return options


def all_of(choose: Choose, choices: Choices) -> dict[str, Any]:
    """What ``choose.one_of`` gives for each of these choices in turn, by name; quicker where it is replayed."""
    plain = type(choose) is Choose  # and no stand-in
    made = choose._replay(choices) if plain else None
    if made is None:
        made = {name: choose.one_of(name, options) for name, options in choices.options.items()}
        if plain:
            choose._offered.add(choices)
    return made


def _is_value(option: object) -> bool:
    if isinstance(option, tuple):
        return all(_is_value(o) for o in option)
    return option is None or isinstance(option, int | str) or (isinstance(option, float) and isfinite(option))


def _listed(options: tuple[Any, ...]) -> str:
    return "(" + ", ".join(map(repr, options)) + ")"


class _First:
    """A random source that always takes the first option."""

    def random(self) -> float:
        return 0.0


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
                _Explorer(self, seed).count(samples=32)
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
            explorer = _Explorer(self)
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


class _Misjudged(Exception):
    """What a count took for independent is not: it starts again with what was learnt, as long as it has runs left."""


class _Explorer:
    """Finds which decisions bear on which others, and counts genotypes with that."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space = space
        self.rng = random.Random(seed)
        self.first_run: dict[str, dict[str, Value]] = {}  # the first that made each choice
        self.links: dict[str, set[str]] = {}  # pairs where one decision, changed alone, makes the other come or go
        self.surprises: list[dict[str, Value]] = []
        self.runs_left = 100_000

    def count(self, samples: int = 1000) -> int | None:
        """Genotypes of the space; ``None`` where its choices are too entangled to tell."""
        while self.runs_left > 0:
            try:
                return self._count({}, frozenset(), samples)
            except _Misjudged:
                continue
        return None

    def _run(self, given: Mapping[str, Value], rng: Rng | None = None) -> dict[str, Value]:
        self.runs_left -= 1
        if self.runs_left < 0:
            raise _Misjudged
        made = dict(self.space._run(given, rng or self.rng)[0])
        for name in made:
            self.first_run.setdefault(name, made)
        return made

    def _link(self, a: str, b: str) -> None:
        self.links.setdefault(a, set()).add(b)
        self.links.setdefault(b, set()).add(a)

    def _cause(self, name: str, having: dict[str, Value], lacking: dict[str, Value]) -> str:
        """A decision that makes ``name`` come or go: found on the way from one run to another, change by change."""
        given = {**lacking, **having}
        for other, value in lacking.items():
            if given[other] != value:
                given[other] = value
                if name not in self._run(given, _First()):
                    return other
        raise SpaceError(f"space {self.space.name!r}: {name!r} is made or not at random; spaces must be functions")

    def _count(self, fixed: dict[str, Value], outside: frozenset[str], samples: int) -> int:
        """Genotypes that agree with ``fixed``, looking only at decisions that are not ``outside``."""
        known = self.space._known
        runs = [run for run in self.surprises if all(n in run and run[n] == v for n, v in fixed.items())]
        for _ in range(4):
            start = self._run(fixed)
            runs.append(start)
            for name in start:
                if name in fixed or name in outside:
                    continue
                for option in known[name]:
                    if option != start[name]:
                        other = self._run({**start, name: option})
                        runs.append(other)
                        for changed in sorted(start.keys() ^ other.keys()):
                            self._found(name, changed, fixed, outside, other)
        if any(len(options) > 1 for options in known.values()):
            runs.extend([self._run(fixed) for _ in range(samples)])
        here = set().union(*runs)
        runs.extend([self._run({**run, **fixed}) for name, run in list(self.first_run.items()) if name not in here])
        for run in runs:
            if not run.keys() >= fixed.keys():
                self.surprises.append(run)
                raise _Misjudged
        free = [n for n in dict.fromkeys(n for run in runs for n in run) if n not in fixed and n not in outside]
        always = set(free).intersection(*runs)
        total = 1
        left = set(free)
        for name in free:
            if name not in left:
                continue
            group = self._group(name, left)
            while not group & always:
                # Whatever comes and goes has a cause that does not; the first of the group is nearest to it.
                first = next(n for n in free if n in group)
                having = next(run for run in runs if first in run)
                lacking = next(run for run in runs if first not in run)
                self._found(self._cause(first, having, lacking), first, fixed, outside, having, lacking)
                group = self._group(name, set(free))
            if not group <= left:
                raise _Misjudged
            left -= group
            leader = next(n for n in free if n in group and n in always)
            if len(group) == 1:
                total *= len(known[leader])
            else:
                beside = outside.union(free) - group
                total *= sum(self._count({**fixed, leader: option}, beside, 32) for option in known[leader])
        return total

    def _found(
        self, cause: str, name: str, fixed: Mapping[str, Value], outside: frozenset[str], *runs: dict[str, Value]
    ) -> None:
        self._link(cause, name)
        if cause in outside or name in outside or name in fixed:
            self.surprises.extend(runs)
            raise _Misjudged

    def _group(self, name: str, among: set[str]) -> set[str]:
        """All decisions of ``among`` that bear on ``name``, directly or through each other."""
        group, todo = {name}, [name]
        while todo:
            for other in self.links.get(todo.pop(), ()):
                if other in among and other not in group:
                    group.add(other)
                    todo.append(other)
        return group
