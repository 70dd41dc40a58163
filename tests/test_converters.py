"""Files through the converters of others: what counts as exact, and how a worker tells what became of a file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import converters
from benchmarks.converters import FRAMES, NEAR, PEERS, Peer, Reference, judged, theirs
from benchmarks.schemas import CONVERTERS

MAP = np.arange(FRAMES * 2 * 3 * 4, dtype=np.float32).reshape(FRAMES, 2, 3, 4)
LARGEST = float(MAP.max())
WORKER = """
import sys
sys.path.insert(0, {folder!r})
from case_worker import Refused, serve

def converted(path, inputs, outputs, folder):
    if path.name == "hangs.onnx":
        while True:
            pass
    if path.name == "refused.onnx":
        raise Refused("no such operation")
    if path.name == "fails.onnx":
        raise ValueError("two lines\\nof text")
    if path.name == "ends.onnx":
        import os
        print("last words", flush=True)
        os._exit(3)
    return {{outputs[0]: 2 * inputs["x"]}}, "Sigmoid" if path.name == "part.onnx" else "", "by another way"

serve(converted)
"""


@pytest.mark.parametrize(("apart", "exact"), [(0.5 * NEAR * LARGEST, "yes"), (2 * NEAR * LARGEST, "no")])
def test_a_value_differs_where_it_lies_further_than_the_limit_from_the_reference(apart: float, exact: str) -> None:
    found = MAP.astype(np.float64)
    found[0, 0, 0, 0] += apart

    assert judged({"y": MAP}, {"y": found})["exact"] == exact


def test_a_map_put_out_with_its_channels_last_is_exact() -> None:
    assert judged({"y": MAP}, {"y": np.moveaxis(MAP, 1, -1)})["found"] == f"0 of {MAP.size} values differ"


def test_other_counts_of_values_are_not_exact() -> None:
    assert judged({"y": MAP}, {"y": MAP[:, :1]}) == {
        "taken": "yes",
        "exact": "no",
        "found": "'y' has 12 values, not 24",
    }


def test_a_worker_tells_of_each_file_what_became_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER.format(folder=str(Path(converters.__file__).parent)))
    monkeypatch.setitem(PEERS, "tool", Peer(str(worker), ()))
    names = ("doubles", "part", "refused", "fails", "ends", "hangs")
    references = [Reference(tmp_path / f"{name}.onnx", {"": MAP}, MAP, {"y": 2 * MAP}, {}) for name in names]

    found = {path.stem: row for path, row in theirs("tool", Path(sys.executable), references, 2)}

    same = f"0 of {MAP.size} values differ; by another way"
    assert found == {
        "doubles": {"taken": "yes", "exact": "yes", "found": same},
        "part": {"taken": "in part", "exact": "yes", "found": f"{same}; left to software: Sigmoid"},
        "refused": {"taken": "no", "exact": "", "found": "no such operation"},
        "fails": {"taken": "no", "exact": "", "found": "ValueError: two lines"},
        "ends": {"taken": "no", "exact": "", "found": "its process ended: last words"},
        "hangs": {"taken": "no", "exact": "", "found": "not finished in 2 s of processor time"},
    }


def test_every_file_has_a_row_of_each_tool() -> None:
    rows = CONVERTERS.rows()

    files = {(row["case"], row["file"]) for row in rows}
    assert {(row["case"], row["file"], row["tool"]) for row in rows} == {
        (*file, tool) for file in files for tool in ("fpgaflow", *PEERS)
    }
