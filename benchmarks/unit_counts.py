"""Units of the conformance grids counted by yosys beside their estimates, and how far a fit to the counts would go.

    python -m benchmarks unit_counts [--each 8] [--luts 800] [--kinds KIND ...] [--known | --only-fit]

Of each kind of unit so many shapes are taken, evenly over its grids, with other lanes where those have fewer; larger
ones than ``--luts`` estimated LUTs are passed over. A unit is counted without its FIFOs. Counts are cached by digest: a
run that was killed goes on. A row's estimate is the model's on its date.

The table tells the error of the estimates, and of a constant, estimated LUTs and flip-flops, fitted to the counts of
the kind's other shapes; of products with weights in a memory and of requantizers, of the parts of
`benchmarks.part_counts`, to all other shapes. Nothing is judged by a fit that has seen its shape. Published rows have
no part in it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from benchmarks.common import Row, print_rows, timed
from benchmarks.count_errors import summary
from benchmarks.part_counts import part_columns
from benchmarks.rtl import compared
from benchmarks.schemas import UNIT_COUNTS
from tests.grids import GRIDS, units
from tests.rtl.together import renamed
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.window import Window
from toolchain.resources import Resources
from toolchain.rtl.count import Design, counted, designs, known
from toolchain.rtl.generate import missing_units
from toolchain.units.fabric import products_per_dsp
from toolchain.units.table import options, unit_cost, unit_of

FREE = ("Norm", "Softmax", "MatMul")
"""Units with few shapes in the grids whose lanes are free: they are taken with others too."""


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--luts", type=int, default=800)
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="count these anew and keep the other rows")
    parser.add_argument("--known", action="store_true", help="of those counts alone that the cache holds")
    parser.add_argument("--only-fit", action="store_true", help="count nothing")
    given = parser.parse_args()
    if not given.only_fit:
        chosen = _chosen(given.each, given.luts, given.kinds)
        rows, spent = timed(lambda: _rows(chosen, given.known))
        UNIT_COUNTS.replace(rows, lambda row: not given.kinds or row["kind"] in given.kinds)
        print(f"{len(rows)} units, {spent.cpu:.0f} s of processor time for those that were not known")
    table = summary(UNIT_COUNTS.rows(), "kind")
    print_rows("", table, {name: name for name in table[0]})


def _rows(pairs: Sequence[tuple[Graph, Node]], only_known: bool) -> list[Row]:
    chosen = [pair for pair in pairs if not only_known or known(_design(*pair)) is not None]
    parts = [_design(graph, node) for graph, node in chosen]
    found = counted(parts, jobs=1, progress=lambda done, of: print(f"{done}/{of}", flush=True))
    rows = []
    for (graph, node), part in zip(chosen, parts, strict=True):
        result = found[part.digest]
        if isinstance(result, str):
            print(result)
            continue
        row: Row = {"kind": kind_of(graph, node), "unit": node.name, "shape": shape_of(graph, node)}
        rows.append(row | compared(estimate(graph, node), result) | part_columns(graph, node, streams=False))
    return rows


def _chosen(each: int, most: int, kinds: Sequence[str] | None = None) -> list[tuple[Graph, Node]]:
    """Evenly over the shapes of each kind, one of every kind after the other: so a part of them is as good."""
    graphs = renamed({id(graph): graph for grid in GRIDS for graph, _ in units(grid)}.values())
    by_kind: defaultdict[str, list[tuple[Graph, Node]]] = defaultdict(list)
    for graph in graphs:
        for node in () if missing_units(graph) else graph.nodes:
            if node.parallelism and not node.renames and estimate(graph, node).lut <= most:
                by_kind[kind_of(graph, node)].append((graph, node))
    by_kind = defaultdict(list, {kind: by_kind[kind] for kind in by_kind if not kinds or kind in kinds})
    for kind, found in by_kind.items():
        if kind.startswith(FREE):
            found += [pair for pair in _other_lanes(tuple(found), most) if kind_of(*pair) == kind]
    shares = {kind: found[:: max(1, len(found) // each)][:each] for kind, found in by_kind.items()}
    return [found[i] for i in range(each) for found in shares.values() if i < len(found)]


def _other_lanes(found: Sequence[tuple[Graph, Node]], most: int) -> Iterator[tuple[Graph, Node]]:
    """The nodes of ``found`` in turn with lanes that none of them has, from the most lanes down."""
    taken = {shape_of(graph, node) for graph, node in found}
    choices = [list(reversed(options(node, graph.value(node.inputs[0]), None))) for graph, node in found]
    for number, turn in enumerate(zip_longest(*choices)):
        for (graph, node), lanes in zip(found, turn, strict=True):
            changed = replace(node, name=f"{node.name}_{number}", parallelism=lanes)
            other = graph.with_nodes(changed if each is node else each for each in graph.nodes)
            if lanes and shape_of(other, changed) not in taken and estimate(other, changed).lut <= most:
                taken.add(shape_of(other, changed))
                yield other, changed


def kind_of(graph: Graph, node: Node) -> str:
    """The operation, and the form that its parallelism gives it."""
    name, lanes = type(node).__name__, node.parallelism
    assert lanes is not None
    if isinstance(node, Window):
        return f"{name}, {'parallel' if lanes.lanes_out > lanes.lanes_in else 'serial'}"
    if lanes.constant:
        return f"{name}, constants"
    operands = unit_of(node).operands(node, graph.value(node.inputs[0]))
    products = None if operands is None else products_per_dsp(lanes, *operands)
    return name if products is None else f"{name}, {('LUT', 'slices')[products] if products < 2 else 'packed'}"


def estimate(graph: Graph, node: Node) -> Resources:
    """The model's resources of the unit without its FIFOs."""
    first, *others = (graph.value(name) for name in node.inputs)
    assert node.parallelism is not None
    return unit_cost(node, first, node.parallelism, *others)


def _design(graph: Graph, node: Node) -> Design:
    return designs(graph)[node.name][0]


def shape_of(graph: Graph, node: Node) -> str:
    """The input, the output and the lanes."""
    first, output = graph.value(node.inputs[0]), node.outputs[0]
    assert node.parallelism is not None
    sizes = " -> ".join(f"{'x'.join(map(str, value.shape))} {value.type}" for value in (first, output))
    return f"{sizes}, lanes {node.parallelism.lanes_in} -> {node.parallelism.lanes_out}"


if __name__ == "__main__":
    main()
