"""Errors of the cost model against published synthesis results, beside FINN's formulas on the same rows.

    python -m benchmarks cost_model                          # calibration rows: held-out errors, as last fitted
    python -m benchmarks cost_model --rows FILE --json OUT   # any file with the same columns: the committed model
    python -m benchmarks cost_model --fit                    # fit again and write the coefficients

Without ``--rows`` the rows are $FPGAFLOW_DATA/costs/calibration.csv, and every row is predicted by a fit that has not
seen its project (its sweep, within the two generated data sets); figure and result file are written too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.calibration.fit import Fit, Key, fit_all, to_json
from benchmarks.calibration.rows import Row, distinct, read_rows
from benchmarks.calibration.score import Scores, held_out, model, score
from benchmarks.figures import Point, scatter_svg
from benchmarks.recorder import today
from benchmarks.schemas import COST_MODEL
from toolchain.units.cost_model.coefficients import COEFFICIENTS

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "figures" / "cost_model.svg"
SHOWN = {("mvau", "post-synth"), ("mvau", "post-route"), ("mvau", "csynth"), ("swg", "post-route"), ("dense", "csynth")}
SOURCE = "published Vivado and Vitis HLS reports, split 'calib' of costs/calibration.csv"


def main(argv: Sequence[str] | None = None) -> int:
    """Score, and fit or draw when asked; returns the exit code."""
    arguments = _parse(argv)
    given = arguments.rows is not None
    path = arguments.rows or _calibration()
    if path is None or not path.is_file():
        print("no rows: give --rows FILE or set FPGAFLOW_DATA to a folder that holds costs/calibration.csv")
        return 2
    rows = distinct(read_rows(path, None if given else "calib"))
    fits = {} if given and not arguments.fit else fit_all(rows)
    if arguments.fit:
        table = {"source": SOURCE, "date": today(), "fits": to_json(fits)}
        COEFFICIENTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    scores = score(rows, held_out(fits) if fits else model)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    _print(scores, held=bool(fits), rows=len(rows))
    if not given:
        seen = score(rows, model)
        _write_results(scores, seen)
        FIGURE.parent.mkdir(parents=True, exist_ok=True)
        FIGURE.write_text(scatter_svg(_points(rows, fits), "published LUTs", "predicted LUTs, held out"))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="rows to score; default: the calibration rows, held out")
    parser.add_argument("--json", type=Path, help="write the scores as {kind: {stage: {resource: figures}}}")
    parser.add_argument("--fit", action="store_true", help="fit the rows and write the coefficients")
    return parser.parse_args(argv)


def _calibration() -> Path | None:
    folder = os.environ.get("FPGAFLOW_DATA")
    return Path(folder) / "costs" / "calibration.csv" if folder else None


def _print(scores: Scores, *, held: bool, rows: int) -> None:
    print(f"{rows} distinct rows, {'each held out with its project or sweep' if held else 'committed coefficients'}")
    print(f"{'kind':10} {'stage':11} {'':7} {'n':>4} {'MAPE':>8} {'median':>8} {'bias':>8} {'exact':>6} {'FINN':>8}")
    for kind, stages in scores.items():
        for stage, resources in stages.items():
            for resource, cell in resources.items():
                numbers = " ".join(f"{_text(cell[key]):>8}" for key in ("mape", "median_ape", "bias"))
                tail = f"{cell['exact']:>6} {_text(cell['finn_mape']):>8}"
                print(f"{kind:10} {stage:11} {resource:7} {cell['n']:>4} {numbers} {tail}")


def _text(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _write_results(scores: Scores, seen: Scores) -> None:
    hardware = f"{platform.machine()} CPU, {os.cpu_count()} cores, no vendor tool"
    conditions = {"command": "python -m benchmarks cost_model", "hardware": hardware}
    flat: list[dict[str, Any]] = []
    for kind, stages in scores.items():
        for stage, resources in stages.items():
            for resource, cell in resources.items():
                fitted: Mapping[str, Any] = seen.get(kind, {}).get(stage, {}).get(resource, {})
                label = {"kind": kind, "stage": stage, "resource": resource}
                flat.append(label | cell | {"fitted_mape": fitted.get("mape")} | conditions)
    COST_MODEL.replace(flat)


def _points(rows: Sequence[Row], fits: Mapping[Key, Fit]) -> list[Point]:
    predictor = held_out(fits)
    points = []
    for row in rows:
        predicted = predictor(row).get("LUT", 0)
        if (row.kind, row.stage) in SHOWN and row.used.get("LUT") and predicted:
            points.append(Point(row.used["LUT"], predicted, f"{row.kind} {row.stage}"))
    return points


if __name__ == "__main__":
    sys.exit(main())
