"""One network on every board: the faster of streaming and engine, with its proof, and what UltraRAM changes.

python -m benchmarks boards                  # the networks of FPGAFLOW_DATA/models on all boards
python -m benchmarks boards --only MobileNet # those whose name contains it

Every board has its own clock and budget. On a board with UltraRAM the search runs a second time without it.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import BOARDS
from toolchain.boards import Board, list_boards, load_board
from toolchain.flow.on_boards import OnBoard, on_boards
from toolchain.flow.options import Search
from toolchain.flow.progress import silent
from toolchain.flow.stages import lower
from toolchain.ir.store import Stored

NETWORKS = {
    "ResNet-8 W8A8": "resnet8_a8w8b16.onnx",
    "KWS W3A3": "kws_w3a3_mlperf_tiny_v0.7.onnx",
    "MobileNetV2 W6A8": "mobilenet_v2_a8w6b32.onnx",
}
NONE = 1e-9
"""A share that no UltraRAM is."""

COLUMNS = {"network": "network", "board": "board", "architecture": "architecture", "fps": "fps", "status": "plan",
           "lut": "LUT", "dsp": "DSP", "bram18": "BRAM18", "uram": "URAM", "bram18_without": "BRAM18 without URAM",
           "fps_without": "fps without", "cpu_seconds": "CPU s"}  # fmt: skip


def row(network: str, found: OnBoard) -> Row:
    """The accelerator found, the shell not counted; without one what keeps it out."""
    facts: Row = {"network": network, "board": found.board.name, "architecture": found.architecture}
    facts |= {"clock_mhz": found.clock_mhz, "status": found.status}
    if found.fps is None or found.cost is None:
        return facts
    used = found.cost
    costs = {"lut": used.lut, "ff": used.ff, "dsp": used.dsp, "bram18": used.bram18, "uram": used.uram}
    return facts | costs | {"fps": round(found.fps, 1)}


def lowered(file: str, board: Board) -> Stored:
    """The integer network of ``file`` for ``board``."""
    path = Path(os.environ["FPGAFLOW_DATA"]) / "models" / file
    with TemporaryDirectory(prefix="fpgaflow-") as folder:
        return lower(path, Path(folder) / "build", board=board).network


def main() -> None:
    """Search and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--time-limit", type=float, default=30.0, help="seconds of a round of the solver")
    options = parser.parse_args()
    for network, file in NETWORKS.items():
        if options.only.lower() not in network.lower():
            continue
        known: dict[int, Stored] = {}

        def stored(board: Board, file: str = file, known: dict[int, Stored] = known) -> Stored:
            if board.lut_per_dsp not in known:
                known[board.lut_per_dsp] = lowered(file, board)
            return known[board.lut_per_dsp]

        for board in list_boards():
            search = Search(time_limit=options.time_limit)
            (found,), spent = timed(partial(on_boards, stored, search, [board], silent))
            facts = row(network, found) | {"cpu_seconds": round(spent.cpu, 1)}
            if load_board(board).budget.uram:
                plain = Search(time_limit=options.time_limit, budget={"uram": NONE})
                (other,) = on_boards(stored, plain, [board], silent)
                if other.fps is not None and other.cost is not None:
                    facts |= {"fps_without": round(other.fps, 1), "bram18_without": other.cost.bram18}
            BOARDS.record(facts)
            print(f"{network} on {board}: {facts.get('fps')}", flush=True)
    print_rows("Networks on boards", BOARDS.rows(), COLUMNS)


if __name__ == "__main__":
    main()
