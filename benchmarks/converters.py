"""The files of a folder of cases through this project, hls4ml and finn-plus: who takes them, who is exact, in one run.

    python -m benchmarks converters FOLDER [--only NAME] [--tools TOOL] [--again]

Each file gets seeded pixels; the executor's values of the unmodified file, which are those of NAME.expected.json beside
it, are the reference for all three. The others run as they document it, in a Python of their own: hls4ml up to its C
simulation, finn-plus through its default steps up to hardware layers, which it executes in Python. Q/DQ becomes Quant
by qonnx first, as neither reads it. A value differs where it lies further from the reference than 1e-5 of the largest.
Files that have a row are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from benchmarks.cases import distance, seeded_frames
from benchmarks.common import Row, print_rows
from benchmarks.schemas import CONVERTERS
from tests.verdicts import lowered
from toolchain.errors import FlowError, UserError
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.host_part import rest_of
from toolchain.frontend.onnx_file import load_onnx
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.encode import decode, encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array


@dataclass(frozen=True)
class Peer:
    """Another tool: its worker's file and the packages of its Python, ``alone`` without what they ask for.

    Where ``lent``, its Python also sees this one's packages behind its own.
    """

    worker: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    lent: bool = False


PEERS = {
    "hls4ml": Peer(
        "hls4ml_case.py",
        ("hls4ml==1.3.0", "numpy==2.4.6", "qonnx==1.0.0", "onnx==1.20.1", "onnxruntime==1.31.1", "protobuf==7.36.2"),
    ),
    # all that it needs up to hardware layers but torch and Brevitas; what else it asks for trains or synthesizes
    "finn-plus": Peer(
        "finn_case.py",
        ("numpy==2.4.6", "qonnx==1.0.0", "onnx==1.21.0", "onnxruntime==1.25.1", "protobuf==5.29.6", "rich==13.9.4",
         "mashumaro[yaml]==3.15", "mip==1.17.0", "pandas==2.3.1", "scipy==1.17.0", "scikit-learn==1.7.2",
         "onnxscript==0.7.2", "onnx-ir==1.1.0", "onnx-passes==0.4.1", "onnxoptimizer==0.4.2", "pydantic==2.14.4",
         "pyyaml==6.0.2", "bitstring==4.3.1", "click==8.5.1", "termcolor==3.3.0", "psutil==7.2.2", "matplotlib==3.11.2",
         "jinja2==3.1.6"),
        ("finn-plus==1.6.1",),
        lent=True,
    ),
}  # fmt: skip
FPGAFLOW = "fpgaflow"
FRAMES = 4
NEAR = 1e-5
COLUMNS = {"case": "case", "file": "file", "tool": "tool", "taken": "taken", "exact": "exact", "found": "found"}
COMMON = {"Conv", "Gemm", "MatMul", "Relu", "Quant", "QuantizeLinear", "DequantizeLinear", "Constant", "Identity"}
"""Operations of nearly every network."""


@dataclass(frozen=True)
class Reference:
    """A file's frames by its inputs' names ("" for the only one) and joined, and its outputs by the executor."""

    path: Path
    inputs: dict[str, Array]
    frames: Array
    outputs: dict[str, Array]
    ends: dict[str, Array]
    """Where this project's accelerator ends: in front of what the host applies."""


def main() -> int:
    """Run all files through the three, write the rows, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="cases whose path holds this")
    parser.add_argument("--seconds", type=int, default=100, help="processor time for each file and tool")
    parser.add_argument("--tools", nargs="*", choices=list(PEERS), default=list(PEERS), help="beside this one")
    parser.add_argument("--pythons", type=Path, default=Path(tempfile.gettempdir()) / "fpgaflow-peers")
    parser.add_argument("--again", action="store_true", help="also files that have a row")
    arguments = parser.parse_args()
    files = [path for path in sorted(arguments.folder.rglob("*.onnx")) if arguments.only in str(path)]
    rows: list[Row] = []

    def key(path: Path, tool: str) -> Row:
        return {"case": str(path.parent.relative_to(arguments.folder)), "file": path.name, "tool": tool}

    def wanted(path: Path, tool: str) -> bool:
        return arguments.again or not CONVERTERS.has(key(path, tool))

    def record(path: Path, tool: str, found: Row) -> None:
        said = {"what": operations(path), "command": "python -m benchmarks converters FOLDER"}
        rows.append(key(path, tool) | found | said)
        print(*(str(rows[-1][name]) for name in COLUMNS), sep=" | ", flush=True)
        CONVERTERS.record(rows[-1])

    references = []
    for path in files:
        if any(wanted(path, tool) for tool in (FPGAFLOW, *arguments.tools)):
            reference, found = own(path)
            references.append(reference)
            if wanted(path, FPGAFLOW):
                record(path, FPGAFLOW, found)
    for tool in arguments.tools:
        todo = [reference for reference in references if wanted(reference.path, tool)]
        for path, found in theirs(tool, interpreter(tool, arguments.pythons), todo, arguments.seconds):
            record(path, tool, found)
    print_rows("Who takes what", rows, COLUMNS)
    return 0


def operations(path: Path) -> str:
    """The operations of a file that not nearly every network has."""
    return ", ".join(sorted({node.op_type for node in onnx.load(path).graph.node} - COMMON))


def interpreter(tool: str, folder: Path) -> Path:
    """The Python of ``tool`` below ``folder``, made and filled by pip where there is none."""
    peer, home = PEERS[tool], folder / tool
    python, ready = home / "bin" / "python", home / "ready"
    if not ready.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *peer.packages], check=True)
        if peer.alone:
            subprocess.run([*install, "--no-deps", *peer.alone], check=True)
        if peer.lent:
            (packages,) = (home / "lib").glob("python*/site-packages")
            (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
        ready.touch()
    return python


def own(path: Path) -> tuple[Reference, Row]:
    """What the executor makes of the file ``path``, and what became of it here."""
    built = lowered(path)
    model = read_qonnx(path) if isinstance(built, UserError) else built[0]
    reference = reference_of(model, path)
    return reference, _row("no", "", str(built)) if isinstance(built, UserError) else ours(*built, reference)


def reference_of(model: ModelFile, path: Path) -> Reference:
    """Seeded pixels, as bytes where the file takes these, and what the executor makes of them.

    Raises:
        ValueError: NAME.expected.json beside the file NAME.onnx says otherwise of its seeded frame.
    """
    inputs, frames = seeded_frames(model, FRAMES)
    values = execute_qonnx(path, frames, model.outputs)
    outputs, record = load_onnx(path).outputs, path.with_suffix(".expected.json")
    if record.is_file():
        first = execute_qonnx(path, seeded_frames(model, 2)[1][:1])
        for name, expected in json.loads(record.read_text())["outputs"].items():
            if distance(first[name].ravel(), **expected) > NEAR:
                raise ValueError(f"{record.name}: the executor's '{name}' differs")
    ends = {name: values[name] for name in model.outputs}
    return Reference(path, inputs, frames, {name: values[name] for name in outputs}, ends)


def ours(model: ModelFile, integer: Graph, reference: Reference) -> Row:
    """The integer network of this project, every code of which is judged too."""
    images = model.layout.to_ir(reference.frames)
    try:
        ties = compare(model, integer, images)
    except FlowError as error:
        return _row("yes", "no", str(error))
    codes = evaluate(integer, encode(integer, images))
    found = {
        tensor: model.output_layout(tensor).from_ir(decode(output, codes[output.value]))
        for output, tensor in zip(integer.outputs, model.outputs, strict=True)
    }
    row = judged(reference.ends, found)
    if ties.mismatches and row["exact"] == "no":
        row |= {"exact": "yes", "found": f"{row['found']}, behind {ties.mismatches} codes at a tie of float32"}
    rest = rest_of(load_onnx(reference.path), {name: array.shape for name, array in reference.ends.items()})
    return row if rest is None else _in_part(row, ", ".join(sorted({node.op_type for node in rest.graph.node})))


def theirs(tool: str, python: Path, references: list[Reference], seconds: int) -> Iterator[tuple[Path, Row]]:
    """The same of ``tool`` in a process of its own: what it makes of each file, or how it fails."""
    with tempfile.TemporaryDirectory() as name:
        work = {}
        for i, reference in enumerate(references):
            folder = Path(name) / str(i)
            folder.mkdir()
            np.savez(folder / "inputs.npz", **{name or "x": array for name, array in reference.inputs.items()})  # type: ignore[arg-type]
            (folder / "outputs.json").write_text(json.dumps(list(reference.outputs)))
            work[str(reference.path.resolve())] = (reference, folder)
        todo = [(path, str(folder)) for path, (_, folder) in work.items()]
        (Path(name) / "work.json").write_text(json.dumps(todo))
        worker = Path(__file__).parent / PEERS[tool].worker
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [str(python), "-W", "ignore", str(worker), str(Path(name) / "work.json"), str(seconds)]
        with subprocess.Popen(command, env=environment, cwd=name, stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout or ():
                if line.strip() in work:
                    reference, folder = work[line.strip()]
                    yield reference.path, said(reference, folder)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)


def said(reference: Reference, folder: Path) -> Row:
    """What the worker left in ``folder``."""
    if not (folder / "result.json").is_file():
        lines = [line for line in (folder / "text").read_text().splitlines() if line.strip()]
        return _row("no", "", f"its process ended: {lines[-1][:160] if lines else 'no message'}")
    found = json.loads((folder / "result.json").read_text())
    if "refused" in found:
        return _row("no", "", found["refused"][:300])
    with np.load(folder / "found.npz") as arrays:
        row = judged(reference.outputs, {name: arrays[name] for name in reference.outputs})
    row |= {"found": f"{row['found']}; {found['remark']}"} if found["remark"] else {}
    return _in_part(row, found["left"]) if found["left"] else row


def judged(wanted: dict[str, Array], found: dict[str, Array]) -> Row:
    """How many values differ; those of a map also count where it is put out with its channels last."""
    count = wrong = 0
    worst = 0.0
    for name, expected in wanted.items():
        flat = expected.reshape(FRAMES, -1).astype(np.float64)
        size = max(float(np.abs(flat).max()), 1e-30)
        forms = [flat, np.moveaxis(expected, 1, -1).reshape(FRAMES, -1)] if expected.ndim > 2 else [flat]
        given = found[name].reshape(FRAMES, -1).astype(np.float64)
        if given.shape != flat.shape:
            return _row("yes", "no", f"'{name}' has {given.shape[1]} values, not {flat.shape[1]}")
        apart = min((np.abs(given - form) / size for form in forms), key=lambda a: int((a > NEAR).sum()))
        count, wrong, worst = count + flat.size, wrong + int((apart > NEAR).sum()), max(worst, float(apart.max()))
    text = f"{wrong} of {count} values differ" + (f", up to {worst:.2g} of the largest" if wrong else "")
    return _row("yes", "no" if wrong else "yes", text)


def _in_part(row: Row, left: str) -> Row:
    return row | {"taken": "in part", "found": f"{row['found']}; left to software: {left}"}


def _row(taken: str, exact: str, found: str) -> Row:
    return {"taken": taken, "exact": exact, "found": found}


if __name__ == "__main__":
    raise SystemExit(main())
