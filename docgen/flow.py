"""The picture of the flow: ``python -m docgen.flow`` writes docs/figures/flow.svg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from toolchain.files import write_text

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "flow.svg"
WIDTH, HEIGHT = 880, 236
BOX, GAP, LEFT, TOP, TALL = 122, 22, 19, 66, 78

_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2937; }
  .small { font-size: 11.5px; fill: #4b5563; }
  .command { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #0f5c8a; }
  .proof { fill: #166534; }
  .name { font-weight: 600; }
  .card { fill: #ffffff; stroke: #d1d5db; }
  .box { fill: #eef4f9; stroke: #7c93a8; }
  .line { fill: none; stroke: #64748b; stroke-width: 1.6; }
  .check { fill: none; stroke: #15803d; stroke-width: 1.6; stroke-dasharray: 5 4; }
  .tip { fill: #64748b; }
  .check-tip { fill: #15803d; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e5e7eb; }
    .small { fill: #b6c2cf; }
    .command { fill: #7cc4f2; }
    .proof { fill: #86efac; }
    .card { fill: #161b22; stroke: #3d444d; }
    .box { fill: #21303f; stroke: #6b8299; }
    .line { stroke: #94a3b8; }
    .check { stroke: #4ade80; }
    .tip { fill: #94a3b8; }
    .check-tip { fill: #4ade80; }
  }"""


class Step(NamedTuple):
    """A box: its name, two lines below it, and the command that comes to it."""

    name: str
    first: str
    second: str
    command: str = ""


STEPS = (
    Step("Network", "PyTorch, Brevitas,", "or an ONNX file"),
    Step("QONNX", "trained, calibrated,", "few bits, pruned", "train, quantize"),
    Step("Integer graph", "no float left,", "every step proven", "lower"),
    Step("Plan", "an integer program:", "optimal, with a gap", "explore"),
    Step("C++, Verilog", "a Vitis HLS project,", "SystemVerilog", "generate, rtl"),
    Step("Board", "bitstream scripts,", "a driver for PYNQ", "deploy"),
)
INTEGER, CODE = 2, 4  # the boxes that the check joins


def flow_svg() -> str:
    """The picture as SVG text; it follows the reader's dark or light mode and has a ground of its own."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" aria-labelledby="title">',
        '<title id="title">The flow of fpgaflow, from a network to a board</title>',
        f"<style>{_STYLE}\n</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>',
        *_export(),
        *(line for index, step in enumerate(STEPS) for line in _box(index, step)),
        *_check(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _left(index: int) -> int:
    return LEFT + index * (BOX + GAP)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" class="{kind}">{escape(text)}</text>'


def _box(index: int, step: Step) -> Iterator[str]:
    left, middle = _left(index), _left(index) + BOX / 2
    yield f'<rect class="box" x="{left}" y="{TOP}" width="{BOX}" height="{TALL}" rx="7"/>'
    yield _text(middle, TOP + 26, step.name, "name")
    yield _text(middle, TOP + 47, step.first, "small")
    yield _text(middle, TOP + 63, step.second, "small")
    if step.command:
        yield _text(middle, TOP - 12, step.command, "command")
        y = TOP + TALL / 2
        yield f'<path class="line" d="M{left - GAP + 2} {y:g}h{GAP - 10}"/>'
        yield f'<path class="tip" d="M{left - 9} {y - 4:g}l7 4l-7 4z"/>'


def _export() -> Iterator[str]:
    """A bracket over the stages that one command runs."""
    start, end = _left(INTEGER), _left(CODE) + BOX
    yield f'<path class="line" d="M{start} 36v-6h{end - start}v6"/>'
    yield _text((start + end) / 2, 22, "fpgaflow export: all of it, in one command", "command")


def _check() -> Iterator[str]:
    """The comparison of what the code computes with the integer graph."""
    start, end, below = _left(CODE) + BOX / 2, _left(INTEGER) + BOX / 2, TOP + TALL + 34
    yield f'<path class="check" d="M{start:g} {TOP + TALL}V{below}H{end:g}V{TOP + TALL + 9}"/>'
    yield f'<path class="check-tip" d="M{end - 4:g} {TOP + TALL + 9}l4 -7l4 7z"/>'
    middle = (start + end) / 2
    yield _text(middle, below + 20, "simulated and compared, code by code: a difference exits 3", "proof")
    yield _text(
        middle, below + 38, "report.html: accuracy, frames a second, LUT, DSP, BRAM, the bound and what limits", "small"
    )


def main() -> None:
    """Write the figure."""
    write_text(FIGURE, flow_svg())


if __name__ == "__main__":
    main()
