"""Commands ended at random moments, or on a disk that fills: nothing is lost or half-written, the next one goes on.

Builds: a finished one stands in a folder, with a note of a person in vitis/. A command with another clock is ended
there at a random moment, by SIGTERM or SIGKILL, or meets a full disk. Then every file is whole, and of an export the
build is the old or the new one, all of a piece; the note is there; the same command and those behind it end well and
leave no other file.

Runs: ``train`` begins a run, which ``--resume`` goes on with to the model.onnx of a run that nobody ended, bit for bit.
``quantize`` replaces a quantized network, which stays or is the new one, all of a piece.

A full disk is a small tmpfs with a random part of what the command writes left free; to mount it takes root, or
``unshare -rm python -m benchmarks kills``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import onnx

from benchmarks.common import Row, print_rows
from benchmarks.schemas import KILLS
from tests.onnx_models import Net
from toolchain.errors import UserError
from toolchain.files import digest_file
from toolchain.flow.build import Build, foreign_files

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "toolchain.cli",
        "toolchain.flow.stages",
        "toolchain.flow.tables",
        "toolchain.flow.training",
        "toolchain.flow.ptq",
        "toolchain.terminal",
        "toolchain.train.ptq.source",
        "toolchain.train.summary",
    ]
)

CHECK = ("--count", "4", "--qonnx-images", "0", "--threads", "1")
BUILD = {
    "export": ("export", "net.onnx", "--out", "b", "--architecture", "streaming", "--clock", "CLOCK", *CHECK),
    "lower": ("lower", "net.onnx", "--out", "b"),
    "explore": ("explore", "b", "--clock", "CLOCK"),
    "generate": ("generate", "b"),
    "simulate": ("simulate", "b", *CHECK),
    "report": ("report", "b"),
}
RUN = {
    "train": ("train", "run.toml", "--out", "b", "--resume"),
    "quantize": ("quantize", "float", "--out", "b", "--weights", "BITS", "--acts", "4", "--count", "32", "--overwrite"),
}
COMMANDS = {**BUILD, **RUN, "float": ("train", "float.toml", "--out", "float")}
RUN_FILE = """
name = "killed"
model.name = "tfc"
model.width = 0.25
data.name = "digits"
train.accelerator = "cpu"
train.threads = 1
train.batch_size = 256
"""
HOW = ("signal", "full disk")
DISK = 64 << 20
LEAST_FREE = 4096
COLUMNS = {
    "stage": "command",
    "how": "ended by",
    "kills": "times",
    "ended": "ended before",
    "old": "left the old one",
    "new": "left the new one",
    "wrong": "wrong",
}


def network(path: Path) -> None:
    """Two linear layers with quantizers between them."""
    net = Net((1, 16), seed=1)
    x = net.quant("x", scale=0.1)
    for shape in ((16, 8), (8, 4)):
        weight = net.quant(net.const(net.rng.normal(0, 0.3, shape)), scale=0.1)
        x = net.quant(net.add("MatMul", x, weight), scale=0.3)
    net.save(path, x)


def run(folder: Path, name: str, number: int) -> None:
    """A command as a user types it; its exit code is the process's."""
    from toolchain.cli import main

    os.chdir(folder)
    chosen = {"CLOCK": str(100 + number % 100), "BITS": str(2 + number % 7)}
    sys.argv = ["fpgaflow", *(chosen.get(part, part) for part in COMMANDS[name])]
    Path("started").touch()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        main()


def begun(folder: Path, name: str, number: int) -> multiprocessing.context.ForkServerProcess:
    """The process of a command that has loaded what takes long."""
    (folder / "started").unlink(missing_ok=True)
    process = CONTEXT.Process(target=run, args=(folder, name, number))
    process.start()
    while process.is_alive() and not (folder / "started").exists():
        time.sleep(0.005)
    return process


def finished(folder: Path, name: str, number: int) -> int | None:
    """The exit code of a command that nobody ends."""
    process = begun(folder, name, number)
    process.join()
    return process.exitcode


def written_since(out: Path, when: float) -> int:
    """Bytes of the files in ``out`` that were written after ``when``."""
    found = (path.stat() for path in out.rglob("*") if path.is_file())
    return sum(stat.st_size for stat in found if stat.st_mtime >= when)


def ended(folder: Path, name: str, how: str, share: float, number: int, took: float, writes: int) -> int | None:
    """The exit code of a command that is ended after a ``share`` of its time, or has a share of what it writes free."""
    if how == "signal":
        process = begun(folder, name, number)
        process.join(share * took)
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, random.Random(number).choice([signal.SIGTERM, signal.SIGKILL]))
        process.join()
        return process.exitcode
    full = folder / "full"
    with full.open("wb") as file:
        free = shutil.disk_usage(folder).free
        os.posix_fallocate(file.fileno(), 0, max(1, free - LEAST_FREE - int(share * writes)))
    code = finished(folder, name, number)
    full.unlink()
    return code


def whole_build(out: Path) -> bool:
    """Return whether every part of the build belongs to every other."""
    try:
        build = Build(out)
        report = json.loads((out / "report.json").read_text())
        return bool(report["design"] == build.simulation.design) and bool(report["clock_mhz"] == _clock(out))
    except (UserError, ValueError, KeyError, OSError):
        return False


def _clock(out: Path) -> float:
    return float(json.loads((out / "plan.json").read_text())["clock_mhz"])


def one_build(folder: Path, name: str, how: str, share: float, number: int, took: float, writes: int) -> str:
    """Interrupt a build's command as ``how`` says; return what it left: ended, old, new, or the fault."""
    out = folder / "b"
    before = _clock(out)
    code = ended(folder, name, how, share, number, took, writes)
    if how == "full disk" and code not in (0, 2):
        return f"exit {code} on a full disk"
    left = "ended" if code == 0 else "old" if out.is_dir() and _clock(out) == before else "new"
    if name == "export" and not whole_build(out):
        return "the build is not whole"
    note = out / "vitis" / "note"
    if name != "export" and note.read_text() != "mine":
        return "the note is gone"
    for path in out.glob("*.json"):
        json.loads(path.read_text())
    order = list(BUILD)[1:] if name == "lower" else list(BUILD)[list(BUILD).index(name) :]
    for follower in ["export"] if name == "export" else order:
        if finished(folder, follower, number) != 0:
            return f"{follower} does not go on"
    if not whole_build(out) or [path for path in foreign_files(out) if path != note]:
        return "the next build is not whole"
    return _hidden(folder) or left


def whole_run(out: Path) -> bool:
    """Return whether the files in a network's folder can be read and belong to one network."""
    try:
        onnx.checker.check_model(onnx.load(out / "model.onnx"))
        return json.loads((out / "metrics.json").read_text())["qonnx_top1"] is not None
    except (OSError, ValueError, KeyError, onnx.checker.ValidationError):
        return False


def one_run(folder: Path, name: str, how: str, share: float, number: int, took: float, writes: int) -> str:
    """Interrupt a training or a quantization; return ended, old (of a training nothing), new, or the fault."""
    out, model = folder / "b", folder / "b" / "model.onnx"
    if name == "train":
        shutil.rmtree(out, ignore_errors=True)
    before = digest_file(model) if model.is_file() else None
    code = ended(folder, name, how, share, number, took, writes)
    if how == "full disk" and code not in (0, 2):
        return f"exit {code} on a full disk"
    if name == "quantize" and not whole_run(out):
        return "the quantized network is not whole"
    left = "ended" if code == 0 else "old" if (digest_file(model) if model.is_file() else None) == before else "new"
    if finished(folder, name, number) != 0:
        return f"{name} does not go on"
    if not whole_run(out):
        return "the next run is not whole"
    if name == "train" and digest_file(model) != digest_file(folder / "done" / "model.onnx"):
        return "the resumed run ends with another network"
    return _hidden(folder) or left


def _hidden(folder: Path) -> str:
    """The first hidden file in ``folder`` or its network's, as a fault."""
    found = [path.name for path in (*folder.iterdir(), *(folder / "b").rglob("*")) if path.name.startswith(".")]
    return f"{found[0]} is left" if found else ""


@contextmanager
def workplace(how: str) -> Iterator[Path]:
    """A folder, on a disk of its own where that is to fill."""
    with tempfile.TemporaryDirectory() as text:
        if how != "full disk":
            yield Path(text)
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", text], check=True)
        try:
            yield Path(text)
        finally:
            subprocess.run(["umount", text], check=True)


def prepare(folder: Path, name: str) -> None:
    """Write the files from which a command of builds or of runs starts, and its result in ``b``."""
    network(folder / "net.onnx")
    (folder / "run.toml").write_text(f"{RUN_FILE}train.epochs = 6\ntrain.pretrain_epochs = 2\n")
    (folder / "float.toml").write_text(f"{RUN_FILE}train.epochs = 1\ntrain.float = true\n")
    first = name if name == "train" else "quantize" if name == "quantize" else "export"
    for command in ["float", "quantize"] if name == "quantize" else [first]:
        if finished(folder, command, 50) != 0:
            raise SystemExit(f"'{command}' fails")
    if name in BUILD and name != "export":
        (folder / "b" / "vitis").mkdir()
        (folder / "b" / "vitis" / "note").write_text("mine")
    if name == "train":
        (folder / "b").rename(folder / "done")


def measure(name: str, how: str, times: int, seed: int) -> Row:
    """The row of a command."""
    draw, one = random.Random(seed), one_build if name in BUILD else one_run
    with workplace(how) as folder:
        prepare(folder, name)
        if name in BUILD:
            finished(folder, name, 51)  # the timed run then finds as much compiled as the interrupted ones
        when, process = time.time(), begun(folder, name, 51)
        started = time.monotonic()
        process.join()
        took, writes = time.monotonic() - started, written_since(folder / "b", when)
        if name in ("lower", "explore"):
            for follower in list(BUILD)[2:]:
                finished(folder, follower, 51)
        found = Counter[str]()
        for number in range(times):
            kept = folder / "kept"
            shutil.copytree(folder / "b", kept)
            outcome = one(folder, name, how, draw.random(), seed + number, took, writes)
            found[outcome] += 1
            if outcome not in ("ended", "old", "new"):
                print(f"{name}, {how}: {outcome}", file=sys.stderr)
                shutil.rmtree(folder / "b", ignore_errors=True)
                kept.rename(folder / "b")
            shutil.rmtree(kept, ignore_errors=True)
    good = {key: found.pop(key, 0) for key in ("ended", "old", "new")}
    return {"stage": name, "how": how, "kills": times, **good, "wrong": sum(found.values())}


def main() -> int:
    """Measure, write the rows, print them; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", help="all by default", choices=[[], *BUILD, *RUN])
    parser.add_argument("--how", choices=HOW, action="append", help="both by default")
    parser.add_argument("--times", type=int, default=28, help="a command; exports twice as often")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = [*BUILD, *RUN]
    rows = []
    for how in arguments.how or HOW:
        for name in arguments.commands or names:
            seed = arguments.seed + 1000 * names.index(name) + 10_000 * HOW.index(how)
            rows.append(measure(name, how, arguments.times * (2 if name == "export" else 1), seed))
            KILLS.record(rows[-1])
    print_rows("Kills", rows, COLUMNS)
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
