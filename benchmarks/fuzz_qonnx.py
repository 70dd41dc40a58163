"""Random QONNX graphs are exact or refused: counts over seeds 0..N-1, resumable.

python -m benchmarks.fuzz_qonnx --graphs 20000 --seconds 480
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.random_qonnx import exact_or_refused, random_qonnx
from toolchain.files import write_text

RESULT = Path(__file__).parent / "results" / "fuzz_qonnx.json"
SAVE_EVERY = 100


def start() -> dict[str, Any]:
    """The row of the last run, or an empty one."""
    empty = {"graphs": 0, "exact": 0, "refused": 0, "failed": [], "codes": 0, "mismatches_at_ties": 0, "seconds": 0.0}
    return empty | (json.loads(RESULT.read_text())[0] if RESULT.is_file() else {})


def save(row: dict[str, Any], graphs: int) -> None:
    """Write the row with how it came about."""
    row["command"] = f"python -m benchmarks.fuzz_qonnx --graphs {graphs}"
    row["hardware"] = f"{platform.machine()}, {os.cpu_count()} cores, one used"
    row["date"] = datetime.date.today().isoformat()
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_text(RESULT, json.dumps([row], indent=1) + "\n")


def one(row: dict[str, Any], path: Path, seed: int) -> None:
    """Try the network of ``seed``; a failure of any kind is what this looks for, and keeps its seed."""
    try:
        found = exact_or_refused(random_qonnx(path, seed), seed)
    except Exception as error:  # noqa: BLE001  every exception is a finding
        row["failed"].append([seed, f"{type(error).__name__}: {str(error)[:160]}"])
        return
    row["refused" if found is None else "exact"] += 1
    if found is not None:
        row["codes"] += found.codes
        row["mismatches_at_ties"] += found.mismatches


def main() -> None:
    """Go on from the last run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--graphs", type=int, default=20000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    row = start()
    before, started = row["seconds"], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        retried, row["failed"] = row["failed"], []
        for seed, _ in retried:  # perhaps mended since
            one(row, Path(folder) / "net.onnx", seed)
        while row["graphs"] < arguments.graphs and time.monotonic() - started < arguments.seconds:
            one(row, Path(folder) / "net.onnx", row["graphs"])
            row["graphs"] += 1
            row["seconds"] = round(before + time.monotonic() - started, 1)
            if row["graphs"] % SAVE_EVERY == 0:
                save(row, arguments.graphs)
    save(row, arguments.graphs)
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
