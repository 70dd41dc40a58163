"""Rates of two small networks of 1 to 130 features or channels, in this tree and before counts were padded.

    git worktree add --detach /tmp/before c0d3a26
    python -m benchmarks rates --before /tmp/before

Every plan is the explorer's for the ZU3EG at 250 MHz. ``of_next_multiple`` is the rate over that of the next multiple
of eight. Rows in results/rates.json, and docs/figures/rates.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Row, print_rows
from benchmarks.figures import Panel, points_svg
from benchmarks.schemas import RATES
from toolchain.files import write_text

HERE = Path(__file__).resolve().parent
FIGURE = HERE.parent / "docs" / "figures" / "rates.svg"
MOST = 130
TITLES = {"features": "features", "channels": "channels of both convolutions"}
COLUMNS = {"network": "network", "tree": "tree", "proven": "plans proven", "worst": "least of the next multiple's rate",
           "below": "counts below 90 % of it", "mean": "mean rate"}  # fmt: skip


def points(tree: Path, network: str, most: int) -> Iterator[Row]:
    """The rows of ``network`` by the code in ``tree``."""
    call = f"import runpy, sys; runpy.run_path({str(HERE / 'rate_points.py')!r})['run'](sys.argv[1:])"
    command = [sys.executable, "-c", call, network, *map(str, range(1, (most + 7) // 8 * 8 + 1))]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    with subprocess.Popen(command, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield {"network": network, **json.loads(line)}
    if process.returncode:
        raise SystemExit(f"the plans in {tree} failed")


def compared(rows: list[Row], most: int) -> Iterator[Row]:
    """``rows`` of up to ``most`` with their rate over that of the next multiple of eight."""
    rates = {row["count"]: row["fps"] for row in rows}
    for row in rows[:most]:
        yield row | {"of_next_multiple": round(row["fps"] / rates[-(-row["count"] // 8) * 8], 3)}


def summary(rows: list[Row]) -> Row:
    """Summarize the rows of one network and tree."""
    shares = [row["of_next_multiple"] for row in rows]
    return {
        "network": rows[0]["network"],
        "tree": rows[0]["tree"],
        "proven": sum(row["status"] == "optimal" for row in rows),
        "worst": min(shares),
        "below": sum(share < 0.9 for share in shares),
        "mean": round(sum(row["fps"] for row in rows) / len(rows)),
    }


def main() -> None:
    """Measure, write the rows and the figure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of c0d3a26")
    parser.add_argument("--most", type=int, default=MOST, help="the largest count")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for network in TITLES:
        for tree, path in (("before", arguments.before), ("after", HERE.parent)):
            found = list(points(path.resolve(), network, arguments.most))
            rows += [row | {"tree": tree} for row in compared(found, arguments.most)]
    RATES.replace(rows)
    draw(rows)
    groups = [[r for r in rows if (r["network"], r["tree"]) == (n, t)] for n in TITLES for t in ("before", "after")]
    print_rows("Rates", [summary(group) for group in groups], COLUMNS)


def draw(rows: list[Row]) -> None:
    """The figure of ``rows``."""
    panels = [
        Panel(title, {t: _line(rows, network, t) for t in ("before", "after")}) for network, title in TITLES.items()
    ]
    write_text(FIGURE, points_svg(panels, "frames a second"))


def _line(rows: list[Row], network: str, tree: str) -> list[tuple[float, float]]:
    return [(row["count"], row["fps"]) for row in rows if (row["network"], row["tree"]) == (network, tree)]


if __name__ == "__main__":
    main()
