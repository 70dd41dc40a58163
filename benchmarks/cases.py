"""Every .onnx file below a folder of cases through ``check`` and ``export``: exact, refused for a reason, or wrong.

    python -m benchmarks cases FOLDER [--only NAME]

Each command runs alone, under a limit of memory and of time. Where a file NAME.expected.json lies beside NAME.onnx, the
integer network's values are compared with those that an independent executor gave on the same seeded pixels.

A case is "exact" when the export ends with 0 and every value is equal, a code apart only where float32 stands on a tie;
"refused" when check and export give one reason and exit code 2, or when the export alone finds it too large for the
board; anything else is WRONG: a traceback, a kill, other values, a check that says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from benchmarks.common import Row, print_rows
from benchmarks.schemas import CASES
from tests.verdicts import given
from toolchain.errors import FlowError
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.encode import decode, encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.store import load
from toolchain.ir.types import Array

MEMORY = 6_000_000_000
SECONDS = 900.0
COLUMNS = {"case": "case", "file": "file", "check": "check", "exit": "exit", "seconds": "s", "peak_mb": "MB",
           "found": "found", "verdict": "verdict"}  # fmt: skip
FPGAFLOW = [sys.executable, "-c", "from toolchain.cli import main; main()"]


@dataclass(frozen=True)
class Ended:
    """The end of a command: its exit code (negative: the signal), its output, and its resources with its children's."""

    code: int
    seconds: float
    peak_mb: float
    text: str

    @property
    def last_line(self) -> str:
        """The last line, without what a line of an error begins with."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines[-1].removeprefix("fpgaflow: ") if lines else ""


def main() -> int:
    """Run all cases, write the rows, print them; 1 if any is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="cases whose path holds this")
    parser.add_argument("--count", type=int, default=32, help="random images of an export")
    arguments = parser.parse_args()
    files = [path for path in sorted(arguments.folder.rglob("*.onnx")) if arguments.only in str(path)]
    rows = []
    for path in files:
        rows.append(case_row(path, arguments.folder, arguments.count))
        print(*(str(rows[-1][key]) for key in COLUMNS), sep=" | ", flush=True)
    found = [row | {"command": "python -m benchmarks cases FOLDER"} for row in rows]
    if arguments.only:
        CASES.record(*found)
    else:
        CASES.replace(found)
    print_rows("Cases", [row | {"found": escape(str(row["found"]))} for row in rows], COLUMNS)
    wrong = sum(row["verdict"] == "WRONG" for row in rows)
    print(f"{len(rows)} files: {sum(row['verdict'] == 'exact' for row in rows)} exact, "
          f"{sum(row['verdict'] == 'refused' for row in rows)} refused, {wrong} wrong")  # fmt: skip
    return int(wrong > 0)


def case_row(path: Path, root: Path, count: int) -> Row:
    """Run one file through the commands and return its row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checked = run("check", str(path), *pixels(path), cwd=folder)
        options = (*pixels(path), "--out", str(folder / "build"), "--count", str(count))
        exported = run("export", str(path), *options, cwd=folder)
        found, verdict = judged(path, checked, exported, folder)
    return {
        "case": str(path.parent.relative_to(root)),
        "file": path.name,
        "check": {0: "can be built", 2: "refused"}.get(checked.code, f"exit {checked.code}"),
        "exit": exported.code,
        "seconds": round(exported.seconds, 1),
        "peak_mb": round(exported.peak_mb),
        "found": found,
        "verdict": verdict,
    }


def pixels(path: Path) -> tuple[str, ...]:
    """Return the options by which a user describes the input of a file that does not."""
    return ("--pixel-scale", "1/255") if given(path) is not None else ()


def run(*arguments: str, cwd: Path) -> Ended:
    """A command of the product under the limits of memory and time."""

    def limit() -> None:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    started = time.monotonic()
    with (cwd / "text").open("w+") as text:
        child = subprocess.Popen([*FPGAFLOW, *arguments], cwd=cwd, stdout=text, stderr=subprocess.STDOUT,
                                 preexec_fn=limit, env=os.environ | {"COLUMNS": "400"})  # fmt: skip
        usage = None
        while usage is None:
            pid, status, found = os.wait4(child.pid, os.WNOHANG)
            if pid:
                usage = found
            elif time.monotonic() - started > SECONDS:
                os.killpg(child.pid, 9)
                _, status, usage = os.wait4(child.pid, 0)
            else:
                time.sleep(0.05)
        child.returncode = os.waitstatus_to_exitcode(status)
        text.seek(0)
        return Ended(child.returncode, time.monotonic() - started, usage.ru_maxrss / 1024, text.read())


def judged(path: Path, checked: Ended, exported: Ended, folder: Path) -> tuple[str, str]:
    """Return the outcome of the two commands in words, and the verdict."""
    for ended in (checked, exported):
        if "Traceback" in ended.text or ended.code not in (0, 2):
            return ended.last_line, "WRONG"
    if exported.code == 2:
        if checked.code == 2:
            reason = checked.last_line.partition("): ")[2] or checked.last_line
            return exported.last_line, "refused" if reason.split(" [")[0] in exported.last_line else "WRONG"
        lowered = run("lower", str(path), *pixels(path), "--out", str(folder / "build"), cwd=folder)
        if lowered.code:
            return f"check passes it, export: {exported.last_line}", "WRONG"
        same, text = compared(path, folder / "build")
        return f"{exported.last_line} ({text})", "refused" if same else "WRONG"
    if checked.code == 2:
        return f"exported, but check says: {checked.last_line}", "WRONG"
    same, text = compared(path, folder / "build")
    return text, "exact" if same else "WRONG"


def compared(path: Path, build: Path) -> tuple[bool, str]:
    """Return whether the integer network in ``build`` gives the expected values of ``path``, and the details."""
    record = path.with_suffix(".expected.json")
    if not record.is_file():
        return True, "no expected values"
    expected = json.loads(record.read_text())["outputs"]
    try:
        model, graph = read_qonnx(path), load(build).graph
    except FlowError as error:
        return False, str(error)
    _, frames = seeded_frames(model, 2)
    images = model.layout.to_ir(frames[:1])
    if set(model.outputs) != set(expected):  # operations of the host stand between
        return judged_codes(model, graph, images, "the host's part left out, ")
    codes, count, apart = evaluate(graph, encode(graph, images)), 0, 0.0
    for output, tensor in zip(graph.outputs, model.outputs, strict=True):
        values = model.output_layout(tensor).from_ir(decode(output, codes[output.value])).ravel()
        count, apart = count + len(values), max(apart, distance(values, **expected[tensor]))
    if apart < 1e-6:
        return True, f"{count} values equal the executor's"
    same, text = judged_codes(model, graph, images, "")
    return same and not text.startswith("0 "), f"{text}, values {apart:.1e} apart"


def seeded_frames(model: ModelFile, count: int) -> tuple[dict[str, Array], Array]:
    """Seeded pixels of every input by name ("" for the only one), over 255 unless it takes bytes, and all joined."""
    rng, joined = np.random.default_rng(7), model.joined
    shapes = {"": model.layout.onnx_shape(1)[1:]} if joined is None else joined.shapes
    drawn = {name: rng.integers(0, 256, (count, *shape), dtype=np.uint8) for name, shape in shapes.items()}
    if not byte_input(model):
        drawn = {name: (x / np.float32(255)).astype(np.float32) for name, x in drawn.items()}
    return drawn, drawn[""] if joined is None else joined.join(drawn)


def judged_codes(model: ModelFile, graph: Graph, images: Array, before: str) -> tuple[bool, str]:
    """Return whether codes of ``graph`` differ from those of ``model`` at ties alone, and the details."""
    try:
        ties = compare(model, graph, images)
    except FlowError as error:
        return False, str(error)
    return True, f"{before}{ties.mismatches} of {ties.codes} codes at float32's ties"


def distance(values: np.ndarray, *, first: list[float], sum: float, **_: Any) -> float:
    """Return the relative distance of ``values`` from the ``first`` expected ones, or of their means if larger."""
    size = max(float(np.abs(values).max(initial=0.0)), 1e-30)
    apart = float(np.abs(values[: len(first)] - np.array(first)).max()) / size
    return max(apart, abs(float(values.sum()) - sum) / (size * len(values)))


def byte_input(model: Any) -> bool:
    """Return whether the file itself takes uint8."""
    import onnx

    info = next(i for i in onnx.load(model.path).graph.input)
    return bool(info.type.tensor_type.elem_type == onnx.TensorProto.UINT8)


if __name__ == "__main__":
    raise SystemExit(main())
