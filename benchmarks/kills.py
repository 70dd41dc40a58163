"""Commands ended at random moments: nothing is lost or half-written, the next one goes on.

A finished build stands in a folder, with a note of a person in vitis/. A command with another clock is ended there at
a random moment, by SIGTERM or SIGKILL. Then every file is whole, and of an export the build is the old or the new one,
all of a piece; the note is there; the same command and those behind it end well and leave no other file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.common import Row, print_rows
from benchmarks.schemas import KILLS
from toolchain.errors import UserError
from toolchain.flow.build import Build, foreign_files

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["toolchain.cli", "toolchain.flow.stages", "toolchain.flow.tables", "toolchain.terminal"]
)

CHECK = ("--count", "4", "--qonnx-images", "0", "--threads", "1")
COMMANDS = {
    "export": ("export", "net.onnx", "--out", "b", "--architecture", "streaming", "--clock", "CLOCK", *CHECK),
    "lower": ("lower", "net.onnx", "--out", "b"),
    "explore": ("explore", "b", "--clock", "CLOCK"),
    "generate": ("generate", "b"),
    "simulate": ("simulate", "b", *CHECK),
    "report": ("report", "b"),
}
COLUMNS = {
    "stage": "command",
    "kills": "kills",
    "ended": "ended before",
    "old": "left the old plan",
    "new": "left the new one",
    "wrong": "wrong",
}


def network(path: Path) -> None:
    """Two linear layers with quantizers between them."""
    rng, nodes, constants = np.random.default_rng(1), [], {}

    def quant(x: str, name: str, scale: float) -> str:
        for key, value in (("scale", scale), ("zero", 0.0), ("bits", 4.0)):
            constants[f"{name}_{key}"] = np.float32(value)
        inputs = [x, *(f"{name}_{key}" for key in ("scale", "zero", "bits"))]
        more = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", "domain": "onnx.brevitas"}
        nodes.append(helper.make_node("Quant", inputs, [name], f"node_{name}", **more))
        return name

    x = quant("x", "first", 0.1)
    for name, shape in (("a", (16, 8)), ("b", (8, 4))):
        constants[f"w_{name}"] = rng.normal(0, 0.3, shape).astype(np.float32)
        weight = quant(f"w_{name}", f"q_{name}", 0.1)
        nodes.append(helper.make_node("MatMul", [x, weight], [f"m_{name}"], f"node_m_{name}"))
        x = quant(f"m_{name}", f"o_{name}", 0.3)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 16)), (x, None))]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("onnx.brevitas", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def run(folder: Path, name: str, clock: int) -> None:
    """A command as a user types it; its exit code is the process's."""
    from toolchain.cli import main

    os.chdir(folder)
    sys.argv = ["fpgaflow", *(str(clock) if part == "CLOCK" else part for part in COMMANDS[name])]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        main()


def finished(folder: Path, name: str, clock: int) -> int | None:
    """The exit code of a command that nobody ends."""
    process = CONTEXT.Process(target=run, args=(folder, name, clock))
    process.start()
    process.join()
    return process.exitcode


def whole(out: Path) -> bool:
    """Whether every part of the build belongs to every other."""
    try:
        build = Build(out)
        report = json.loads((out / "report.json").read_text())
        return bool(report["design"] == build.simulation.design) and bool(report["clock_mhz"] == _clock(out))
    except (UserError, ValueError, KeyError, OSError):
        return False


def _clock(out: Path) -> float:
    return float(json.loads((out / "plan.json").read_text())["clock_mhz"])


def one(folder: Path, name: str, after: float, number: int) -> str:
    """What a kill ``after`` seconds left: ended, old, new, or what is wrong."""
    out, clock, draw = folder / "b", 100 + number % 100, random.Random(number)
    before = _clock(out)
    process = CONTEXT.Process(target=run, args=(folder, name, clock))
    process.start()
    time.sleep(after)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, draw.choice([signal.SIGTERM, signal.SIGKILL]))
    process.join()
    left = "ended" if process.exitcode == 0 else "old" if out.is_dir() and _clock(out) == before else "new"
    if name == "export" and not whole(out):
        return "the build is not whole"
    note = out / "vitis" / "note"
    if name != "export" and note.read_text() != "mine":
        return "the note is gone"
    for path in out.glob("*.json"):
        json.loads(path.read_text())
    order = list(COMMANDS)[1:] if name == "lower" else list(COMMANDS)[list(COMMANDS).index(name) :]
    for follower in ["export"] if name == "export" else order:
        if finished(folder, follower, clock) != 0:
            return f"{follower} does not go on"
    if not whole(out) or [path for path in foreign_files(out) if path != note]:
        return "the next build is not whole"
    hidden = [path.name for path in (*folder.iterdir(), *out.iterdir()) if path.name.startswith(".")]
    return left if not hidden else f"{hidden[0]} is left"


def measure(name: str, kills: int, seed: int) -> Row:
    """The row of a command."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        network(folder / "net.onnx")
        if finished(folder, "export", 250) != 0:
            raise SystemExit("the export fails")
        if name != "export":
            (folder / "b" / "vitis").mkdir()
            (folder / "b" / "vitis" / "note").write_text("mine")
        started = time.monotonic()
        finished(folder, name, 251)
        took = time.monotonic() - started
        if name in ("lower", "explore"):
            for follower in list(COMMANDS)[2:]:
                finished(folder, follower, 251)
        found = Counter[str]()
        for number in range(kills):
            kept = folder / "kept"
            shutil.copytree(folder / "b", kept)
            outcome = one(folder, name, draw.uniform(0, took), seed + number)
            found[outcome] += 1
            if outcome not in ("ended", "old", "new"):
                print(f"{name}: {outcome}", file=sys.stderr)
                shutil.rmtree(folder / "b", ignore_errors=True)
                kept.rename(folder / "b")
            shutil.rmtree(kept, ignore_errors=True)
    good = {key: found.pop(key, 0) for key in ("ended", "old", "new")}
    return {"stage": name, "kills": kills, **good, "wrong": sum(found.values())}


def main() -> int:
    """Measure, write the rows, print them; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of all commands together, a third of them of exports")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    others = len(COMMANDS) + 1  # export counts for two
    shares = {name: arguments.kills * (2 if name == "export" else 1) // others for name in COMMANDS}
    shares["export"] += arguments.kills - sum(shares.values())
    rows = [measure(name, kills, arguments.seed + 1000 * i) for i, (name, kills) in enumerate(shares.items())]
    KILLS.replace(rows)
    print_rows("Kills", rows, COLUMNS)
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
