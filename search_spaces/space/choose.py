"""What a space function is given to choose with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from search_spaces.space.genotype import Genotype, GenotypeError, Rng, SpaceError, T, Value


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
