"""The report of an engine found."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, prod
from pathlib import Path

from toolchain import __version__
from toolchain.dse.bound import mac_cycles
from toolchain.engine.cost import banks_cost, convolution_cost, engine_cost, fixed_cost, window_cost
from toolchain.engine.layers import Pass, Requant
from toolchain.engine.timing import Timing, timings
from toolchain.flow.engine_found import Found
from toolchain.flow.node_facts import node_facts
from toolchain.flow.records import ModelRecord, SimulationRecord
from toolchain.flow.summary import (
    DEPLOY,
    accuracy_facts,
    input_facts,
    output_facts,
    reach_notes,
    usage_facts,
    verification_facts,
    verification_notes,
)
from toolchain.report.data import Bound, Estimate, ModelFacts, NodeFacts, Report, SolverFacts, Step
from toolchain.resources import Resources


def make_report(found: Found, model: ModelRecord, simulation: SimulationRecord, digest: str) -> Report:
    """The report: a node a pass, and one a unit with the cycles that it counted."""
    record, clock = found.record, found.record.clock_mhz * 1e6
    passes = timings(found.program.schedules, found.program.places, found.bytes_per_cycle)
    slowest = max(passes, key=lambda t: t.cycles)
    return Report(
        name=found.graph.name,
        model=ModelFacts(file=Path(model.file).name, sha256=model.sha256, macs=model.macs, params=model.params),
        board=record.board,
        architecture="engine",
        clock_mhz=record.clock_mhz,
        estimate=Estimate(
            fps=clock / record.cycles,
            latency_ms=1e3 * record.cycles / clock,
            cycles_per_frame=ceil(record.cycles),
            bytes_per_frame=sum(t.bytes for t in passes),
            limited_by=f"{slowest.limited_by} in {slowest.name}",
        ),
        bound=best_rate(found, record.clock_mhz),
        resources=usage_facts(engine_cost(found.program.shape), found.board.planned(record.budget)),
        solver=SolverFacts(name=record.solver, status=record.status, gap=record.gap, seconds=record.seconds),
        verification=verification_facts(simulation),
        accuracy=accuracy_facts(simulation, None),
        input=input_facts(found.graph),
        outputs=output_facts(found.graph),
        classes=found.graph.classes,
        nodes=(*_unit_nodes(found, simulation), *_pass_nodes(found, passes, simulation.vectors)),
        notes=(
            *model.notes,
            *verification_notes(simulation),
            *reach_notes(found.graph),
            *filter(None, [found.board.doubt(record.clock_mhz)]),
            f"memory at {found.bytes_per_cycle * clock / 1e9:.3g} GB/s; the host lays the first windows out"
            if found.program.cut.folded
            else f"memory at {found.bytes_per_cycle * clock / 1e9:.3g} GB/s",
        ),
        next_steps=(
            Step(
                title="Synthesize with Vitis HLS",
                command="mkdir -p vitis && cd vitis && vitis_hls -f ../hls/run_hls.tcl",
            ),
            DEPLOY,
        ),
        tool={"fpgaflow": __version__, "g++": simulation.compiler},
        source=digest,
        design=simulation.design,
    )


def best_rate(found: Found, clock_mhz: float) -> Bound:
    """The rate that no engine of these bits exceeds: the whole device multiplies, all data move once."""
    compute = clock_mhz * 1e6 / mac_cycles(found.graph, found.board)
    weights = sum(p.weights for p in found.program.cut.passes) * found.program.shape.weight_bits // 8
    codes = found.graph.input.size + sum(prod(p.out) for p in found.program.cut.read)
    ends = codes * found.program.shape.act_bits // 8
    memory = found.bytes_per_cycle * clock_mhz * 1e6 / (weights + ends)
    ceilings = {"multipliers": compute, "memory": memory}
    least = min(ceilings, key=lambda name: ceilings[name])
    return Bound(fps=ceilings[least], limited_by=least, ceilings=ceilings)


def _unit_nodes(found: Found, simulation: SimulationRecord) -> list[NodeFacts]:
    """The units that have resources of their own, with a frame's cycles, and the shell."""
    shape, shell = found.program.shape, found.board.shell
    costs = {"convolve": convolution_cost(shape), "window": window_cost(shape)}
    products = {"inputs": shape.inputs, "outputs": shape.outputs, "products_per_dsp": shape.products_per_dsp}
    facts = {"convolve": products, "window": {"lanes": shape.lanes, "taps": shape.taps}}
    nodes = []
    for name, cycles in found.unit_cycles().items():
        counted = simulation.cycles[name] // simulation.images if simulation.images else None
        resources = costs.get(name, Resources())
        parallelism = facts.get(name, {"lanes": shape.lanes})
        nodes.append(node_facts(name, "Unit", cycles, counted, resources, parallelism=parallelism))
    banks = {"words": shape.bank_words, "small": shape.small_words}
    nodes.append(node_facts("banks", "Memory", 0, None, banks_cost(shape), parallelism=banks))
    nodes.append(node_facts("requantizers and transfers", "Unit", 0, None, fixed_cost(shape)))
    nodes.append(node_facts("shell", "Shell", 0, None, shell.resources))
    return nodes


def _pass_nodes(found: Found, passes: list[Timing], vectors: Mapping[str, int]) -> list[NodeFacts]:
    """A node a pass: its time, what limits it, what it moves and the frames that drove it by itself."""
    kinds = ["Load", *(_kind(p) for p in found.program.cut.passes)]
    seen = [None, *(vectors.get(p.result) for p in found.program.cut.passes)]
    return [
        node_facts(
            t.name,
            kind,
            ceil(t.cycles),
            None,
            Resources(),
            bits=f"limited by {t.limited_by}, {t.bytes} bytes",
            parallelism={},
            vectors=count,
        )
        for t, kind, count in zip(passes, kinds, seen, strict=True)
    ]


def _kind(p: Pass) -> str:
    """The units of a pass in words: "upsample 2x2, conv 1x1, table, filter 3x3, table, add"."""
    parts = [] if p.repeat == (1, 1) else ["upsample {}x{}".format(*p.repeat)]
    parts += [] if p.conv is None else ["conv {}x{}".format(*p.conv.kernel)]
    parts += _table(p.first)
    if p.window is not None:
        size = "" if p.window.mode == "global_sum" else f" {p.window.kernel}x{p.window.kernel}"
        parts.append(p.window.mode.replace("_", " ") + size)
    parts += _table(p.second)
    parts += [] if p.merge is None else ["add" if p.merge.zeros is None else "multiply"]
    parts += ["quantize"] if p.first is not None and p.conv is None and not _table(p.first) else []
    return ", ".join(parts) or "copy"


def _table(requant: Requant | None) -> list[str]:
    return [] if requant is None or requant.curve is None else ["table"]
