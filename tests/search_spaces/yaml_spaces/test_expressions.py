"""Arithmetic in text: it agrees with Python, rounds widths as published, and nothing else can be said in it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.families.mobilenetv2 import make_divisible
from search_spaces.yaml_spaces.expressions import MAX_MAGNITUDE, Expression, ExpressionError, round8, round_to

NAMES = {"a": 7, "b": 2, "width": 0.5, "act": "hswish", "flag": True, "none": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 * a + 8", 22),
        ("-a // b", -4),
        ("+a % 4", 3),
        ("a ** b ** 2", 2401),
        ("a / b", 3.5),
        ("16 * width", 8.0),
        ("1 < b <= a", True),
        ("1 < a < b", False),
        ("a == 7 and b != 3", True),
        ("not flag or none", None),
        ("flag and 5", 5),
        ("8 if act == 'hswish' else 6", 8),
        ("round8(width * 40)", 24),
        ("round_to(10, 4)", 12),
        ("min(a, b, 5) + max(a, b)", 9),
        ("int(3.9) + round(2.6) + ceil(0.1) + floor(-0.1)", 6),
        ("true", True),
        ("false", False),
        ("null", None),
        ("'relu6'", "relu6"),
        ("  a\n  + 1 ", 8),
        ("1e-3", 0.001),
    ],
)
def test_arithmetic_has_pythons_answers(text: str, value: object) -> None:
    answer = Expression(text, NAMES)(NAMES)
    assert answer == value
    assert type(answer) is type(value)


def _texts() -> st.SearchStrategy[str]:
    leaves = st.one_of(st.integers(-20, 20).map(lambda i: f"({i})"), st.sampled_from(["a", "b", "width"]))
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "<", ">=", "==", "and", "or"])

    def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(inner, operators, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
            inner.map(lambda t: f"(not {t})"),
            inner.map(lambda t: f"floor({t})"),
        )

    return st.recursive(leaves, wider, max_leaves=12)


@given(_texts())
def test_any_text_agrees_with_python(text: str) -> None:
    names = {"a": 7, "b": 2, "width": 0.5}
    from math import floor

    try:
        expected = eval(text, {"floor": floor, **names})  # noqa: S307 - our own text
    except ZeroDivisionError:
        expected = None
    if expected is None or abs(expected) > MAX_MAGNITUDE or len(text) > 500:
        with pytest.raises(ExpressionError, match=r"^.*\Z"):
            Expression(text, names)(names)
    else:
        assert Expression(text, names)(names) == expected


def test_only_the_names_that_are_read_are_named() -> None:
    assert Expression("a + min(b, 2) if true else width", NAMES).names == {"a", "b", "width"}
    assert Expression("round8(100)", ()).names == frozenset()


@given(st.floats(0, 1e6))
def test_round8_is_the_published_rounding(width: float) -> None:
    assert round8(width) == make_divisible(width)


def test_round_to_other_multiples() -> None:
    assert [round_to(w, 4) for w in (0.5, 6, 9, 21.9)] == [4, 8, 12, 20 if 20 >= 0.9 * 21.9 else 24]
    assert round_to(100, 1) == 100
    with pytest.raises(ExpressionError, match="multiple of a whole number above 0, not of 0"):
        round_to(8, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'' is no arithmetic; that is written as in 2 \* width \+ 8"),
        ("2 *", "'2 \\*' is no arithmetic"),
        ("a = 3", "is no arithmetic"),
        ("a; b", "is no arithmetic"),
        ("widht * 2", r"no name 'widht' here; did you mean 'width'\? \(known: a, act, b, flag, none, width\)"),
        ("zzz", "no name 'zzz' here; known: a, act, b, flag, none, width"),
        ("a.real", "'a.real' is no arithmetic: there are numbers, names, quoted texts"),
        ("a[0]", r"'a\[0\]' is no arithmetic: there are"),
        ("(1, 2)", "is no arithmetic: there are"),
        ("[x for x in a]", "is no arithmetic: there are"),
        ("lambda: 1", "is no arithmetic: there are"),
        ("f'{a}'", "is no arithmetic: there are"),
        ("(a := 3)", "is no arithmetic: there are"),
        ("__import__('os')", "no function '__import__'; known: ceil, floor"),
        ("rond8(3)", "no function 'rond8'; did you mean 'round8'"),
        ("a.bit_length()", "no function 'a.bit_length'"),
        ("(lambda: 1)()", "no function"),
        ("round8(1, 2)", "'round8\\(1, 2\\)': round8 takes 1 number$"),
        ("max(1)", "max takes 2 or more numbers"),
        ("max(*a)", "max takes 2 or more numbers"),
        ("round(1, ndigits=3)", "round takes 1 number$"),
        ("a @ b", "'a @ b': the operators are"),
        ("a << b", "'a << b': the operators are"),
        ("~a", "'~a': the operators are"),
        ("a is b", "'a is b': the comparisons are"),
        ("a in b", "the comparisons are"),
        ("a / (b - 2)", "'a / \\(b - 2\\)' divides by zero"),
        ("a % 0", "'a % 0' divides by zero"),
        ("0 ** -1", "'0 \\*\\* -1' divides by zero"),
        ("act * 3", "'act \\* 3': \\* takes numbers, not 'hswish'"),
        ("act * 999999999999", "takes numbers"),
        ("none + 1", "takes numbers, not null"),
        ("act < 3", "< takes numbers, not 'hswish'"),
        ("-act", "takes numbers"),
        ("int('3')", "int takes numbers, not '3'"),
        ("9 ** 9 ** 9", "an exponent of 387420489 is above 64"),
        ("2 ** 64", "no real number of at most 9223372036854775807"),
        ("(-8) ** 0.5", "no real number"),
        ("1e308 * 10", "no real number"),
        ("1e400", "no real number"),
        ("10.0 ** 64 ** 1 * 1e300", "no real number"),
        ("9e63 ** 64", "is beyond all bounds"),
        ("3j", "no real number"),
        ("b'x'", "no real number"),
        ("...", "no real number"),
        ("9" * 400, "no real number"),
        ("1 + " * 200 + "1", "at most 500 characters, this one 801"),
        ("-" * 400 + "1", "nests at most 40 deep"),
        ("(" * 240 + "1" + ")" * 240, "is no arithmetic"),
        ("a\0b", "is no arithmetic"),
        ("1or a", None),
        ("'\\d' == a", None),
    ],
)
def test_whatever_else_is_an_error_of_one_line_and_ends_soon(text: str, message: str | None) -> None:
    started = time.perf_counter()
    if message is None:  # what Python warns of is no warning here
        Expression(text, NAMES)(NAMES)
    else:
        with pytest.raises(ExpressionError, match=message) as caught:
            Expression(text, NAMES)(NAMES)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700
    assert time.perf_counter() - started < 1


def test_numbers_that_double_at_every_step_stop_at_their_bound() -> None:
    values = {"x": 2}
    square = Expression("x * x", values)
    for _ in range(5):
        values["x"] = square(values)
    assert values["x"] == 2**32
    with pytest.raises(ExpressionError, match="no real number"):
        square(values)
