"""Checks of a space's genotypes: texts, vectors, mutations, crossovers, and what is refused."""

from __future__ import annotations

import random
from functools import partial
from itertools import islice

from nas.hashing import functional_hash
from nas.testing.space_under_test import SpaceUnderTest
from search_spaces.space.genotype import DecisionValue, Genotype

UNKNOWN_CHOICE = "no choice of any space"


class GenotypeChecks(SpaceUnderTest):
    """Genotypes survive being written and read, change as asked, and are refused where they are of another space."""

    def test_genotypes_survive_json_and_yaml(self) -> None:
        for genotype, _ in self.sampled_networks(self.space):
            text = genotype.to_json()
            for way, again in (
                ("JSON", Genotype.from_json(text)),
                ("YAML", Genotype.from_yaml(genotype.to_yaml())),
                ("Space.parse", self.space.parse(text)),
            ):
                assert again == genotype, f"{genotype!r} comes back from {way} as {again!r}"
                assert again.to_json() == text, f"{way} changes the order or the type of a decision: {text}"

    def test_notation_is_read_as_it_is_written(self) -> None:
        for genotype, graph in self.sampled_networks(self.space):
            text = self.space.format(genotype)
            again = self.space.parse(text)
            same = again == genotype or functional_hash(self.space.graph(again)) == functional_hash(graph)
            assert same, f"{genotype!r} is written {text!r}, which is read as another network: {again!r}"

    def test_texts_that_are_no_architecture_are_errors(self) -> None:
        for text in ("", "no such architecture", "{", "[1, 2]", f'{{"{UNKNOWN_CHOICE}": 1}}', ":,;|+~ -1 0x"):
            self.assert_refused(f"the text {text!r}", partial(self.space.parse, text))

    def test_foreign_decisions_are_errors(self) -> None:
        for genotype, _ in islice(self.sampled_networks(self.space), 5):
            own = dict(genotype)
            wrong: list[tuple[str, dict[str, DecisionValue]]] = [
                ("a choice that there is not", {**own, UNKNOWN_CHOICE: 1})
            ]
            for name in own:
                wrong.append((f"an option that {name!r} has not", {**own, name: UNKNOWN_CHOICE}))
                wrong.append((f"a genotype without {name!r}", {n: v for n, v in own.items() if n != name}))
            for what, decisions in wrong:
                self.assert_refused(what, partial(self.space.graph, Genotype(decisions)))

    def test_a_mutation_changes_one_decision(self) -> None:
        """One that parent and child both have; conditional choices come and go with it."""
        rng = random.Random(self.seed + 1)
        for parent, _ in self.sampled_networks(self.space):
            child = self.space.mutate(parent, rng)
            changed = [n for n, value in parent.items() if n in child and child[n] != value]
            # decisions() takes long in large spaces, and is called only where nothing changed
            is_mutable = bool(changed) or any(len(self.space.decisions()[name]) > 1 for name in parent)
            assert len(changed) == is_mutable, f"a mutation of {parent!r} changed {changed or 'nothing'}: {child!r}"
            self.assert_in_space(child, "a mutation")

    def test_a_crossover_takes_from_its_parents(self) -> None:
        rng = random.Random(self.seed + 1)
        parents = [genotype for genotype, _ in self.sampled_networks(self.space)]
        for a, b in zip(parents, [*parents[1:], parents[0]], strict=True):
            child = self.space.crossover(a, b, rng)
            self.assert_in_space(child, "a crossover")
            for name, value in child.items():
                inherited = [parent[name] for parent in (a, b) if name in parent]
                assert not inherited or value in inherited, (
                    f"a crossover made {name!r} {value!r}; its parents have {inherited}"
                )

    def test_vectors_are_read_as_they_are_written(self) -> None:
        table = self.space.decisions()
        for genotype, _ in self.sampled_networks(self.space):
            vector = self.space.encode(genotype)
            assert len(vector) == len(table), f"a vector has {len(vector)} entries for {len(table)} choices"
            inactive = [name for name, option_number in zip(table, vector, strict=True) if option_number == -1]
            assert set(inactive) == set(table) - set(genotype), (
                f"-1 stands for {inactive} in the vector of {genotype!r}"
            )
            again = self.space.decode(vector)
            assert again == genotype, f"{genotype!r} comes back from its vector as {again!r}"

    def test_decisions_cover_what_is_sampled(self) -> None:
        table = self.space.decisions()
        for genotype, _ in self.sampled_networks(self.space):
            for name, value in genotype.items():
                assert name in table, f"decisions() lacks the choice {name!r}, which {genotype!r} makes"
                assert value in table[name], f"decisions() lacks the option {value!r} of {name!r}"
