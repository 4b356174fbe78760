"""Whether two graphs are the same trainable network, and where two networks differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from nas.hashing.canonical_form import NormalForm, contract_chains, normal_form_of, vertex_values_and_adjoints
from nas.hashing.equivalence import EXACT, Equivalence
from nas.hashing.matching import LabelledGraph, UndecidedMatch, isomorphism
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS


class UndecidedNetworks(ValueError):
    """Whether two networks are the same was not found out within the bound of the search for an isomorphism."""


def same_network(a: Graph, b: Graph, rules: Equivalence = EXACT) -> bool:
    """Whether the forms of two graphs are isomorphic. No key is compared, so no collision of keys can mislead.

    Raises ``UndecidedNetworks`` for large networks of many operations that look alike and are joined in a way that
    neither refinement nor independent parts take apart, where the search for an isomorphism reaches its bound.
    """
    if a.digest == b.digest:
        return True
    if a.input_shapes != b.input_shapes:
        return False
    forms = [contract_chains(normal_form_of(graph, rules)) for graph in (a, b)]
    names = [[name for name, _, _ in form.outputs] for form in forms]
    if names[0] != names[1] or len(forms[0].labels) != len(forms[1].labels):
        return False
    try:
        return isomorphism(_labelled_graph(forms[0]), _labelled_graph(forms[1])) is not None
    except UndecidedMatch as error:
        raise UndecidedNetworks(
            f"whether the networks {a.digest[:12]} and {b.digest[:12]} are the same is not decided: the search for an"
            " isomorphism reached its bound; treat them as two"
        ) from error


def _labelled_graph(form: NormalForm) -> LabelledGraph:
    """The form as a labelled graph; layers of several blocks, and outputs, are vertices that read what is theirs."""
    labels: list[Hashable] = list(zip(form.labels, form.codes, form.has_parameters, strict=True))
    edges = [
        (arg, vertex, multiplicity) for vertex, operands in enumerate(form.operands) for arg, multiplicity in operands
    ]
    for group in form.instance_groups:
        edges += [(vertex, len(labels), 1) for vertex in sorted(set(group))]
        labels.append("instance")
    for name, terms, zero in form.outputs:
        edges += [(arg, len(labels), multiplicity) for arg, multiplicity in terms.items()]
        labels.append(("output", name, zero))
    return LabelledGraph(labels, edges)


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
