"""Keys that are stored in files: they never change, and do not depend on the process."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from nas.hashing import functional_hash as key
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from tests.conftest import ROOT
from tests.support.near_misses import (
    NEAR_MISSES,
    cycles,
    graph_of,
    joined,
    residuals,
)
from tests.support.random_networks import random_program
from tests.support.random_programs import run

# Keys are stored in files: they must never change without a new version of the rules.
GOLDEN: dict[str, str] = {
    "one convolution": "exact-2:c2eb91abd9aed5dac68cf564dd0ffd25",
    "a residual block": "exact-2:571335803fedd0e1d868ed98f23bc29a",
    "blocks side by side": "exact-2:a0c5f8b607f374929bd3fad6402188d1",
    "an 8-cycle": "exact-2:95bbb440e846c01e9607b52db37f22c6",
    "two 4-cycles": "exact-2:cd9a40d736b65481cc4c46925957fab0",
    "two outputs": "exact-2:2195bffb786659c159a3ba35532843ad",
    "a random network": "exact-2:83379d6dd8706b68020238f0b70ae538",
    "a mobiledet": "exact-2:0ad7ab9bf9472c9b4ff73d9f5f6cb519",
}


def golden_graphs() -> dict[str, Graph]:
    """Networks whose keys are written down in ``GOLDEN``."""
    space = load_space("mobiledet")
    return {
        "one convolution": graph_of(lambda b, x: b.conv(x, 4, 3)),
        "a residual block": graph_of(residuals(2)),
        "blocks side by side": graph_of(joined((1, 0), lambda b, y, x: b.conv(b.act(b.norm(y), "relu"), 4), (2, 3))),
        "an 8-cycle": graph_of(cycles(8)),
        "two 4-cycles": graph_of(cycles(4, 4)),
        "two outputs": graph_of(NEAR_MISSES["outputs, names"][0]),
        "a random network": run(random_program(random.Random(7))),
        "a mobiledet": space.graph(space.sample(random.Random(0))),
    }


@pytest.mark.parametrize("name", golden_graphs())
def test_golden_keys(name: str) -> None:
    assert key(golden_graphs()[name]) == GOLDEN[name]


def test_keys_do_not_depend_on_the_process() -> None:
    program = (
        "import nas; from tests.nas.hashing.test_golden_keys import golden_graphs;"
        "print({name: nas.functional_hash(graph) for name, graph in golden_graphs().items()})"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    ]
    assert outputs[0] == outputs[1] == f"{ {name: key(graph) for name, graph in golden_graphs().items()} }\n"
