"""Eight exports into one folder, some of them killed: the folder that remains is whole and its report is its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.onnx_models import Net
from toolchain.flow.build import Build, foreign_files
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["toolchain.flow.stages"])

JOBS = [(name, 100.0 + 10 * i) for i, name in enumerate("abababab")]
"""A network and a clock in MHz each: builds that differ in everything but what has to be compiled."""


def network(path: Path, seed: int) -> Path:
    """A linear layer."""
    net = Net((1, 4), seed=seed)
    return net.save(path, net.quant(net.linear(net.quant("x", 4, 0.1), 4, 2), 4, 0.3))


def run(out: Path, name: str, clock: float) -> None:
    """An export of the network ``name`` beside ``out``."""
    export(
        out.with_name(f"{name}.onnx"),
        out,
        Search(clock_mhz=clock, architecture="streaming"),
        Check(count=4, qonnx_images=0, threads=1),
    )


def demand_whole(out: Path) -> tuple[str, float]:
    """Every part of the build belongs to every other, and the report is of its network and clock, which it returns."""
    build = Build(out)
    report = json.loads((out / "report.json").read_text())
    assert report["design"] == build.simulation.design == build.project.design == build.design.digest
    assert report["name"] == build.network.graph.name == Path(build.model.file).stem
    assert f"create_clock -period {1e3 / report['clock_mhz']:.3f}" in build.project.files["run_hls.tcl"].decode()
    assert (report["verification"]["images"], report["verification"]["csim_mismatches"]) == (4, 0)
    assert build.model.sha256 == report["model"]["sha256"] and [*foreign_files(out)] == []
    return report["name"], report["clock_mhz"]


def at_once(out: Path, kills: int, draw: random.Random) -> list[int | None]:
    """All exports at once; ``kills`` of them are ended one after the other. Exit codes of the others."""
    processes = [CONTEXT.Process(target=run, args=(out, *job)) for job in JOBS]
    for process in processes:
        process.start()
        time.sleep(draw.uniform(0.0, 0.3))
    killed = draw.sample(processes[-kills:], kills)  # the others have a half-made build by then
    for process in killed:
        time.sleep(draw.uniform(0.0, 0.3))
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, draw.choice([signal.SIGKILL, signal.SIGTERM]))
    for process in processes:
        process.join()
    return [process.exitcode for process in processes if process not in killed]


@pytest.mark.needs_gxx
def test_eight_exports_into_one_folder_leave_one_whole_build(tmp_path: Path) -> None:
    """With half of them killed, then with all; whoever comes next goes on, and clears up."""
    out, draw = tmp_path / "b", random.Random(5)
    for seed, name in enumerate("ab"):
        network(tmp_path / f"{name}.onnx", seed)
        run(out, name, 90.0)
    assert at_once(out, len(JOBS) // 2, draw) == [0] * (len(JOBS) // 2)
    assert demand_whole(out) in JOBS
    at_once(out, len(JOBS), draw)
    assert demand_whole(out) in JOBS

    run(out, *JOBS[3])
    assert demand_whole(out) == JOBS[3]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
