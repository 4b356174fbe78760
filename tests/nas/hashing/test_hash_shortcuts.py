"""What is remembered between candidates changes no figure: every shortcut against the long way round."""

from __future__ import annotations

import random
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from nas.candidates.pareto import dominates
from nas.hashing import chains, trees
from nas.hashing.key import graph_key
from nas.hashing.rules import EXACT
from nas.searchers.evolution import AgingEvolution, non_dominated
from nas.searchers.protocol import Outcome
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.catalog import spaces
from search_spaces.families.mobiledet import mobiledet
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import ChoiceGroup, Choose, choose_all
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space
from tests.support import random_programs, random_spaces

MODELS = ("edgetpu", "pixel1_cpu", "note10", "zcu102", "ethos_u55_128")


def one_key(graph: Graph) -> str:
    """The key of a network, after it was made in all ways that there are.

    As a tree, by blocks and by steps; and as those that are none, by chains and operation by operation.
    """
    key = graph_key(graph, EXACT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "_by_blocks", lambda graph: None)
        assert graph_key(graph, EXACT) == key
        patch.setattr(trees, "tree_code", lambda graph: None)
        by_chains = graph_key(graph, EXACT)
        patch.setattr(chains, "view", lambda graph: None)
        assert graph_key(graph, EXACT) == by_chains
    return key


def node_by_node(graph: Graph) -> Graph:
    """The same network, made of single nodes: no block was called."""
    again = Graph.from_json(graph.to_json())
    assert len(again.pieces) == len(again)
    return again


@pytest.mark.parametrize("name", sorted(spaces()))
def test_networks_of_every_space_are_the_same_node_by_node(name: str) -> None:
    space, rng = nas.load_space(name), random.Random(name)
    models = [nas.load_hardware(model) for model in MODELS]
    genotype = space.sample(rng)
    for _ in range(4):
        genotype = space.mutate(genotype, rng)
        graph = space.graph(genotype)
        again = node_by_node(graph)
        assert graph == again
        assert (graph.digest, graph.nodes, graph.macs, graph.params) == (
            again.digest,
            again.nodes,
            again.macs,
            again.params,
        )
        assert nas.functional_hash(graph) == nas.functional_hash(again) == one_key(graph)
        for model in models:
            assert model.estimate(graph) == model.estimate(again)


@pytest.mark.parametrize("name", sorted(spaces()))
def test_a_mutant_is_what_a_new_space_makes_of_its_decisions(name: str) -> None:
    space, rng = nas.load_space(name), random.Random(7)
    child = space.mutate(space.sample(rng), rng)
    new = nas.load_space(name)
    again = new.parse(child.to_json())
    assert list(again.items()) == list(child.items())
    assert [type(v) for v in again.values()] == [type(v) for v in child.values()]
    assert new.graph(again) == space.graph(child)


@settings(max_examples=150, deadline=None)
@given(random_programs.programs())
def test_random_networks_have_one_key_however_they_are_cut(program: random_programs.Program) -> None:
    whole, cut = random_programs.run(program), random_programs.run(program, cut=True)
    assert whole == cut
    assert whole.digest == cut.digest
    assert nas.functional_hash(whole) == nas.functional_hash(cut) == one_key(whole)


@settings(max_examples=60, deadline=None)
@given(random_programs.programs())
def test_random_networks_cost_the_same_however_they_are_cut(program: random_programs.Program) -> None:
    whole, cut = random_programs.run(program), random_programs.run(program, cut=True)
    for name in ("edgetpu", "zcu102"):
        model = nas.load_hardware(name)
        cost = model.estimate(cut)
        assert cost == model.estimate(whole)
        rows = sum(row.latency_ms for row in model.estimate(whole).breakdown())
        assert rows == pytest.approx(cost.latency_ms, rel=1e-12)


def test_branches_at_work_side_by_side_join_their_chains() -> None:
    """Two runs that wait at the same time, one of them taken up again, one read twice."""

    def network(block: bool) -> Graph:
        call = conv_norm_act if block else conv_norm_act.__wrapped__  # type: ignore[attr-defined]
        b = Builder()
        x = b.input((4, 8, 8))
        left, right = call(b, x, 4, 3), call(b, x, 4, 3)
        left = call(b, left, 8)
        tapped = call(b, right, 8)
        both = b.add(call(b, left, 8), call(b, tapped, 8))
        return b.build({"both": both, "tapped": b.conv(tapped, 2)})

    assert len(network(True).pieces) < len(network(False).pieces)
    assert graph_key(network(True), EXACT) == graph_key(network(False), EXACT) == one_key(network(True))


@pytest.mark.parametrize("ends", [(0,), (1,), (0, 1), (1, 0)])
def test_a_block_shows_the_branch_as_well_as_the_sum(ends: tuple[int, ...]) -> None:
    @block
    def fork(b: Builder, x: Tensor) -> tuple[Tensor, ...]:
        branch = b.norm(b.conv(x, 4, 3))
        both = branch, b.add(x, branch)
        return tuple([both[i] for i in ends])

    b = Builder()
    made = fork(b, conv_norm_act(b, b.input((4, 8, 8)), 4))
    graph = b.build({f"out{i}": b.conv(tensor, 2) for i, tensor in enumerate(made)})
    assert nas.functional_hash(graph) == one_key(graph) == nas.functional_hash(node_by_node(graph))


# -- choices -----------------------------------------------------------------------------------------------------------


class OneByOne(Choose):
    """A stand-in: spaces ask it one by one."""


def test_choices_together_are_choices_one_by_one() -> None:
    space = nas.load_space("mobiledet")
    one_by_one = Space(lambda choose: mobiledet(slow(choose)), "mobiledet")

    def slow(choose: Choose) -> Choose:
        return OneByOne("mobiledet", choose._options, choose._preset, choose._rng)

    for seed in range(5):
        genotype = space.sample(random.Random(seed))
        made = OneByOne("mobiledet", {}, {}, random.Random(seed))
        assert mobiledet(made) == space.graph(genotype)
        assert list(made.made.items()) == list(genotype.items())
        replayed = OneByOne("mobiledet", {}, genotype, None)
        assert mobiledet(replayed) == one_by_one.function(Choose("mobiledet", {}, genotype, None))


@settings(max_examples=60, deadline=None)
@given(random_spaces.spaces(), st.integers(0, 99))
def test_spaces_that_know_nothing_of_it_draw_and_mutate_as_they_did(space: Space, seed: int) -> None:
    rng, again = random.Random(seed), random.Random(seed)
    genotype = space.sample(rng)
    assert genotype == space.sample(again)
    child = space.mutate(genotype, rng)
    changed = [name for name in genotype if name in child and child[name] != genotype[name]]
    several = [name for name in genotype if len(space._declared_options[name]) > 1]
    if several:
        name = several[int(again.random() * len(several))]
        options = space._declared_options[name]
        shift = 1 + int(again.random() * (len(options) - 1))
        expected = {**genotype, name: options[(options.index(genotype[name]) + shift) % len(options)]}
        assert child == space.complete(expected, again)
        assert name in changed


def test_replayed_choices_are_the_options_themselves() -> None:
    choices = ChoiceGroup({"a": (0, 1), "b": ("x", "y")})
    graph = Builder()
    done = graph.build(graph.conv(graph.input((1, 2, 2)), 1))

    def function(choose: Choose) -> Graph:
        choose_all(choose, choices)
        return done

    space = Space(function, "two")
    for _ in range(2):  # the second time, the choices are known
        genotype = space._run({"a": True, "b": "x"}, None)[0]
        assert [type(v) for v in genotype.values()] == [int, str]
        for wrong, text in (
            ({"a": 2, "b": "x"}, "'a' cannot be 2"),
            ({"a": [], "b": "x"}, "'a' cannot be"),
            ({"b": "x"}, "no decision for 'a'"),
            ({"a": 1, "b": "x", "c": 3}, "makes no choice 'c'"),
        ):
            with pytest.raises(GenotypeError, match=text):
                space.graph(wrong)  # type: ignore[arg-type]
        assert list(space.graph({"b": "y", "a": 1}).nodes) == list(done.nodes)
        assert list(space._run({"b": "y", "a": 1}, None)[0]) == ["a", "b"]


def test_choices_made_twice_or_with_other_options_are_refused() -> None:
    first, second = ChoiceGroup({"a": (0, 1)}), ChoiceGroup({"a": (0, 1, 2)})
    choose = Choose("s", {}, Genotype({"a": 1}), None)
    assert choose_all(choose, first) == {"a": 1}
    with pytest.raises(SpaceError, match="made twice"):
        choose_all(choose, first)
    known: dict[str, tuple[object, ...]] = {}
    offered: set[ChoiceGroup] = set()
    choose_all(Choose("s", known, {"a": 1}, None, offered), first)
    with pytest.raises(SpaceError, match="was offered"):
        choose_all(Choose("s", known, {"a": 1}, None, offered), second)


def test_a_block_refuses_a_tensor_of_another_builder() -> None:
    mine, other = Builder(), Builder()
    x, y = mine.input((3, 8, 8)), other.input((3, 8, 8))
    conv_norm_act(mine, x, 4)
    with pytest.raises(GraphError, match="another builder"):
        conv_norm_act(mine, y, 4)


# -- tournaments -------------------------------------------------------------------------------------------------------

_LOSS = st.sampled_from([0.0, 1.0, 1.5, -2.0, inf, nan])


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[_LOSS] * n), min_size=1, max_size=8)))
def test_the_undominated_are_those_that_none_dominates(losses: list[tuple[float, ...]]) -> None:
    expected = [a for a in losses if not any(dominates(b, a) for b in losses)]
    best = non_dominated(set(losses))
    assert [a for a in losses if a in best] == expected


def test_one_seed_gives_one_parent_whatever_way_it_is_found() -> None:
    rng, again = random.Random(5), random.Random(5)
    fill = random.Random(0)
    searcher = AgingEvolution(nas.load_space("mobiledet"), rng)
    for _ in range(64):
        losses = (float(fill.randrange(9)), float(fill.randrange(9)))
        searcher.tell(Outcome(Genotype({}), losses, float(fill.randrange(2))))
    members = list(searcher._population)
    for _ in range(200):
        drawn = [members[int(again.random() * 64)] for _ in range(10)]
        legal = [m for m in drawn if m.constraint_violation == 0]
        if legal:
            best = [m for m in legal if not any(dominates(o.losses, m.losses) for o in legal)]
            expected = best[int(again.random() * len(best))]
        else:
            expected = drawn[0]
        assert searcher._parent() is expected
