"""Whether two graphs are the same trainable network, and where two networks differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.hashing.canonical_form import (
    NormalForm,
    ambiguous_vertices,
    contract_chains,
    individualisation_digest,
    normal_form_of,
    stable_colouring,
    vertex_values_and_adjoints,
)
from nas.hashing.equivalence import EXACT, Equivalence
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS

if TYPE_CHECKING:
    import networkx


def same_network(a: Graph, b: Graph, rules: Equivalence = EXACT) -> bool:
    """Whether the forms of two graphs are isomorphic. No key is compared, so no collision of keys can mislead.

    Colour refinement settles all but networks with ambiguous vertices; for those that even a round of
    individualisation does not separate, networkx tries the matchings.
    """
    if a.digest == b.digest:
        return True
    if a.input_shapes != b.input_shapes:
        return False
    forms = [contract_chains(normal_form_of(graph, rules)) for graph in (a, b)]
    names = [[name for name, _, _ in form.outputs] for form in forms]
    if names[0] != names[1] or len(forms[0].labels) != len(forms[1].labels):
        return False
    colours = [stable_colouring(form) for form in forms]
    if sorted(colours[0]) != sorted(colours[1]):
        return False
    if ambiguous_vertices(forms[0], colours[0]) and individualisation_digest(forms[0]) != individualisation_digest(
        forms[1]
    ):
        return False  # where matching could take for ever
    from networkx.algorithms.isomorphism import DiGraphMatcher

    first, second = [_to_networkx(form, colour) for form, colour in zip(forms, colours, strict=True)]
    matcher = DiGraphMatcher(
        first,
        second,
        node_match=lambda m, n: m["label"] == n["label"],
        edge_match=lambda m, n: m["multiplicity"] == n["multiplicity"],
    )
    return bool(matcher.is_isomorphic())


def _to_networkx(form: NormalForm, colours: Sequence[bytes]) -> networkx.DiGraph[object]:
    """The form as a networkx graph; the colours guide the matching, the labels themselves decide it."""
    import networkx

    graph: networkx.DiGraph[object] = networkx.DiGraph()
    for vertex, label in enumerate(form.labels):
        graph.add_node(vertex, label=(label, form.has_parameters[vertex], colours[vertex]))
        for arg, multiplicity in form.operands[vertex]:
            graph.add_edge(arg, vertex, multiplicity=multiplicity)
    for number, group in enumerate(form.instance_groups):
        graph.add_node(("instance", number), label="instance")
        for vertex in group:
            graph.add_edge(vertex, ("instance", number), multiplicity=1)
    for name, terms, zero in form.outputs:
        graph.add_node(("output", name), label=("output", name, zero))
        for arg, multiplicity in terms.items():
            graph.add_edge(arg, ("output", name), multiplicity=multiplicity)
    return graph


# -- where two differ --------------------------------------------------------------------------------------------------


def first_difference(a: Graph, b: Graph, rules: Equivalence = EXACT) -> str:
    """The first place, in order of execution, where two networks differ, in words; empty where they are the same."""
    if same_network(a, b, rules):
        return ""
    if a.input_shapes != b.input_shapes:
        return f"the inputs differ: {_shapes_text(a)} and {_shapes_text(b)}"
    forms = normal_form_of(a, rules), normal_form_of(b, rules)
    names = [[name for name, _, _ in form.outputs] for form in forms]
    if names[0] != names[1]:
        return f"the outputs differ: {', '.join(names[0]) or 'one'} and {', '.join(names[1]) or 'one'}"
    (values_a, adjoints_a, _), (values_b, adjoints_b, _) = [vertex_values_and_adjoints(form) for form in forms]
    values = (values_a, values_b)
    firsts = []  # of each network, the first vertex whose value the other does not have
    for mine, other in ((0, 1), (1, 0)):
        other_values = set(values[other])
        firsts.append(next((v for v, value in enumerate(values[mine]) if value not in other_values), None))
    graphs = (a, b)
    if firsts != [None, None]:
        texts = [
            "nothing more" if vertex is None else _vertex_text(graphs[i], forms[i], vertex)
            for i, vertex in enumerate(firsts)
        ]
        return f"the first has {texts[0]}, where the second has {texts[1]}"
    signatures = [list(zip(*both, strict=True)) for both in ((values_a, adjoints_a), (values_b, adjoints_b))]
    counts = [Counter(of_network) for of_network in signatures]
    for mine, other, which in ((0, 1, "first"), (1, 0, "second")):
        for vertex, signature in enumerate(signatures[mine]):
            if forms[mine].has_parameters[vertex] and counts[mine][signature] > counts[other][signature]:
                return (
                    f"the {which} has {_vertex_text(graphs[mine], forms[mine], vertex)}, which both compute but use"
                    " differently: shared in one and copied in the other, or read by something else"
                )
    return "operations that look alike are joined in different ways"


def _shapes_text(graph: Graph) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in graph.input_shapes)


def _vertex_text(graph: Graph, form: NormalForm, vertex: int) -> str:
    index = form.node_indices[vertex]
    node = graph.nodes[index]
    attrs = ", ".join(f"{name}={value}" for name, value in zip(OPS[node.op].attrs, node.attrs, strict=True))
    return f"node {index}, {node.op}({attrs}) of {'x'.join(map(str, node.shape))}"
