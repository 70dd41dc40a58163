"""Many accelerators in one verilated program, which saves the compiler's time; an argument chooses one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import jinja2

from toolchain.ir.graph import Graph
from toolchain.rtl.generate import generate_rtl, rtl_core
from toolchain.rtl.simulate import RtlSimulation
from toolchain.rtl.verilate import simulation

WRAPPER = Path(__file__).parent / "together.sv.j2"


def renamed(graphs: Iterable[Graph]) -> list[Graph]:
    """``graphs`` with names of nodes that are different everywhere."""
    found = []
    for number, graph in enumerate(graphs):
        named = graph.with_nodes(replace(node, name=f"{node.name}_{number}") for node in graph.nodes)
        found.append(replace(named, name=f"g{number}"))
    return found


def simulations(graphs: list[Graph]) -> list[RtlSimulation]:
    """A simulation of each of ``graphs``, all of them in one program."""
    files: dict[str, str] = {}
    for graph in graphs:
        files |= generate_rtl(graph)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(WRAPPER.read_text(encoding="utf-8"))
    tops = [(rtl_core(graph), len(graph.outputs)) for graph in graphs]
    files["together.sv"] = template.render(tops=tops, outputs=max(outputs for _, outputs in tops))
    program = simulation(files, "together", quick=True)
    return [RtlSimulation(graph, files, program, f"+chosen={number}") for number, graph in enumerate(graphs)]
