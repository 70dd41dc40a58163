"""The front as files: JSON for scripts, and one HTML page with the plot and every network's accelerator."""

from __future__ import annotations

import json
import shlex
from math import log10
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table

from toolchain.flow.options import Search
from toolchain.search.front import Point, Result
from toolchain.search.space import Space

WIDTH, HEIGHT, MARGIN = 720, 360, 50
SPACE_FILE = "space.toml"
MOST_DOTS = 3000
"""Networks beside the front that a plot shows."""


def to_json(result: Result) -> str:
    """The front: for every network what it is, what it is foreseen to reach, and the proof."""
    rows = [
        {
            "number": p.number,
            "key": p.network.key,
            "architecture": p.network.architecture,
            "network": p.network.text,
            "bits": dict(p.network.bits),
            "act_bits": p.network.act_bits,
            "top1": p.top1,
            "fps": result.clock_mhz * 1e6 / p.proof.cycles,
            "gap": p.proof.gap,
            **p.proof.model_dump(),
        }
        for p in result.points
    ]
    return json.dumps({"search": result.facts, "front": rows}, indent=1) + "\n"


def command_of(out: Path, target: Search, *more: str) -> str:
    """Return the command that goes on with the search for ``target`` in ``out``, where it ran, and ``more`` options."""
    words = ["fpgaflow", "search", str(out / SPACE_FILE), "--out", str(out), "--board", target.board]
    words += ["--clock", repr(target.clock_mhz)] if target.clock_mhz else []
    for kind, share in target.budget.items():
        words += ["--budget", f"{kind}={share!r}"]
    return shlex.join([*words, *more])


def to_html(space: Space, result: Result, command: str) -> str:
    """The page, which tells the ``command`` that builds a network."""
    loader = PackageLoader("toolchain.search", "templates")
    page = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    rows = [_row(p, result.clock_mhz) for p in result.points]
    facts: dict[str, Any] = {"space": space, "rows": rows, "result": result, "plot": _plot(result), "command": command}
    return page.get_template("front.html.j2").render(facts)


def _row(p: Point, clock_mhz: float) -> dict[str, Any]:
    shape = p.proof.shape
    engine = (
        f"{shape['lanes'] * shape['in_blocks']} x {shape['lanes'] * shape['out_blocks']} products, " if shape else ""
    )
    return {
        "point": p,
        "fps": clock_mhz * 1e6 / p.proof.cycles,
        "bound_fps": clock_mhz * 1e6 / p.proof.bound,
        "engine": f"{engine}W{shape['weight_bits']}, {shape['taps']} taps" if shape else "a unit a layer",
    }


def _plot(result: Result) -> dict[str, Any]:
    """Places of the networks on frames a second (logarithmic) and accuracy, in pixels."""
    looked = [(t, result.clock_mhz * 1e6 / c) for t, c in result.looked[-MOST_DOTS:]]
    front = [(p.top1, result.clock_mhz * 1e6 / p.proof.cycles) for p in result.points]
    rates, tops = [f for _, f in looked + front], [t for t, _ in looked + front]
    low, high = log10(min(rates)), log10(max(rates))
    bottom, top = min(tops), max(tops)

    def place(t: float, f: float) -> tuple[float, float]:
        x = MARGIN + (log10(f) - low) / max(high - low, 1e-9) * (WIDTH - 2 * MARGIN)
        y = HEIGHT - MARGIN - (t - bottom) / max(top - bottom, 1e-9) * (HEIGHT - 2 * MARGIN)
        return round(x, 1), round(y, 1)

    return {
        "width": WIDTH,
        "height": HEIGHT,
        "margin": MARGIN,
        "dots": [place(*each) for each in looked],
        "front": [place(*each) for each in front],
        "rates": (10**low, 10**high),
        "tops": (bottom, top),
    }


def result_table(result: Result) -> Table:
    """The front for the terminal."""
    table = Table(title=f"{result.facts['tested']} networks tested, tau {result.facts['tau']:.2f} on those held out")
    for heading in ("No", "top-1", "fps", "bound", "network", "bits"):
        table.add_column(heading, justify="left" if heading in ("network", "bits") else "right", overflow="fold")
    for p in result.points:
        fps, bound = (f"{result.clock_mhz * 1e6 / cycles:,.0f}" for cycles in (p.proof.cycles, p.proof.bound))
        text = p.network.text if p.network.architecture == "engine" else f"streaming {p.network.text}"
        table.add_row(str(p.number), f"{p.top1:.2%}", fps, bound, text, p.network.bits_text)
    return table
