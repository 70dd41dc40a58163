"""INTEGER graph -> the form that plans are for -> HARDWARE graph: the passes in order, each with why it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolchain.ir.graph import Graph
from toolchain.ir.rules import IllFormed
from toolchain.ir.verify import Level, verify
from toolchain.passes.apply_plan import apply_plan, planned_forms
from toolchain.passes.drop_identities import drop_identities
from toolchain.passes.fuse_tables import fuse_tables
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.insert_width_converters import insert_width_converters
from toolchain.passes.merge_requantizers import merge_requantizers
from toolchain.passes.pad_channels import pad_channels
from toolchain.passes.recode_signs import recode_signs
from toolchain.passes.rename_moves import rename_moves
from toolchain.passes.size_fifos import size_fifos, with_depths
from toolchain.plan import Plan


@dataclass(frozen=True)
class GraphPass:
    """A step Graph -> Graph, which returns the same object where nothing changes, and why it stands where it does."""

    name: str
    why_here: str
    run: Callable[[Graph], Graph]


FORM = (
    GraphPass("drop_identities", "first: of what is left fewer values are forked", drop_identities),
    GraphPass("merge_requantizers", "behind what makes their inputs one, before forks of those", merge_requantizers),
    GraphPass("fuse_tables", "before forks for the same reason, and behind what would part its operands", fuse_tables),
    GraphPass("rename_moves", "before forks and plans, which are of units", rename_moves),
    GraphPass("recode_signs", "before forks, which part a value from the products that read it", recode_signs),
    GraphPass("insert_forks", "before any plan, which names forks", insert_forks),
)
"""The passes that bring a graph to the form of the units: no requantizer without effect or twice, functions as tables,
signs as bits, one reader a stream."""


def planned(plan: Plan) -> tuple[GraphPass, ...]:
    """The passes behind ``FORM`` that build what ``plan`` says."""

    def convert(graph: Graph) -> Graph:
        written = plan.lanes_of_outputs([output.name for output in graph.outputs])
        return insert_width_converters(graph, plan.input_lanes, written)

    def deepen(graph: Graph) -> Graph:
        return size_fifos(graph) if plan.depths is None else with_depths(graph, plan.depths)

    def pad(graph: Graph) -> Graph:
        return pad_channels(graph, plan.padded)

    def split(graph: Graph) -> Graph:
        return planned_forms(graph, plan)

    def apply(graph: Graph) -> Graph:
        return apply_plan(graph, plan)

    return (
        GraphPass("pad_channels", "before row convolutions and lanes, which are of padded channels", pad),
        GraphPass("split_row_convs", "before lanes, which are of the unit that is built", split),
        GraphPass("apply_plan", "before converters, which join lanes that differ", apply),
        GraphPass("insert_width_converters", "before depths, which every stream needs", convert),
        GraphPass("size_fifos", "last, when all streams and their widths are known", deepen),
    )


def run(passes: Sequence[GraphPass], graph: Graph) -> Graph:
    """``graph`` after ``passes``, verified behind each that changed it.

    Raises:
        IllFormed: a pass broke a rule of the graph; the message names it and those before it.
        UserError: a pass refuses the plan.
    """
    done: list[str] = []
    for step in passes:
        before, told = graph, f"in the pass {step.name}" + (f", behind {', '.join(done)}" if done else "")
        try:
            graph = step.run(graph)
            if graph is not before:
                verify(graph, Level.UNITS)
        except IllFormed as error:
            raise IllFormed(f"{told}: {error}") from error
        except Exception as error:
            error.add_note(told)
            raise
        done.append(step.name)
    return graph


def hardware_form(graph: Graph) -> Graph:
    """The INTEGER ``graph`` as units stand for it; it computes the same."""
    return run(FORM, graph)


def to_hardware(graph: Graph, plan: Plan) -> Graph:
    """Make the verified HARDWARE graph of an INTEGER ``graph``; it computes the same.

    It has the lanes of ``plan``, one reader a stream, matching widths and sized FIFOs.

    Raises:
        UserError: the plan does not fit the graph.
    """
    return verify(run((*FORM, *planned(plan)), graph), Level.HARDWARE)
