"""Keys, forms and deduplication: the fast way against the plain one, published counts, and collisions on purpose."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings

import nas
from nas.hashing import chains
from nas.hashing.benchmark_strings import labelled_dag_key
from nas.hashing.canonical import canonical
from nas.hashing.canonical_form import contract_chains, normal_form_of, vertex_values_and_adjoints
from nas.hashing.deduplicate import Deduplicator
from nas.hashing.equivalence import EQUIVALENCES, EXACT, parse_equivalence
from nas.hashing.isomorphism import first_difference, same_network
from nas.hashing.prime_field import label_code
from search_spaces.families.nasbench101 import module_hash
from search_spaces.registry import UnknownName
from tests.support.fakes import small_space
from tests.support.random_programs import Program, programs, run

# -- two ways to a key -----------------------------------------------------------------------------------------


def signatures_both_ways(graph: nas.Graph) -> tuple[object, object] | None:
    """Outputs and instances, by chains over blocks and by the form."""
    fast = chains.network_signature(graph)
    if fast is None:
        return None
    form = contract_chains(normal_form_of(graph, EXACT))
    values, adjoints, ends = vertex_values_and_adjoints(form)
    instances = sorted(
        (values[v], adjoints[v]) for v, has_parameters in enumerate(form.has_parameters) if has_parameters
    )
    names = [name for name, _, _ in form.outputs]
    return (
        (sorted(fast.outputs), sorted(fast.instances)),
        (sorted(zip(names, ends, strict=True)), instances),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_chains_over_blocks_have_the_signatures_of_the_form(program: Program) -> None:
    signatures = signatures_both_ways(run(program, cut=True))
    if signatures is not None:
        assert signatures[0] == signatures[1]


def test_chains_have_the_signatures_of_the_form_in_real_networks() -> None:
    space = nas.load_space("mobiledet")
    rng = random.Random(0)
    for _ in range(40):
        signatures = signatures_both_ways(space.graph(space.sample(rng)))
        assert signatures is not None
        assert signatures[0] == signatures[1]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_blocks_do_not_show_in_the_key(program: Program) -> None:
    assert nas.functional_hash(run(program, cut=True)) == nas.functional_hash(run(program))


# -- canonical form, comparison ------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_the_canonical_form_is_the_same_network(program: Program) -> None:
    graph = run(program)
    canonical_graph = canonical(graph)
    assert nas.functional_hash(canonical_graph) == nas.functional_hash(graph)
    assert same_network(graph, canonical_graph)
    assert first_difference(graph, canonical_graph) == ""
    assert (canonical_graph.macs, canonical_graph.params) == (graph.macs, graph.params)
    assert nas.graph_from_json(canonical_graph.to_json()) == canonical_graph


def two_branches(first: int, second: int) -> nas.Graph:
    b = nas.Builder()
    x = b.input((4, 8, 8))
    left = b.conv(x, 4, first)
    right = b.conv(x, 4, second)
    return b.build(b.conv(b.concat([left, right]), 8))


def test_branches_made_in_another_order_become_one_graph() -> None:
    a, b = two_branches(1, 3), two_branches(3, 1)
    assert a.digest != b.digest
    assert nas.functional_hash(a) == nas.functional_hash(b)
    assert canonical(a).digest == canonical(b).digest


def test_a_difference_names_the_first_operation() -> None:
    text = first_difference(two_branches(1, 3), two_branches(1, 5))
    assert "kernel=(3, 3)" in text
    assert "kernel=(5, 5)" in text
    assert first_difference(two_branches(1, 3), two_branches(3, 1)) == ""


def test_a_difference_says_shared_or_copied() -> None:
    def network(shared: bool) -> nas.Graph:
        b = nas.Builder()
        x = b.input((4, 8, 8))
        one = b.conv(x, 4, 3)
        two = one if shared else b.conv(x, 4, 3)
        return b.build(b.add(b.act(one, "relu"), b.act(two, "tanh")))

    assert "shared in one and copied in the other" in first_difference(network(True), network(False))


def test_a_difference_of_inputs_or_outputs_is_said() -> None:
    def network(size: int, names: Sequence[str]) -> nas.Graph:
        b = nas.Builder()
        x = b.conv(b.input((4, size, size)), 4)
        return b.build({name: b.conv(x, 4) for name in names})

    assert "inputs differ: 4x8x8 and 4x9x9" in first_difference(network(8, ["a"]), network(9, ["a"]))
    assert "outputs differ" in first_difference(network(8, ["a", "b"]), network(8, ["a", "c"]))
    assert first_difference(network(8, ["a"]), network(8, ["b"])) == ""  # the name of the only output says nothing


# -- what functional_hash takes ------------------------------------------------------------------------------------


def test_a_genotype_is_hashed_with_its_space() -> None:
    space = nas.load_space("mobiledet")
    genotype = space.sample(random.Random(0))
    key = nas.functional_hash(space.graph(genotype))
    assert nas.functional_hash(genotype, space=space) == key
    assert nas.functional_hash((space, genotype)) == key
    assert nas.functional_hash(space.format(genotype), space="mobiledet") == key
    with pytest.raises(TypeError, match="needs the space"):
        nas.functional_hash(genotype)


def test_keys_carry_their_rules() -> None:
    graph = nas.load_network("mobiledet_cpu")
    assert nas.functional_hash(graph).startswith("exact-2:")
    assert nas.functional_hash(graph, rules="pool-linear+bn-scale").startswith("bn-scale-1+pool-linear-1:")
    keys = {nas.functional_hash(graph, rules=r).partition(":")[2] for r in ("exact", "pool-linear", "bn-scale")}
    assert len(keys) == 3  # keys of different rules never meet
    with pytest.raises(UnknownName, match="did you mean 'exact'"):
        nas.functional_hash(graph, rules="exakt")
    with pytest.raises(ValueError, match="stands alone"):
        parse_equivalence("nasbench201-published+exact")
    with pytest.raises(ValueError, match="give the genotype and its space"):
        nas.functional_hash(graph, rules="nasbench201-published")
    with pytest.raises(ValueError, match="cells of nasbench101"):
        nas.functional_hash((nas.load_space("nasbench201"), {}), rules="nasbench101-published")
    assert all(row.summary for row in EQUIVALENCES.values())


def test_what_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        nas.functional_hash(3)


# -- collisions ----------------------------------------------------------------------------------------------------


def test_every_collision_of_short_keys_is_caught() -> None:
    space = nas.Space(small_space)
    genotypes = list(itertools.islice(space.enumerate(), 600))
    exact = Deduplicator(space, "exact")
    short = Deduplicator(space, "exact", graph_hash=lambda graph: nas.functional_hash(graph)[-4:])
    shorter = Deduplicator(space, "exact", graph_hash=lambda graph: nas.functional_hash(graph)[-2:])
    keys = [(exact.network_key(g), short.network_key(g), shorter.network_key(g)) for g in genotypes]
    assert exact.collisions == 0
    assert short.collisions > 0  # 600 networks in 65,536 keys: 2.7 pairs are expected to collide
    assert shorter.collisions > 300
    assert len({n[0] for n in keys}) == len({n[1] for n in keys}) == len({n[2] for n in keys})
    assert len(set(keys)) == len({n[0] for n in keys})


def test_genotypes_of_one_network_get_one_key() -> None:
    space = nas.load_space("nasbench201")
    deduplicator = Deduplicator(space, "exact")
    first = space.parse("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|")
    second = space.parse("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")
    other = space.parse("|none~0|+|none~0|none~1|+|nor_conv_1x1~0|nor_conv_3x3~1|nor_conv_3x3~2|")
    assert deduplicator.network_key(first) == deduplicator.network_key(second) != deduplicator.network_key(other)
    assert deduplicator.collisions == 0
    assert deduplicator.seconds > 0


# -- NAS-Bench-101 -------------------------------------------------------------------------------------------------

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")


def connected(vertices: int) -> Iterator[list[list[int]]]:
    """Operands of every vertex, for all graphs of at most 9 edges whose vertices all lie on a path."""
    pairs = [(i, j) for j in range(vertices) for i in range(j)]
    for bits in range(1 << len(pairs)):
        if bits.bit_count() > 9:
            continue
        operands: list[list[int]] = [[] for _ in range(vertices)]
        read = set()
        for index, (i, j) in enumerate(pairs):
            if bits >> index & 1:
                operands[j].append(i)
                read.add(i)
        if len(read) == vertices - 1 and all(operands[1:]):
            yield operands


def labelled_cells(vertices: int) -> Iterator[tuple[tuple[str, ...], list[list[int]]]]:
    for operands in connected(vertices):
        for interior in itertools.product(OPERATIONS, repeat=vertices - 2):
            yield ("input", *interior, "output"), operands


def key_of_cell(ops: Sequence[str], operands: list[list[int]]) -> bytes:
    return labelled_dag_key([label_code("cell", op) for op in ops], operands)


def matrix_of(operands: list[list[int]]) -> list[list[int]]:
    return [[int(i in read) for read in operands] for i in range(len(operands))]


def test_small_cells_have_the_partition_of_the_official_hash() -> None:
    count = 0
    keys: dict[bytes, set[str]] = defaultdict(set)
    official: dict[str, set[bytes]] = defaultdict(set)
    for vertices in range(2, 6):
        for ops, operands in labelled_cells(vertices):
            count += 1
            key, theirs = key_of_cell(ops, operands), module_hash(ops, matrix_of(operands))
            keys[key].add(theirs)
            official[theirs].add(key)
    assert (count, len(keys)) == (3364, 2532)
    assert all(len(other) == 1 for other in (*keys.values(), *official.values()))


def test_cells_of_six_vertices_are_counted() -> None:
    cells = [key_of_cell(*cell) for vertices in range(2, 7) for cell in labelled_cells(vertices)]
    assert (len(cells), len(set(cells))) == (128_509, 64_542)


@pytest.mark.slow
def test_all_cells_have_the_partition_of_the_official_hash() -> None:
    count = 0
    pairs = set()
    for vertices in range(2, 8):
        for ops, operands in labelled_cells(vertices):
            count += 1
            pairs.add((key_of_cell(ops, operands), module_hash(ops, matrix_of(operands))))
    assert count == 1_293_208
    assert len(pairs) == len({key for key, _ in pairs}) == len({theirs for _, theirs in pairs}) == 423_624


def test_the_spaces_key_is_that_of_the_pruned_cell() -> None:
    space = nas.load_space("nasbench101")
    rules = "nasbench101-published"
    a = nas.functional_hash(space.parse("-1 0 1 -2|0>1 0>2 1>3 2>3"), space=space, rules=rules)
    b = nas.functional_hash(space.parse("-1 1 0 -2|0>1 0>2 1>3 2>3"), space=space, rules=rules)
    c = nas.functional_hash(space.parse("-1 1 0 -2|0>1 1>2 2>3"), space=space, rules=rules)
    assert a == b != c
