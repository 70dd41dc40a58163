"""CPU seconds of ``fpgaflow export``, of this tree and of another one in turn, with an empty and with a filled cache.

    git worktree add ../baseline COMMIT
    python -m benchmarks export_time --baseline ../baseline --folder build/export_time
    python -m benchmarks export_time                          # the stages of this tree only

A pair exports a network with both trees, each in a process and with a cache of its own; which is first alternates. CPU
seconds are user and system time of the process and of all compilers that it starts, so other work on the machine counts
little. Runs that --folder holds are not repeated: the command goes on where it was stopped. ``ratio`` of a row is that
of the medians. Streaming networks have seeded weights and run on 1000 seeded images, MobileNetV2 is the quantized file
below FPGAFLOW_DATA/models and runs on the random pixels that ``export`` takes without images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.common import Row, Spent, print_rows, timed
from benchmarks.networks import Network, images, write_qonnx
from benchmarks.schemas import EXPORT_TIME
from toolchain.files import write_text
from toolchain.flow import stages
from toolchain.flow.options import Check, Search
from toolchain.flow.streaming import Streaming, texts
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.simulate.csim import build

TREE = Path(__file__).resolve().parents[1]
NETWORKS = (
    Network("lenet5-w4a4", "lenet5", (1, 28, 28), 10, {"weight_bits": 4, "act_bits": 4}),
    Network("resnet8-w8a8", "resnet8", (3, 32, 32), 10, {"weight_bits": 8, "act_bits": 8}),
    Network("resnet20-w8a8", "resnet20", (3, 32, 32), 10, {"weight_bits": 8, "act_bits": 8}),
)
ENGINE = "mobilenet_v2_a8w6b32"
IMAGES = 1000
EXPORT = "from toolchain.cli import main; main()"
COLD, CACHED = "compile, cold", "compile, cached"
COLUMNS = {"network": "network", "what": "what", "pairs": "pairs", "baseline_cpu": "baseline CPU s", "cpu": "CPU s",
           "ratio": "ratio", "share": "share"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model file and how it is exported."""

    name: str
    model: Path
    options: tuple[str, ...]


def main() -> int:
    """Measure, write the rows, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="worktree to compare with; without it only stages are measured")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--warm", type=int, default=1, help="pairs that are exported again with the cache filled")
    parser.add_argument("--only", action="append", choices=[*(n.name for n in NETWORKS), ENGINE])
    parser.add_argument("--folder", type=Path, default=Path("build/export_time"), help="models and finished runs")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    cases = [case for case in prepared(folder) if not arguments.only or case.name in arguments.only]
    rows: list[Row] = []
    if arguments.baseline is not None:
        measure(cases, arguments.baseline.resolve(), folder, arguments.pairs, arguments.warm)
        rows += compared(json.loads((folder / "runs.json").read_text()), cases)
    rows += [row for case in cases if case.name != ENGINE for row in staged(case, folder)]
    EXPORT_TIME.record(*rows)
    print_rows("Export", rows, COLUMNS)
    return 0


def prepared(folder: Path) -> list[Case]:
    """The cases, their models and images written below ``folder`` unless they are there."""
    cases = []
    for network in NETWORKS:
        model, pixels = folder / f"{network.name}.onnx", folder / f"{network.name}.npy"
        if not pixels.is_file():
            write_qonnx(network, model)
            np.save(pixels, images(network, IMAGES))
        cases.append(Case(network.name, model, ("--architecture", "streaming", "--images", str(pixels))))
    model = Path(os.environ.get("FPGAFLOW_DATA", "")) / "models" / f"{ENGINE}.onnx"
    if model.is_file():
        cases.append(Case(ENGINE, model.resolve(), ("--architecture", "engine", "--pixel-scale", "1/255")))
    return cases


def measure(cases: list[Case], baseline: Path, folder: Path, pairs: int, warm: int) -> None:
    """Run what runs.json does not hold yet; every run is written as soon as it is done."""
    record = folder / "runs.json"
    runs: list[Row] = json.loads(record.read_text()) if record.is_file() else []
    done = {(run["network"], run["pair"]) for run in runs}
    if len(done) < pairs * len(cases):
        for tree in (baseline, TREE):  # the first use of a tree also compiles its Python, and fd93236's cycle simulator
            exported(cases[0], tree, folder, again=False)
    for pair in range(pairs):
        for case in cases:
            if (case.name, pair) in done:
                continue
            trees = [("baseline", baseline), ("this", TREE)]
            for name, tree in trees if pair % 2 == 0 else trees[::-1]:
                for kind, spent in exported(case, tree, folder, again=pair < warm).items():
                    facts: Row = {"network": case.name, "pair": pair, "tree": name, "kind": kind}
                    runs.append({**facts, "commit": commit(tree), **spent})
            write_text(record, json.dumps(runs, indent=1) + "\n")


def exported(case: Case, tree: Path, folder: Path, *, again: bool) -> dict[str, dict[str, float]]:
    """CPU seconds of an export with an empty cache and, on demand, of one more; both below ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        environment = os.environ | {"PYTHONPATH": str(tree), "FPGAFLOW_CACHE": f"{name}/cache"}
        command = [sys.executable, "-c", EXPORT, "export", str(case.model), "--out", f"{name}/build", *case.options]
        kinds = ("cold", "warm") if again else ("cold",)
        return {kind: spent_by(command, environment, Path(name)) for kind in kinds}


def spent_by(command: list[str], environment: dict[str, str], folder: Path) -> dict[str, float]:
    """CPU seconds of a process and of all that it waited for, and how many images it was verified on."""
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit code {process.returncode}")
    verified = json.loads((folder / "build" / "report.json").read_text())["verification"]
    if verified["csim_mismatches"]:
        raise SystemExit(f"{command}: {verified['csim_mismatches']} codes differ")
    return {"cpu": round(used.ru_utime + used.ru_stime, 2), "images": verified["images"]}


def commit(tree: Path) -> str:
    """Return the short hash of the commit that is checked out in ``tree``."""
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def compared(runs: list[Row], cases: list[Case]) -> list[Row]:
    """A row a network and kind of run: medians of both trees and their ratio."""
    rows: list[Row] = []
    for case in cases:
        for kind in ("cold", "warm"):
            both = {
                name: [run for run in runs if (run["network"], run["kind"], run["tree"]) == (case.name, kind, name)]
                for name in ("baseline", "this")
            }
            if not all(both.values()):
                continue
            cpu = {name: median(float(run["cpu"] or 0) for run in found) for name, found in both.items()}
            rows.append(
                {
                    "network": case.name,
                    "what": f"export, {kind}",
                    "pairs": len(both["this"]),
                    "images": both["this"][-1]["images"],
                    "baseline_commit": both["baseline"][-1]["commit"],
                    "commit": both["this"][-1]["commit"],
                    "baseline_cpu": round(cpu["baseline"], 2),
                    "cpu": round(cpu["this"], 2),
                    "ratio": float(f"{cpu['this'] / cpu['baseline']:.3g}"),
                }
            )
    return rows


def staged(case: Case, folder: Path) -> list[Row]:
    """A row a stage of this tree: its CPU seconds and its share of their sum, with an empty cache to begin with."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        os.environ["FPGAFLOW_CACHE"] = f"{name}/cache"
        spent = stage_times(case.model, folder / f"{case.name}.npy", Path(name))
    whole = sum(each.cpu for stage, each in spent.items() if stage != CACHED)
    return [
        {"network": case.name, "what": stage, "cpu": round(each.cpu, 2), "share": round(each.cpu / whole, 3)}
        for stage, each in spent.items()
    ]


def stage_times(model: Path, pixels: Path, out: Path) -> dict[str, Spent]:
    """Measure each stage, without the comparison with the QONNX file, the units' vectors and the report."""
    spent: dict[str, Spent] = {}
    threads = os.cpu_count() or 1
    lowered, spent["lower"] = timed(lambda: stages.lower(model, out))
    explored, spent["explore"] = timed(lambda: stages.explore(lowered, Search(architecture="streaming")))
    generated, spent["generate"] = timed(lambda: stages.generate(explored))
    design = explored.design
    assert isinstance(design, Streaming)
    graph, files = design.hardware, texts(generated.project.files)
    _, spent[COLD] = timed(lambda: build(graph, files, jobs=threads, frames=IMAGES))
    csim, spent[CACHED] = timed(lambda: build(graph, files, jobs=threads, frames=IMAGES))
    codes = encode(graph, generated.images(Check(images=pixels, count=0)).x)
    found, spent["simulate"] = timed(lambda: csim.run(codes, threads=threads))
    expected, spent["compare"] = timed(lambda: evaluate(graph, codes)[graph.output])
    if not np.array_equal(found, expected):
        raise SystemExit(f"{out}: the C simulation differs from the integer network")
    return spent


if __name__ == "__main__":
    raise SystemExit(main())
