"""Two builds side by side: their rates, resources, accuracy and bits, and the choices in which their plans differ."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.report.data import NodeFacts, Report
from toolchain.report.fitting import FittingTable
from toolchain.report.view import RESOURCES, conclude, lanes, number, percent

BESIDE = " → "
"""Between a number of the first build and another one of the second."""


@dataclass(frozen=True)
class Row:
    """A quantity, or a unit's choice, of both builds, empty where one has none; ``change`` is from the first on."""

    name: str
    first: str
    second: str
    change: str = ""


@dataclass(frozen=True)
class UnitRow:
    """A unit in both builds, with ``numbers`` by heading: one number where the builds agree, else both."""

    name: str
    op: str
    numbers: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """Two builds side by side.

    ``titles`` name them, ``rows`` compare them as wholes, ``units`` their units in the order of their networks, and
    ``choices`` are those that differ: a row a unit with its parallelism and its bits.
    """

    titles: tuple[str, str]
    rows: tuple[Row, ...]
    units: tuple[UnitRow, ...]
    choices: tuple[Row, ...]


def compare(first: Report, second: Report, titles: tuple[str, str]) -> Comparison:
    """The two builds; units belong together by name."""
    pairs = _paired(first, second)
    return Comparison(titles, _rows(first, second), tuple(map(_unit, pairs)), tuple(filter(None, map(_choice, pairs))))


Pair = tuple[NodeFacts | None, NodeFacts | None]


def _paired(first: Report, second: Report) -> list[Pair]:
    """Pair the units of both builds by name; units of the second build alone stand behind their predecessor."""
    left, right = ({node.name: node for node in report.nodes} for report in (first, second))
    order, at = list(left), 0
    for name in right:
        if name in left:
            at = order.index(name) + 1
        else:
            order.insert(at, name)
            at += 1
    return [(left.get(name), right.get(name)) for name in order]


def _rows(first: Report, second: Report) -> tuple[Row, ...]:
    both = (first, second)
    rows = []

    def text(name: str, *texts: str) -> None:
        rows.append(Row(name, texts[0], texts[1]))

    def amount(name: str, a: float | None, b: float | None, unit: str = "") -> None:
        if a is not None or b is not None:
            told = ["" if value is None else f"{number(value)}{unit}" for value in (a, b)]
            rows.append(Row(name, told[0], told[1], change(a, b)))

    text("Verification", *(conclude(report).verdict.value for report in both))
    text("Network", *(f"{report.model.file}, {report.model.sha256[:8]}" for report in both))
    text("Board", *(report.board for report in both))
    text("Architecture", *(report.architecture for report in both))
    amount("Clock", first.clock_mhz, second.clock_mhz, " MHz")
    amount("Frames a second", first.estimate.fps, second.estimate.fps)
    amount("Latency", first.estimate.latency_ms, second.estimate.latency_ms, " ms")
    amount("Cycles a frame", first.estimate.cycles_per_frame, second.estimate.cycles_per_frame)
    text("Limited by", *(report.estimate.limited_by for report in both))
    for kind, title in RESOURCES.items():
        used = [getattr(report.resources, kind).used for report in both]
        if any(used):
            amount(f"{title} with the shell", used[0], used[1])
    top1 = ["" if r.accuracy is None else f"{percent(r.accuracy.top1, 2)} of {r.accuracy.images:,}" for r in both]
    if any(top1):
        text("Top-1", *top1)
    trained = [report.training for report in both]
    for name, key in (("Bits of weights", "weight_bits"), ("Bits of activations", "act_bits")):
        bits = [None if facts is None else getattr(facts, key) for facts in trained]
        amount(name, bits[0], bits[1])
    amount("Multiply-accumulates", first.model.macs, second.model.macs)
    amount("Parameters", first.model.params, second.model.params)
    measured = [None if report.measured is None else report.measured.fps for report in both]
    amount("Measured frames a second", measured[0], measured[1])
    return tuple(rows)


def change(first: float | None, second: float | None) -> str:
    """Return how the second differs: in percent, as a factor if it is half or twice as much, empty if it is equal."""
    if first is None or second is None or first == second or not first:
        return ""
    ratio = second / first
    if 0.5 < ratio < 2:
        return f"{100 * (ratio - 1):+.1f} %"
    return f"{number(ratio)} times" if ratio >= 2 else f"{number(1 / ratio)} times less" if ratio else "none"


def _unit(pair: Pair) -> UnitRow:
    known = [node for node in pair if node is not None]
    ops = dict.fromkeys(node.op for node in known)
    titles = {"cycles": "Cycles", **RESOURCES}
    numbers = {}
    for kind, title in titles.items():
        first, second = (None if node is None else getattr(node, kind) for node in pair)
        numbers[title] = _beside(first, second)
    return UnitRow(known[0].name, BESIDE.join(ops), numbers)


def _beside(first: int | None, second: int | None) -> str:
    """Return both numbers as text: "-" for a missing one, one number where they agree, nothing where both are 0."""
    if first == second:
        return f"{first:,}" if first else ""
    return BESIDE.join("-" if count is None else f"{count:,}" for count in (first, second))


def _choice(pair: Pair) -> Row | None:
    """Return the row that tells how differently the unit is built, or None if it is built equally."""
    texts = ["no such unit" if n is None else ", ".join(filter(None, (n.op, lanes(n), n.bits))) for n in pair]
    name = next(node.name for node in pair if node is not None)
    return Row(name, *texts) if texts[0] != texts[1] else None


def tables(found: Comparison) -> Group:
    """The comparison for a terminal."""
    whole = FittingTable(("", *found.titles, "Change"), 1, ("Change",))
    for row in found.rows:
        whole.add_row(row.name, row.first, row.second, row.change)
    headings = ("Cycles", *RESOURCES.values())
    units = FittingTable(("Unit", "Operation", *headings), 2, ("FF", "Operation", "Cycles"), "Units")
    for unit in found.units:
        units.add_row(unit.name, unit.op, *(unit.numbers[heading] for heading in headings))
    parts: list[RenderableType] = [whole, Text(), units, Text()]
    if not found.choices:
        return Group(*parts, Text("Every unit is built alike."))
    parts.append(Text("Units that are built differently", "bold"))
    for row in found.choices:
        parts.append(Text.assemble((row.name, "bold"), f"\n  {row.first}\n  {row.second}"))
    return Group(*parts)
