"""The functional hash on all of NAS-Bench-201: its classes are those of a brute-force canonical form."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import nas
from search_spaces.space.space import Space
from tests.support.brute_force_nasbench201 import (
    CONVOLUTIONS,
    EDGES,
    EXACT,
    Cell,
    Notion,
    canonical,
    cells,
    partition,
    term,
    to_string,
)

# rules: what counts as equal, and how many classes the 15,625 cells then have
NOTIONS: dict[str, tuple[Notion, int]] = {
    "exact": (EXACT, 5260),
    "pool-linear": (Notion(pool_linear=True), 5044),
    "bn-scale": (Notion(norm_scale=True), 5170),
    "pool-linear+bn-scale": (Notion(pool_linear=True, norm_scale=True), 4954),
    "bn-bias": (Notion(keep_constants=True), 5485),
    "bn-bias+pool-linear+bn-scale": (Notion(pool_linear=True, norm_scale=True, keep_constants=True), 5144),
}
PUBLISHED = {"nasbench201-published": 6466, "nasbench201-published-zeros": 12751}

# edges 0>1, 0>2, 1>2, 0>3, 1>3, 2>3
OVER_MERGED: tuple[Cell, Cell] = (
    ("nor_conv_3x3", "none", "skip_connect", "none", "skip_connect", "skip_connect"),
    ("nor_conv_3x3", "nor_conv_3x3", "none", "none", "skip_connect", "skip_connect"),
)
OVER_SPLIT: tuple[Cell, Cell] = (
    ("none", "none", "none", "skip_connect", "none", "none"),
    ("none", "skip_connect", "none", "none", "none", "skip_connect"),
)


def space_for(rules: str) -> Space:
    """One cell a stage: cells are the same everywhere, so that more of them would tell nothing new."""
    options = {"image_size": 8, "channels": 4, "cells": 1}
    return nas.load_space("nasbench201").with_options(**options, zeros="bias" if "bn-bias" in rules else "absorb")


def keys(rules: str, some: Sequence[Cell]) -> list[str]:
    space = space_for(rules)
    if rules in PUBLISHED:
        return [nas.functional_hash(space.parse(to_string(cell)), space=space, rules=rules) for cell in some]
    return [nas.functional_hash(space.graph(space.parse(to_string(cell))), rules=rules) for cell in some]


def sample(count: int) -> list[Cell]:
    """Cells at random, always the same ones."""
    return random.Random(201).sample(cells(), count)


def published_classes(shared: Callable[[str], Path]) -> dict[str, int]:
    with gzip.open(shared("data/nb201_accuracy/nb201_accuracy.csv.gz"), "rt", newline="") as file:
        return {row["arch_str"]: int(row["canonical_idx"]) for row in csv.DictReader(file)}


def test_the_brute_force_form_finds_the_published_numbers_of_classes() -> None:
    for notion, count in NOTIONS.values():
        assert len({canonical(cell, notion) for cell in cells()}) == count


def test_constants_that_pass_through_kernel_1_merge_ten_more_classes() -> None:
    """What an executed network says: a 1x1 convolution of a constant map is a constant map. No rule set has it."""
    notion = Notion(pool_linear=True, norm_scale=True, keep_constants=True, constants_pass_kernel_1=True)
    assert len({canonical(cell, notion) for cell in cells()}) == 5134


def test_the_brute_force_form_by_hand() -> None:
    conv = CONVOLUTIONS[1]
    assert to_string((conv, "none", "skip_connect", "none", conv, "avg_pool_3x3")) == (
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|"
    )
    inner = ("conv", conv, 0, (("input",),))
    assert term((conv, "none", "skip_connect", "none", conv, "avg_pool_3x3"), range(6), EXACT) == (
        ("conv", conv, 4, (inner,)),
        ("pool", (inner,)),
    )
    assert len(EDGES) == 6
    assert len(cells()) == 15625


@pytest.mark.parametrize("rules", NOTIONS)
def test_classes_of_a_sample_are_those_of_brute_force(rules: str) -> None:
    some = sample(1500)
    notion, _ = NOTIONS[rules]
    assert partition(keys(rules, some)) == partition(canonical(cell, notion) for cell in some)


@pytest.mark.parametrize(
    "rules", ["exact", *(pytest.param(r, marks=pytest.mark.slow) for r in NOTIONS if r != "exact")]
)
def test_classes_of_all_cells_are_those_of_brute_force(rules: str) -> None:
    notion, count = NOTIONS[rules]
    class_keys = keys(rules, cells())
    assert len(set(class_keys)) == count
    assert partition(class_keys) == partition(canonical(cell, notion) for cell in cells())


@pytest.mark.slow
def test_cells_are_classed_alike_in_the_published_network() -> None:
    """Five cells a stage on CIFAR's 32x32, as trained."""
    some = sample(1500)
    space = nas.load_space("nasbench201")
    class_keys = [nas.functional_hash(space.graph(space.parse(to_string(cell)))) for cell in some]
    assert partition(class_keys) == partition(canonical(cell) for cell in some)


def test_published_classes_are_those_of_the_published_table(shared: Callable[[str], Path]) -> None:
    published = published_classes(shared)
    class_keys = keys("nasbench201-published", cells())
    assert len(set(class_keys)) == PUBLISHED["nasbench201-published"]
    assert partition(class_keys) == partition(published[to_string(cell)] for cell in cells())


def test_published_classes_with_zeros_kept() -> None:
    assert len(set(keys("nasbench201-published-zeros", cells()))) == PUBLISHED["nasbench201-published-zeros"]


def test_one_convolution_used_twice_is_not_two() -> None:
    """The published classes mix them."""
    for rules in NOTIONS:
        one, other = keys(rules, OVER_MERGED)
        assert one != other
    one, other = keys("nasbench201-published", OVER_MERGED)
    assert one == other


def test_two_ways_of_doing_nothing_are_one() -> None:
    """The published classes split them."""
    for rules in NOTIONS:
        one, other = keys(rules, OVER_SPLIT)
        assert one == other
    one, other = keys("nasbench201-published", OVER_SPLIT)
    assert one != other
