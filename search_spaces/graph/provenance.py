"""Which scope and which block made each node of a graph, and the names that nodes have for people.

A label is no part of what a network is: no digest, key, comparison or memo sees one. Builders note *events*, such as a
section that begins, and fragments know the parts of the block that made them; what a node's label is, is put together
of the two when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from search_spaces.graph.fragment import Fragment


class BlockCall(NamedTuple):
    """One call of a block function. ``number`` tells the calls of one graph apart, and says no more than that."""

    block: str
    number: int


class Label(NamedTuple):
    """What made a node: the path of scopes it stands in, and the calls of block functions, outermost first.

    ``path`` is such as ``stage2.layer1/expand``, the section of the network and the part of the block; empty where
    nobody named anything.
    """

    path: str = ""
    calls: tuple[BlockCall, ...] = ()

    @property
    def section(self) -> str:
        """The part of the network: the first scope of the path."""
        return self.path.partition("/")[0]


class ChosenSection(str):
    """A section that a choice began, and not whoever builds."""

    __slots__ = ()


class Part(NamedTuple):
    """A label of what is a part of something: that has the label ``whole``."""

    path: str
    calls: tuple[BlockCall, ...]
    whole: Label


UNLABELLED = Label()

# A function and its argument that give names for the calls of a sequence
CallNames: TypeAlias = tuple[Callable[[Any], Sequence[str]], Any]
# Those of pieces that are one call each, the number of the first call, and the scope around
CallScopes: TypeAlias = tuple[CallNames, int, Label | None]
# By the number of the first piece, in order: a path at the top, a label, or a path for each piece
Marks: TypeAlias = Mapping[int, str | Label | Part | CallScopes]
# What a builder notes, one after the other in a flat list: the number of the next piece, the name of a method of
# ``ScopeReplay``, and the three values it is given. A candidate's graph notes dozens that nobody asks for: a flat list
# costs least to make, to keep, and to look through for garbage.
ScopeEvents: TypeAlias = Sequence[Any]


def join_paths(outer: str, inner: str) -> str:
    """The path of a scope inside another; either may be empty."""
    return f"{outer}/{inner}" if outer and inner else outer or inner


class ScopeReplay:
    """Where a builder stood, event by event: which scope holds, and which one is around it.

    Every method returns the mark that it leaves, ``None`` for none.
    """

    def __init__(self) -> None:
        self.names_sections = False  # whoever builds has named sections or scopes, as against parts of blocks
        self._scope: str | Label | Part = ""  # a path at the top, a label, or one of a part
        self._outer: Label | None = None  # the scope around, where there is one
        self._left: list[tuple[str | Label | Part, Label | None]] = []

    def marks(self, events: ScopeEvents) -> dict[int, str | Label | Part | CallScopes]:
        """What holds from which piece on."""
        marks: dict[int, str | Label | Part | CallScopes] = {}
        values = iter(events)
        for number, action, *arguments in zip(values, values, values, values, values, strict=True):
            mark = getattr(self, action)(*arguments)
            if mark is not None:
                marks[number] = mark
        return marks

    def section(self, name: str, block: str, node_count: int) -> str | Label:
        if block or self._outer is not None:
            self.names_sections = self.names_sections or self._outer is None
            self._scope = label = _inner_label(self._outer or UNLABELLED, name, block, node_count)
            return label
        self.names_sections = self.names_sections or bool(name)
        self._scope = name
        return name

    def section_of_choice(self, name: str, *unused: object) -> str | None:
        if self._scope and not isinstance(self._scope, ChosenSection):
            return None
        self._scope = section = ChosenSection(name)
        return section

    def sections_of_calls(self, name_calls: Callable[[Any], Sequence[str]], argument: Any, first: int) -> CallScopes:
        self.names_sections = True
        self._scope = self._outer or ""
        return (name_calls, argument), first, self._outer

    def section_of_call(self, name_calls: Callable[[Any], Sequence[str]], argument: Any, position: int) -> str | Label:
        return self.section(name_calls(argument)[position], "", 0)

    def part(self, name: str, *unused: object) -> Part:
        last = self._scope
        whole = last.whole if isinstance(last, Part) else Label(last) if isinstance(last, str) else last
        self._scope = part = Part(join_paths(whole.path, name), whole.calls, whole)
        return part

    def enter(self, name: str, block: str, node_count: int) -> Label:
        self.names_sections = self.names_sections or bool(name and self._outer is None)
        last = self._scope
        self._left.append((last, self._outer))
        around = Label(last) if isinstance(last, str) else Label(last.path, last.calls)
        self._scope = self._outer = label = _inner_label(around, name, block, node_count)
        return label

    def leave(self, *unused: object) -> str | Label | Part:
        self._scope, self._outer = self._left.pop()
        return self._scope

    def label(self, label: Label, *unused: object) -> Label:
        self._scope = label
        return label


def _inner_label(around: Label, name: str, block: str, node_count: int) -> Label:
    """At ``name`` in a scope, in its calls and one of ``block`` where that is named."""
    calls = (*around.calls, BlockCall(block, node_count)) if block else around.calls
    return Label(join_paths(around.path, name), calls)


def _piece_labels(count: int, marks: Marks) -> Iterator[Label]:
    """The label of the scope that each of ``count`` pieces stands in."""
    start = 0
    current, names = UNLABELLED, ()  # type: tuple[Label, Sequence[str]]
    for number in range(count):
        scope = marks.get(number)
        if isinstance(scope, str):
            current, names = Label(str(scope)), ()
        elif isinstance(scope, Label | Part):
            current, names = Label(scope.path, scope.calls), ()
        elif scope is not None:
            start, ((name_calls, argument), first, outer) = number, scope
            path = outer.path if outer is not None else ""
            names = [join_paths(path, name) for name in name_calls(argument)[first:]]
        yield Label(names[number - start], current.calls) if number - start < len(names) else current


def node_labels(fragments: Sequence[Fragment], events: ScopeEvents) -> tuple[Label, ...]:
    """The label of every node of the pieces that have these fragments. An input belongs to no section."""
    labels: list[Label] = []
    marks = ScopeReplay().marks(events)
    for fragment, outer in zip(fragments, _piece_labels(len(fragments), marks), strict=True):
        inner_labels = fragment.labels
        if inner_labels is None:
            labels += [UNLABELLED if node.op == "input" else outer for node in fragment.nodes]
            continue
        base = len(labels)
        for path, calls in inner_labels:
            shifted = [BlockCall(block, base + number) for block, number in calls]
            labels.append(Label(join_paths(outer.path, path), (*outer.calls, *shifted)))
    return tuple(labels)


def plain_events(count: int, events: ScopeEvents) -> list[Any]:
    """Events that come to the same for ``count`` pieces without functions, as they may be written to a file."""
    return label_events(label_runs(_piece_labels(count, ScopeReplay().marks(events))))


def label_events(runs: Mapping[int, Label]) -> list[Any]:
    """The events of pieces that have these labels from these numbers on."""
    return [value for number, label in runs.items() for value in (number, "label", label, None, None)]


def label_runs(labels: Iterable[Label]) -> dict[int, Label]:
    """Marks for pieces of one node each: where another label begins."""
    runs: dict[int, Label] = {}
    last = UNLABELLED
    for index, label in enumerate(labels):
        if label != last:
            runs[index] = last = label
    return runs


def node_names(operations: Sequence[str], labels: Sequence[Label]) -> tuple[str, ...]:
    """A name for every node, unique in its graph: path and operation, such as ``stage2.layer1/expand/conv``.

    A second one of equal path and operation is ``..._2``, and so on, in the order of execution.
    """
    names: dict[str, int] = {}  # and how often each was wanted
    for op, label in zip(operations, labels, strict=True):
        wanted = name = join_paths(label.path, op)
        while name in names:
            names[wanted] += 1
            name = f"{wanted}_{names[wanted]}"
        names[name] = 1
    return tuple(names)
