"""From the files of a build to the facts of its report."""

from __future__ import annotations

from pathlib import Path

from toolchain import __version__
from toolchain.boards import Board
from toolchain.dse.bound import bound, memory_bound
from toolchain.flow.node_facts import unit_facts
from toolchain.flow.records import ModelRecord, SimulationRecord
from toolchain.flow.trained import Metrics
from toolchain.ir.encode import host_rule, reached_codes
from toolchain.ir.graph import Graph
from toolchain.ir.input_types import input_text
from toolchain.plan import Plan
from toolchain.report.data import (
    Accuracy,
    Bound,
    Estimate,
    Fifos,
    InputFacts,
    ModelFacts,
    NodeFacts,
    OutputFacts,
    Report,
    ResourceUse,
    SolverFacts,
    Step,
    Usage,
    Verification,
)
from toolchain.resources import KINDS, Resources
from toolchain.simulate.cycles import simulate, steady_interval
from toolchain.units.totals import frame_bytes, graph_cost, graph_cycles, reader_lanes

DEPLOY = Step(title="Make scripts to the bitstream and a driver for the board", command="fpgaflow deploy .")
"""The next steps of every build."""


def make_report(
    graph: Graph,
    plan: Plan,
    board: Board,
    model: ModelRecord,
    simulation: SimulationRecord,
    metrics: Metrics | None,
    digest: str,
) -> Report:
    """The report of the HARDWARE ``graph``; ``metrics`` are those of the training, where it is known."""
    clock = plan.clock_mhz * 1e6
    interval = steady_interval(graph)
    limit, memory = bound(graph, board, plan.clock_mhz), memory_bound(graph, board, plan.clock_mhz)
    nodes = unit_facts(graph, board, simulation)
    slowest = max(nodes, key=lambda n: n.cycles)
    return Report(
        name=graph.name,
        model=ModelFacts(file=Path(model.file).name, sha256=model.sha256, macs=model.macs, params=model.params),
        board=plan.board,
        architecture="streaming",
        clock_mhz=plan.clock_mhz,
        estimate=Estimate(
            fps=min(clock / interval, memory.fps),
            latency_ms=1e3 * simulate(graph, 1).check().latency_cycles / clock,
            cycles_per_frame=interval,
            bytes_per_frame=frame_bytes(graph),
            limited_by=slowest.name if clock / interval <= memory.fps else memory.limited_by,
        ),
        bound=Bound(fps=limit.fps, limited_by=limit.limited_by),
        resources=usage_facts(graph_cost(graph), board),
        solver=_solver(plan),
        verification=verification_facts(simulation),
        accuracy=accuracy_facts(simulation, metrics),
        input=input_facts(graph),
        outputs=output_facts(graph),
        classes=graph.classes,
        nodes=nodes,
        training=None if metrics is None else metrics.training,
        fifo=_fifos(graph),
        notes=(
            *model.notes,
            *verification_notes(simulation),
            *reach_notes(graph),
            *output_notes(graph),
            *filter(None, [board.doubt(plan.clock_mhz)]),
            *_pace_notes(interval, graph_cycles(graph), slowest.name),
            *_memory_notes(clock / interval, board, frame_bytes(graph)),
            *_zero_notes(nodes),
        ),
        next_steps=(
            Step(
                title="Synthesize with Vitis HLS",
                command="mkdir -p vitis && cd vitis && vitis_hls -f ../hls/run_hls.tcl csynth",
            ),
            Step(title="Synthesize with Vitis 2024 or newer", command="cd hls && bash run.sh csynth"),
            DEPLOY,
        ),
        tool={"fpgaflow": __version__, "g++": simulation.compiler},
        source=digest,
        design=simulation.design,
    )


def verification_facts(simulation: SimulationRecord) -> Verification:
    """The comparisons of a build."""
    return Verification(
        images=simulation.images,
        qonnx_top1_agreement=simulation.qonnx_top1_agreement,
        qonnx_code_mismatches=simulation.qonnx_code_mismatches,
        csim_mismatches=simulation.csim_mismatches,
        csim_seconds=simulation.csim_seconds,
        vectors=sum(simulation.vectors.values()),
        vector_mismatches=simulation.vector_mismatches,
        first_deviation=simulation.first_deviation,
    )


def accuracy_facts(simulation: SimulationRecord, metrics: Metrics | None) -> Accuracy | None:
    """The accuracy of a build, where the images have classes; ``metrics`` are those of the training."""
    if simulation.top1 is None:
        return None
    top1, images = (None, None) if metrics is None else (metrics.float_top1, metrics.test_images)
    return Accuracy(top1=simulation.top1, images=simulation.images, float_top1=top1, float_images=images)


def input_facts(graph: Graph) -> InputFacts:
    """The input of ``graph``: its type, and how the host encodes numbers."""
    encoding = graph.encoding
    assert encoding is not None
    rule, standard = host_rule(encoding), encoding.standard
    return InputFacts(
        type=input_text(encoding),
        shape=graph.given_shape,
        scale=tuple(map(float, rule.scale)),
        zero=tuple(map(float, rule.zero)),
        mean=None if standard is None else standard.mean,
        deviation=None if standard is None else standard.deviation,
        codes=reached_codes(encoding),
    )


def output_facts(graph: Graph) -> tuple[OutputFacts, ...]:
    """The outputs of ``graph`` in their order: names, shapes and types."""
    return tuple(
        OutputFacts(
            name=output.name, shape=graph.shape_of(output), type=str(value.type), classifier=output == graph.classifier
        )
        for output, value in zip(graph.outputs, graph.ends, strict=True)
    )


def output_notes(graph: Graph) -> tuple[str, ...]:
    """A note on the output whose accuracy is told, where there are several."""
    if len(graph.outputs) == 1:
        return ()
    if graph.classifier is not None:
        return (f"classes and accuracy are those of the output '{graph.classifier.name}'",)
    names = ", ".join(f"'{output.name}'" for output in graph.outputs)
    return (f"no accuracy: none of the outputs {names} is known to tell a class",)


def reach_notes(graph: Graph) -> tuple[str, ...]:
    """A note where the host's values reach less than half of the codes of the network's quantizer."""
    encoding = graph.encoding
    assert encoding is not None
    low, high = reached_codes(encoding)
    if encoding.quantizer is None or 2 * (high - low) >= encoding.high - encoding.low:
        return ()
    all_codes = f"{encoding.low} to {encoding.high}"
    return (f"the input reaches the codes {low} to {high} of {all_codes}: is its scale the one trained with?",)


def verification_notes(simulation: SimulationRecord) -> tuple[str, ...]:
    """Notes on the images and checks of a build."""
    notes = [f"verified on {simulation.images} images of {simulation.data}"]
    if simulation.qonnx_images:
        notes.append(f"compared with the float32 QONNX executor on {simulation.qonnx_images} images")
    else:
        notes.append("not compared with the QONNX file: it is not where it was, or --qonnx-images is 0")
    return tuple(notes)


def _pace_notes(interval: int, slowest: int, name: str) -> tuple[str, ...]:
    if interval <= slowest:
        return ()
    return (f"frames take {interval} cycles, {interval - slowest} more than '{name}' needs: FIFOs are too shallow",)


def _memory_notes(units: float, board: Board, moved: int) -> tuple[str, ...]:
    """A note where the memory keeps up fewer frames a second than the ``units`` take."""
    sustained = board.memory.sustained_bytes_per_second
    if sustained is None or sustained / moved >= units:
        return ()
    rate, limit = f"{sustained / 1e9:.3g} GB/s", f"{sustained / moved:,.0f} fps"
    return (f"the units take {units:,.0f} fps; the {rate} that the memory keeps up are {limit}",)


def _solver(plan: Plan) -> SolverFacts:
    if plan.solver is None:
        return SolverFacts(name="none", status="given by hand", gap=None, seconds=0.0)
    name = ", units ".join(filter(None, (plan.solver.name, plan.solver.costs)))
    return SolverFacts(name=name, status=plan.solver.status, gap=plan.solver.gap, seconds=plan.solver.seconds)


def usage_facts(accelerator: Resources, board: Board) -> ResourceUse:
    """Accelerator and shell against the planned share of the device."""
    shell = board.shell.resources
    used, budget = accelerator + shell, board.budget + shell
    kinds = {
        kind: Usage(used=getattr(used, kind), budget=getattr(budget, kind), available=getattr(board.totals, kind))
        for kind in KINDS
    }
    return ResourceUse(**kinds)


def _zero_notes(nodes: tuple[NodeFacts, ...]) -> tuple[str, ...]:
    """A note on the LUTs that pruned weights save."""
    saved = {node.name: node.zero_weight_luts for node in nodes if node.zero_weight_luts}
    if not saved:
        return ()
    units = ", ".join(f"'{name}' {luts:,}" for name, luts in saved.items())
    return (f"LUT saved by zero weights, which units of constant weights leave out: {units}",)


def _fifos(graph: Graph) -> Fifos:
    lanes = {graph.input.name: reader_lanes(graph)}
    for node in graph.nodes:
        if node.parallelism is not None:
            lanes |= {value.name: node.parallelism.lanes_out for value in node.outputs}
    values = graph.values()
    renamed = {node.output.name for node in graph.nodes if node.renames}
    found = [
        (values[name].depth or 2, width * values[name].qint.bits)
        for name, width in lanes.items()
        if name not in renamed
    ]
    return Fifos(
        streams=len(found), bits=sum(depth * width for depth, width in found), deepest=max(depth for depth, _ in found)
    )
