"""Seconds of each stage of ``fpgaflow export``, the C simulation compiled from nothing and again from the cache.

    python -m benchmarks export_time

``ratio`` compares with the cold compilation of the same network. The row ``export`` is the sum of the stages, ``export
again`` the sum with the cache filled; the comparison with the QONNX file and the report are not in it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import Row, Spent, middle, print_rows, timed, write_rows
from benchmarks.networks import Network, images, write_qonnx
from toolchain.flow import stages
from toolchain.flow.build import load_folder_images, load_hardware
from toolchain.flow.options import Check, Search
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.simulate.csim import build

W2A2 = {"weight_bits": 2, "act_bits": 2}
W4A4 = {"weight_bits": 4, "act_bits": 4}
NETWORKS = (
    Network("tfc-w2a2", "tfc", (1, 28, 28), 10, W2A2),
    Network("lenet5-w4a4", "lenet5", (1, 28, 28), 10, W4A4),
    Network("resnet8-w4a4", "resnet8", (3, 32, 32), 10, W4A4),
)
COLD, CACHED = "compile, cold", "compile, cached"
COLUMNS = {"network": "network", "stage": "stage", "seconds": "s", "cpu_seconds": "CPU s", "baseline": "baseline",
           "ratio": "ratio"}  # fmt: skip


def main() -> int:
    """Measure, write the rows, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for network in NETWORKS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_qonnx(network, folder / "model.onnx")
            np.save(folder / "images.npy", images(network, arguments.images))
            runs = [export(folder, f"run{i}", arguments.threads) for i in range(arguments.runs)]
        rows += report(network, {stage: middle([run[stage] for run in runs]) for stage in runs[0]}, arguments.images)
        write_rows("export_time", rows)
    print_rows("Export", rows, COLUMNS)
    return 0


def export(folder: Path, name: str, threads: int) -> dict[str, Spent]:
    """What each stage takes, from the model in ``folder`` to the comparison, with an empty cache to begin with."""
    out = folder / name
    out.mkdir()
    os.environ["FPGAFLOW_CACHE"] = str(out / "cache")
    spent: dict[str, Spent] = {}
    _, spent["lower"] = timed(lambda: stages.lower(folder / "model.onnx", out))
    _, spent["explore"] = timed(lambda: stages.explore(out, Search()))
    hls, spent["generate"] = timed(lambda: stages.generate(out))
    graph, _ = load_hardware(out)
    files = {str(path.relative_to(hls)): path.read_text() for path in sorted(hls.rglob("*")) if path.is_file()}
    _, spent[COLD] = timed(lambda: build(graph, files, jobs=threads))
    csim, spent[CACHED] = timed(lambda: build(graph, files, jobs=threads))
    pixels = load_folder_images(out, Check(images=folder / "images.npy", count=None))
    codes = encode(graph, pixels.x)
    found, spent["simulate"] = timed(lambda: csim.run(codes, threads=threads))
    expected, spent["compare"] = timed(lambda: evaluate(graph, codes)[graph.output])
    if not np.array_equal(found, expected):
        raise SystemExit(f"{out}: the C simulation differs from the integer network")
    return spent


def report(network: Network, spent: dict[str, Spent], count: int) -> list[Row]:
    """A row a stage, then the whole export, and the same again with the cache filled."""
    whole = Spent(*(sum(getattr(s, kind) for n, s in spent.items() if n != CACHED) for kind in ("wall", "cpu")))
    saved = Spent(spent[COLD].wall - spent[CACHED].wall, spent[COLD].cpu - spent[CACHED].cpu)
    again = Spent(whole.wall - saved.wall, whole.cpu - saved.cpu)
    entries = [(stage, each, COLD) for stage, each in spent.items()]
    entries += [("export", whole, COLD), ("export again", again, "export")]
    walls = {stage: each.wall for stage, each, _ in entries}
    return [
        {
            "network": network.name,
            "stage": stage,
            "images": count if stage not in ("lower", "explore", "generate", COLD, CACHED) else None,
            "seconds": round(each.wall, 4),
            "cpu_seconds": round(each.cpu, 3),
            "baseline": baseline,
            "ratio": float(f"{each.wall / walls[baseline]:.3g}"),
        }
        for stage, each, baseline in entries
    ]


if __name__ == "__main__":
    raise SystemExit(main())
