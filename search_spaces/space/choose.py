"""What a space function is given to choose with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, TypeVar

from search_spaces.graph.splice import OBSERVED_BUILDERS
from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError, Rng, SpaceError

Option = TypeVar("Option")


class ChoiceGroup:
    """Choices that every network makes, together: options by name. Made once, and given to every ``choose_all``."""

    __slots__ = ("lookup_tables", "names", "options")

    def __init__(self, options: Mapping[str, Sequence[Any]]) -> None:
        self.options = {name: tuple(values) for name, values in options.items()}
        self.names = list(self.options)
        self.lookup_tables = [{value: value for value in values} for values in self.options.values()]


class Choose:
    """Makes the choices of one run. A space function receives one as its first argument.

    A decision comes from the replayed genotype where that has it and else from the random source; without either
    it is an error, or, for an enumeration, the first option.
    """

    __slots__ = ("_declared_groups", "_options", "_preset", "_rng", "_space", "decisions")

    def __init__(
        self,
        space: str,
        options: dict[str, tuple[Any, ...]],
        given: Mapping[str, DecisionValue],
        rng: Rng | None,
        declared_groups: set[ChoiceGroup] | None = None,
    ) -> None:
        self._space = space
        self._options = options
        self._preset = given._values if isinstance(given, Genotype) else given
        self._rng = rng
        self._declared_groups = set() if declared_groups is None else declared_groups  # groups that are in ``options``
        self.decisions: dict[str, Any] = {}

    def one_of(self, name: str, options: Sequence[Option]) -> Option:
        """One of ``options``, which are always the same for one name: numbers, texts, booleans, None or tuples."""
        declared = self._options.get(name)
        if declared is None or (declared is not options and declared != tuple(options)):
            declared = self._declare_choice(name, options, declared)
        decisions, preset = self.decisions, self._preset
        if name in decisions:
            raise SpaceError(
                f"space {self._space!r}: the choice {name!r} is made twice in one network; give each choice its own"
                " name, for example with the number of the layer in it"
            )
        if name in preset:
            try:
                value = declared[declared.index(preset[name])]
            except ValueError:
                raise GenotypeError(
                    f"space {self._space!r}: {name!r} cannot be {preset[name]!r}; its options are"
                    f" {', '.join(map(repr, declared))}"
                ) from None
        elif self._rng is None:
            raise GenotypeError(f"space {self._space!r}: the genotype has no decision for {name!r}")
        else:
            value = declared[int(self._rng.random() * len(declared))]
        decisions[name] = value
        return value  # type: ignore[no-any-return]

    def _replay(self, choices: ChoiceGroup) -> dict[str, Any] | None:
        """All that is given, at once, where it is a decision for each of these choices and for no other."""
        if self.decisions or choices not in self._declared_groups or list(self._preset) != choices.names:
            return None
        try:
            values = [table[value] for table, value in zip(choices.lookup_tables, self._preset.values(), strict=True)]
        except (KeyError, TypeError):  # ``one_of`` says which
            return None
        self.decisions = dict(zip(choices.names, values, strict=True))
        return dict(self.decisions)

    def int(self, name: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return self.one_of(name, range(low, high + 1))

    def _declare_choice(self, name: object, given: Sequence[Any], declared: tuple[Any, ...] | None) -> tuple[Any, ...]:
        where = f"space {self._space!r}: the choice {name!r}"
        if not isinstance(name, str) or not name:
            raise SpaceError(f"{where} needs a name: a text that is not empty")
        if not isinstance(given, Sequence):
            raise SpaceError(f"{where} needs its options in order, as a list or tuple, not {type(given).__name__}")
        options = tuple(given)
        if declared is not None:
            raise SpaceError(
                f"{where} was offered {format_options(declared)} before and {format_options(options)} now; the options"
                " of one name must not depend on other choices: use another name for the other options"
            )
        if not options:
            raise SpaceError(f"{where} has no options")
        for option in options:
            if not _is_decision_value(option):
                raise SpaceError(
                    f"{where} offers {option!r}; options are finite numbers, texts, true, false, None or tuples of"
                    " them (choose a name, and look the object up)"
                )
        if len(set(options)) != len(options):
            raise SpaceError(f"{where} offers one option twice: {format_options(options)}")
        self._options[name] = options
        return options


def choose_all(choose: Choose, choices: ChoiceGroup) -> dict[str, Any]:
    """What ``choose.one_of`` gives for each of these choices in turn, by name; quicker where it is replayed."""
    plain = type(choose) is Choose  # not a subclass, which may choose in another way
    decisions = choose._replay(choices) if plain else None
    if decisions is None:
        decisions = {name: choose.one_of(name, options) for name, options in choices.options.items()}
        if plain:
            choose._declared_groups.add(choices)
    return decisions


def _is_decision_value(option: object) -> bool:
    if isinstance(option, tuple):
        return all(_is_decision_value(o) for o in option)
    return option is None or isinstance(option, int | str) or (isinstance(option, float) and isfinite(option))


def format_options(options: tuple[Any, ...]) -> str:
    """Options as an error writes them."""
    return "(" + ", ".join(map(repr, options)) + ")"


class SectioningChoose(Choose):
    """Begins a section of the builder that is observed with each choice, named after what it is a choice of.

    What is built between the choice ``stage2.layer1.kernel`` and the next belongs to ``stage2.layer1``.
    """

    __slots__ = ()

    def one_of(self, name: str, options: Sequence[Option]) -> Option:
        value = super().one_of(name, options)
        if builders := OBSERVED_BUILDERS.get():
            builders[0].section_of_choice(name.rpartition(".")[0] or name)
        return value


class FirstOption:
    """A random source that always takes the first option."""

    def random(self) -> float:
        return 0.0
