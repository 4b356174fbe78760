"""Checks that a space draws the same networks again: with the seed, in another process, in another order."""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys

from nas.hashing import functional_hash
from nas.testing.global_seeds import other_global_seeds
from nas.testing.space_under_test import SpaceUnderTest
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

_SAMPLE_SCRIPT = """
import ast, json, random, sys
from nas import functional_hash, load_space
space = load_space(sys.argv[1], **ast.literal_eval(sys.argv[2]))
genotype = space.sample(random.Random(int(sys.argv[3])))
print(json.dumps([genotype.to_json(), functional_hash(space.graph(genotype))]))
"""


class DeterminismChecks(SpaceUnderTest):
    """A network depends on the seed and the genotype alone."""

    def test_the_same_seed_draws_the_same_networks(self) -> None:
        with other_global_seeds(1):
            first = [(genotype.to_json(), graph.digest) for genotype, graph in self.sampled_networks(self.make_space())]
        with other_global_seeds(2):
            again = [(genotype.to_json(), graph.digest) for genotype, graph in self.sampled_networks(self.make_space())]
        for one, other in zip(first, again, strict=True):
            assert one[0] == other[0], f"the same seed draws {one[0]} and then {other[0]}"
            assert one[1] == other[1], f"the same genotype makes two networks: {one[0]}"

    def test_another_process_draws_the_same_network(self) -> None:
        """With another seed of Python's own hashes, which the order of sets depends on."""
        import pytest

        space = self.make_space()
        where = self.where or _importable_name(space)
        if not where:
            pytest.skip("another process cannot load a function that is made in another; set `where`")
        options = repr(dict(space.options))
        try:
            ast.literal_eval(options)
        except (ValueError, SyntaxError):
            pytest.skip("another process cannot be told options that are no plain data")
        other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": other}
        command = [sys.executable, "-c", _SAMPLE_SCRIPT, where, options, str(self.seed)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert run.returncode == 0, f"another process cannot make the space: {run.stderr.strip()[-500:]}"
        genotype = space.sample(random.Random(self.seed))
        here = [genotype.to_json(), functional_hash(space.graph(genotype))]
        there = json.loads(run.stdout)
        assert there == here, f"seed {self.seed} draws {here[0]} here and {there[0]} in another process, keys {here[1]}"

    def test_networks_do_not_depend_on_those_made_before(self) -> None:
        first = list(self.sampled_networks(self.make_space()))
        other = self.make_space()
        for genotype, graph in reversed(first):
            again = other.graph(Genotype(dict(genotype)))
            assert again.digest == graph.digest, f"made in another order, {genotype!r} is another network"


def _importable_name(space: Space) -> str:
    """What ``load_space`` takes for the space in another process; empty where there is nothing."""
    module, name = getattr(space.function, "__module__", ""), getattr(space.function, "__qualname__", "")
    if not module or not name.isidentifier() or module == "__main__":
        return ""
    if module.startswith("nas_file_"):
        return f"{sys.modules[module].__file__}:{name}"
    return f"{module}:{name}"
