"""Arithmetic written as text, such as ``round8(16 * width) if layer else 8``, for spaces that are YAML files.

The text is read by Python's own parser and only what is listed here is carried out: numbers, quoted texts, names,
``+ - * / // % **``, comparisons, ``and or not``, ``a if b else c``, and calls of ``FUNCTIONS``. There are no
attributes, no subscripts and no other calls, and every number is bounded, so that a text from anywhere can neither
reach into the program nor keep it busy.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from math import ceil, floor, isfinite
from typing import Any

MAX_EXPRESSION_CHARACTERS = 500
MAX_EXPRESSION_DEPTH = 40
MAX_MAGNITUDE = 2**63 - 1
MAX_EXPONENT = 64

Bindings = Mapping[str, Any]
CompiledExpression = Callable[[Bindings], Any]


class ExpressionError(ValueError):
    """A text that is no arithmetic, or arithmetic that has no answer; one line."""


def round_to(value: float, multiple: int) -> int:
    """The nearest multiple, halves up, at least one and never below nine tenths of ``value``.

    With a multiple of 8 this is the rounding of widths that MobileNetV2's authors published
    (tensorflow/models slim/nets/mobilenet/mobilenet.py, ``_make_divisible``). Raises ``ExpressionError``.
    """
    if not isinstance(multiple, int) or multiple < 1:
        raise ExpressionError(f"round_to rounds to a multiple of a whole number above 0, not of {multiple!r}")
    rounded = max(multiple, int(value + multiple / 2) // multiple * multiple)
    return rounded if rounded >= 0.9 * value else rounded + multiple


def round8(value: float) -> int:
    """``round_to(value, 8)``."""
    return round_to(value, 8)


# The function, and how many arguments it takes at least and at most
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "round8": (round8, 1, 1),
    "round_to": (round_to, 2, 2),
    "min": (min, 2, 100),
    "max": (max, 2, 100),
    "int": (int, 1, 1),
    "round": (round, 1, 1),
    "ceil": (ceil, 1, 1),
    "floor": (floor, 1, 1),
}
CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}  # as YAML writes them


def _power(base: float, exponent: float) -> Any:
    if abs(exponent) > MAX_EXPONENT:
        raise ExpressionError(f"an exponent of {exponent!r} is above {MAX_EXPONENT}")
    return base**exponent


_BINARY_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", _power),
}
_ORDERING_OPERATORS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_EQUALITY_OPERATORS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}


class Expression:
    """A text of arithmetic, read and checked. Call it with the values of its names.

    Reading raises ``ExpressionError`` for what is no arithmetic and for names that are not ``allowed_names``; calling
    raises it where there is no answer: a division by zero, a number out of bounds, a text in a sum.
    """

    __slots__ = ("_step", "names", "text")

    def __init__(self, text: str, allowed_names: Collection[str]) -> None:
        text = " ".join(text.split())
        self.text = text
        reader = _ExpressionCompiler(text, allowed_names)
        step = reader.step(_parse_syntax(text), 0)
        self.names = frozenset(reader.names)
        if not self.names:
            value = step({})
            step = lambda _: value  # noqa: E731
        self._step = step

    def __call__(self, names: Bindings) -> Any:
        return self._step(names)


def _parse_syntax(text: str) -> ast.expr:
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise ExpressionError(f"an expression has at most {MAX_EXPRESSION_CHARACTERS} characters, this one {len(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"{text!r} is no arithmetic; that is written as in 2 * width + 8") from None


class _ExpressionCompiler:
    """Turns a syntax tree into functions of the names, and notes the names."""

    def __init__(self, text: str, allowed_names: Collection[str]) -> None:
        self.text = text
        self.allowed_names = allowed_names
        self.names: set[str] = set()

    def step(self, node: ast.expr, depth: int) -> CompiledExpression:
        if depth > MAX_EXPRESSION_DEPTH:
            raise ExpressionError(f"an expression nests at most {MAX_EXPRESSION_DEPTH} deep: {self.text[:60]!r}...")
        read = getattr(self, f"_read_{type(node).__name__}", None)
        if read is None:
            raise ExpressionError(
                f"{self._source_text(node)!r} is no arithmetic: there are numbers, names, quoted texts,"
                f" + - * / // % **, comparisons, and, or, not, 'a if b else c', and {', '.join(FUNCTIONS)}"
            )
        step: CompiledExpression = read(node, depth + 1)
        return step

    def _source_text(self, node: ast.AST) -> str:
        return (ast.get_source_segment(self.text, node) or self.text)[:60]

    def _read_Constant(self, node: ast.Constant, depth: int) -> CompiledExpression:
        value = node.value
        if not isinstance(value, str | bool | None):
            value = _check_magnitude(value, self._source_text(node))
        return lambda _: value

    def _read_Name(self, node: ast.Name, depth: int) -> CompiledExpression:
        name = node.id
        if name in CONSTANTS:
            value = CONSTANTS[name]
            return lambda _: value
        if name not in self.allowed_names:
            raise ExpressionError(f"no name {name!r} here{_suggestion(name, self.allowed_names)}")
        self.names.add(name)
        return operator.itemgetter(name)

    def _read_BinOp(self, node: ast.BinOp, depth: int) -> CompiledExpression:
        row = _BINARY_OPERATORS.get(type(node.op))
        if row is None:
            raise ExpressionError(f"{self._source_text(node)!r}: the operators are + - * / // % **")
        symbol, compute = row
        left, right = self.step(node.left, depth), self.step(node.right, depth)
        part = self._source_text(node)

        def step(names: Bindings) -> Any:
            a, b = left(names), right(names)
            _check_numbers(symbol, (a, b), part)
            try:
                return _check_magnitude(compute(a, b), part)
            except (ArithmeticError, ExpressionError) as error:
                raise _evaluation_error(part, error) from None

        return step

    def _read_UnaryOp(self, node: ast.UnaryOp, depth: int) -> CompiledExpression:
        operand, part = self.step(node.operand, depth), self._source_text(node)
        if isinstance(node.op, ast.Not):
            return lambda names: not operand(names)
        if not isinstance(node.op, ast.USub | ast.UAdd):
            raise ExpressionError(f"{part!r}: the operators are + - * / // % **")
        compute, symbol = (operator.neg, "-") if isinstance(node.op, ast.USub) else (operator.pos, "+")

        def step(names: Bindings) -> Any:
            value = operand(names)
            _check_numbers(symbol, (value,), part)
            return compute(value)

        return step

    def _read_BoolOp(self, node: ast.BoolOp, depth: int) -> CompiledExpression:
        steps = [self.step(value, depth) for value in node.values]
        stop = isinstance(node.op, ast.Or)

        def step(names: Bindings) -> Any:
            value = None
            for each in steps:
                value = each(names)
                if bool(value) is stop:
                    break
            return value

        return step

    def _read_Compare(self, node: ast.Compare, depth: int) -> CompiledExpression:
        operands = [self.step(each, depth) for each in (node.left, *node.comparators)]
        part = self._source_text(node)
        for op in node.ops:
            if type(op) not in _ORDERING_OPERATORS and type(op) not in _EQUALITY_OPERATORS:
                raise ExpressionError(f"{part!r}: the comparisons are == != < <= > >=")
        ops = [type(op) for op in node.ops]

        def step(names: Bindings) -> bool:
            a = operands[0](names)
            for op, operand in zip(ops, operands[1:], strict=True):
                b = operand(names)
                if op in _EQUALITY_OPERATORS:
                    holds = _EQUALITY_OPERATORS[op](a, b)
                else:
                    symbol, compute = _ORDERING_OPERATORS[op]
                    _check_numbers(symbol, (a, b), part)
                    holds = compute(a, b)
                if not holds:
                    return False
                a = b
            return True

        return step

    def _read_IfExp(self, node: ast.IfExp, depth: int) -> CompiledExpression:
        test, then, other = (self.step(each, depth) for each in (node.test, node.body, node.orelse))
        return lambda names: then(names) if test(names) else other(names)

    def _read_Call(self, node: ast.Call, depth: int) -> CompiledExpression:
        part = self._source_text(node)
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            name = node.func.id if isinstance(node.func, ast.Name) else self._source_text(node.func)
            raise ExpressionError(f"no function {name!r}{_suggestion(name, FUNCTIONS)}")
        name = node.func.id
        function, min_arguments, max_arguments = FUNCTIONS[name]
        if (
            node.keywords
            or any(isinstance(a, ast.Starred) for a in node.args)
            or not min_arguments <= len(node.args) <= max_arguments
        ):
            expected_count = str(min_arguments) if min_arguments == max_arguments else f"{min_arguments} or more"
            raise ExpressionError(
                f"{part!r}: {name} takes {expected_count} number{'s' if expected_count != '1' else ''}"
            )
        arguments = [self.step(a, depth) for a in node.args]

        def step(names: Bindings) -> Any:
            values = [a(names) for a in arguments]
            _check_numbers(name, values, part)
            try:
                return _check_magnitude(function(*values), part)
            except (ArithmeticError, ExpressionError) as error:
                raise _evaluation_error(part, error) from None

        return step


def _evaluation_error(part: str, error: Exception) -> ExpressionError:
    if isinstance(error, ExpressionError):
        return error
    what = "divides by zero" if isinstance(error, ZeroDivisionError) else "is beyond all bounds"
    return ExpressionError(f"{part!r} {what}")


def _check_magnitude(value: Any, part: str) -> Any:
    if isinstance(value, int) and -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE:
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    raise ExpressionError(f"{part!r} is no real number of at most {MAX_MAGNITUDE}")


def _check_numbers(what: str, values: Collection[Any], part: str) -> None:
    for value in values:
        if not isinstance(value, int | float):
            value_text = "null" if value is None else repr(value)[:60]
            raise ExpressionError(f"{part!r}: {what} takes numbers, not {value_text}")


def _suggestion(name: str, allowed_names: Collection[str]) -> str:
    close = get_close_matches(name, allowed_names, n=1)
    listed = f"known: {', '.join(sorted(allowed_names)) or 'none'}"
    return f"; did you mean {close[0]!r}? ({listed})" if close else f"; {listed}"
