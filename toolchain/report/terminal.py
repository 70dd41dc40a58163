"""The report as rich tables for the terminal. Whoever has a console prints what these functions return."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from toolchain.report.data import Counted, Counts, NodeFacts, Report, Usage
from toolchain.report.fitting import FittingTable, plain_table
from toolchain.report.view import (
    RESOURCES,
    Verdict,
    bottlenecks,
    bound_share,
    compared,
    conclude,
    counted,
    counting,
    counts_differ,
    driven,
    float_accuracy,
    interval_share,
    lanes,
    limited_by,
    number,
    over_budget,
    percent,
    plural,
    recounted,
    resources,
    slowest,
    used_share,
)

NODE_LIMIT = 20
BAR_WIDTH = 24
NAME_WIDTH = 28
_MARKS = {Verdict.EXACT: ("✔", "green"), Verdict.DIFFERS: ("✘", "red"), Verdict.OPEN: ("?", "yellow")}


def render(report: Report) -> Group:
    """Summary, resources, nodes and notes, one below the other."""
    parts: list[RenderableType] = [summary(report), resource_table(report), node_table(report)]
    if len(report.nodes) > NODE_LIMIT:
        line = f"The {NODE_LIMIT} slowest of {len(report.nodes)} nodes; all are in report.json."
        parts.append(Text(line, style="dim"))
    if report.counted is not None:
        parts += [count_table(report, report.counted), Text(f"{_plain(counting(report))}.", style="dim")]
    if report.measured is not None:
        parts.append(measured_table(report))
    parts += [Text(f"Note: {_plain(note)}") for note in report.notes]
    return Group(*parts)


def summary(report: Report) -> Panel:
    """The figures that matter first, and whether they can be believed."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    estimate = report.estimate
    grid.add_row(
        "Speed", Text(f"{number(estimate.fps)} fps estimated, latency {number(estimate.latency_ms)} ms", "bold")
    )
    interval = f"{estimate.cycles_per_frame:,} cycles per frame at {report.clock_mhz:g} MHz"
    grid.add_row("Limited by", Text(f"{_plain(limited_by(report))} ({interval})"))
    if counted(report):
        grid.add_row("Cycles", Text(counted(report)))
    grid.add_row("Bound", _bound(report))
    grid.add_row("Solver", _solver(report))
    grid.add_row("Verification", _verification(report))
    grid.add_row("Accuracy", _accuracy(report))
    if report.input is not None:
        grid.add_row("Input", Text(_plain(report.input.type)))
    if len(report.outputs) > 1:
        outputs = (f"{o.name} {' x '.join(map(str, o.shape))} of {o.type}" for o in report.outputs)
        grid.add_row("Outputs", Text(_plain(", ".join(outputs))))
    title = Text.assemble((_plain(report.name), "bold"), f" on {_plain(report.board)}, {report.architecture}")
    return Panel(grid, title=title, title_align="left", border_style=_MARKS[conclude(report).verdict][1])


def _bound(report: Report) -> Text:
    share = bound_share(report)
    reached = f", {percent(share)} of it reached" if share is not None else ""
    return Text(f"{number(report.bound.fps)} fps{reached} ({_plain(report.bound.limited_by)})")


def _solver(report: Report) -> Text:
    solver = report.solver
    gap = f"gap {percent(solver.gap)}" if solver.gap is not None else "no gap known"
    style = "" if solver.status == "optimal" else "yellow"
    return Text(f"{_plain(solver.name)}: {_plain(solver.status)}, {gap}, {number(solver.seconds)} s", style)


def _verification(report: Report) -> Text:
    conclusion, facts = conclude(report), report.verification
    mark, style = _MARKS[conclusion.verdict]
    line = Text.assemble((f"{mark} {_plain(conclusion.text)}", style))
    if driven(report):
        line.append(f"\nDriven alone: {driven(report)}")
    if facts.qonnx_top1_agreement is not None:
        same = "same class" if len(report.outputs) < 2 else "largest of every output at the same place"
        line.append(f"\nQONNX: {same} for {percent(facts.qonnx_top1_agreement)} of the images")
    if facts.qonnx_code_mismatches:
        line.append(f", {plural(facts.qonnx_code_mismatches, 'code')} apart by float32 rounding")
    return line


def _accuracy(report: Report) -> Text:
    if report.accuracy is None:
        return Text("not measured", "dim")
    accuracy = report.accuracy
    before = f"; {float_accuracy(accuracy)}" if accuracy.float_top1 is not None else ""
    return Text(f"{percent(accuracy.top1, 2)} top-1 of {plural(accuracy.images, 'image')}{before}")


def resource_table(report: Report) -> Table:
    """Used, budget and available of each resource with a bar over what the device holds."""
    table = plain_table("Resources")
    table.add_column("")
    table.add_column(f"0 {'':{BAR_WIDTH - 7}} 100 %", no_wrap=True)
    for heading in ("Used", "Budget", "Available", "Share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind, usage in report.resources.items():
        numbers = (f"{usage.used:,}", f"{usage.budget:,}", f"{usage.available:,}", percent(used_share(usage)))
        style = "red" if over_budget(usage) else None
        table.add_row(RESOURCES[kind], _bar(usage), *numbers, style=style)
    return table


def measured_table(report: Report) -> Table:
    """Return the table of what a board and Vivado showed, beside the estimates."""
    table = plain_table("Measured")
    for heading in ("", "Estimated", "Measured", "Apart"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in compared(report):
        table.add_row(row.name, row.estimated, row.measured, row.difference)
    return table


def _bar(usage: Usage) -> Text:
    """A bar over the available amount; a stroke marks the budget."""
    scale = BAR_WIDTH / max(usage.available, usage.used, usage.budget, 1)
    full = min(round(usage.used * scale), BAR_WIDTH)
    full = max(full, 1) if usage.used else 0
    mark = min(round(usage.budget * scale), BAR_WIDTH - 1)
    bar = Text("━" * full, "red" if over_budget(usage) else "cyan")
    bar.append("─" * (BAR_WIDTH - full), "dim")
    return Text.assemble(bar[:mark], ("┃", "bold"), bar[mark + 1 :])


def node_table(report: Report, limit: int = NODE_LIMIT) -> FittingTable:
    """One line a node in network order, the ``limit`` slowest only; the bottleneck stands out.

    Where the C simulation disagrees with the model about cycles, both numbers are shown.
    """
    shown = slowest(report, limit)
    deviating = any(counts_differ(node) for node in shown)
    numbers = ("Cycles", *(["Counted"] if deviating else []), "Busy", *resources(report).values())
    spare = ("Busy", RESOURCES["ff"], "Operation", "Parallelism")
    table = FittingTable(("Node", "Operation", "Parallelism", *numbers), 3, spare, "Nodes")
    worst = bottlenecks(report)
    for node in shown:
        style = "bold yellow" if node in worst else None
        table.add_row(*_node_row(report, node, deviating=deviating), style=style)
    return table


def count_table(report: Report, found: Counted) -> FittingTable:
    """Estimates and counts of the ``NODE_LIMIT`` units of most LUTs in network order, and of all of them."""
    kinds = resources(report)
    table = FittingTable(("Node", "Operation", *kinds.values()), 2, ("Operation",), "Estimated → counted")
    nodes = [(node, node.counted) for node in report.nodes if node.counted is not None]
    largest = sorted(nodes, key=lambda pair: -pair[1].lut)[:NODE_LIMIT]
    for node, counts in nodes:
        if (node, counts) in largest:
            table.add_row(_name(node), Text(_plain(node.op)), *_recounted(node, counts, kinds))
    table.add_section()
    table.add_row(Text(f"All {found.units} units"), Text(""), *_recounted(found.estimated, found.counted, kinds))
    table.add_row(Text("With what is not counted"), Text(""), *_recounted(_used(report), found.used, kinds))
    return table


def _recounted(estimated: NodeFacts | Counts, counts: Counts, kinds: Iterable[str]) -> list[Text]:
    return [Text(recounted(getattr(estimated, kind), getattr(counts, kind))) for kind in kinds]


def _used(report: Report) -> Counts:
    return Counts(**{kind: usage.used for kind, usage in report.resources.items()})


def _node_row(report: Report, node: NodeFacts, *, deviating: bool) -> list[Text]:
    cells = [node.op, lanes(node), f"{node.cycles:,}"]
    if deviating:
        cells.append("" if node.counted_cycles is None else f"{node.counted_cycles:,}")
    cells += [percent(interval_share(report, node)), *(f"{getattr(node, kind):,}" for kind in resources(report))]
    return [_name(node), *(Text(_plain(cell)) for cell in cells)]


def _name(node: NodeFacts) -> Text:
    name = _plain(node.name)
    return Text(name if len(name) <= NAME_WIDTH else "…" + name[1 - NAME_WIDTH :])  # an ONNX name says most at its end


def _plain(text: str) -> str:
    """``text`` without control characters, which could steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
