"""The float32 reference execution of a QONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

from toolchain.errors import UserError, unknown_name
from toolchain.frontend.onnx_file import OnnxFile, load_onnx
from toolchain.frontend.standard_onnx import NotStandard, folded_model

Arrays = dict[str, np.ndarray]
Run = Callable[[np.ndarray], Arrays]
_SESSION_ERRORS = (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.NotImplemented, ort_errors.InvalidArgument)
_BATCH_ERRORS = (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.RuntimeException)


def execute_qonnx(path: Path, x: np.ndarray, taps: Sequence[str] = (), *, batch: int = 64) -> Arrays:
    """Run the QONNX file on ``x`` (N, ...) in ONNX order; the output and the tensors named ``taps`` by ONNX name.

    Runs onnxruntime on the file rewritten with standard operations, which gives the numbers of the QONNX executor; a
    file that cannot be rewritten runs in the QONNX executor itself. ``batch`` images are run at a time.
    """
    file = load_onnx(path)
    frames = _checked_input(file, x)
    names = _tensor_names(file, taps)

    def session(size: int | None) -> Run:
        return _onnxruntime(folded_model(file, names, standard=True, batch=size), file.input)

    try:
        results = _in_batches(session, frames, names, batch)
    except NotStandard:
        return execute_reference(path, x, taps, batch=batch)
    return _with_input(file, taps, frames, results)


def execute_reference(path: Path, x: np.ndarray, taps: Sequence[str] = (), *, batch: int = 64) -> Arrays:
    """The same as ``execute_qonnx`` by the QONNX executor, node by node: slow, and the definition."""
    file = load_onnx(path)
    frames = _checked_input(file, x)
    names = _tensor_names(file, taps)

    def run(part: np.ndarray) -> Arrays:
        model = ModelWrapper(folded_model(file, names, standard=False, batch=len(part)))
        with warnings.catch_warnings():  # it warns of shapes that only appear at run time
            warnings.simplefilter("ignore")
            model = model.transform(InferShapes())
            tensors = execute_onnx(model, {file.input: part}, return_full_exec_context=True)
        return {name: np.asarray(tensors[name]) for name in names}

    return _with_input(file, taps, frames, _in_batches(lambda size: run, frames, names, batch))


def _checked_input(file: OnnxFile, x: np.ndarray) -> np.ndarray:
    if x.shape[1:] != file.shape[1:] or not len(x):
        raise UserError(
            f"input data of shape {x.shape} does not fit '{file.input}' (N, {', '.join(map(str, file.shape[1:]))})",
            where=file.path.name,
        )
    kind = np.float32 if file.integer is None else np.int8 if file.integer.signed else np.uint8
    return np.ascontiguousarray(x, dtype=kind)


def _tensor_names(file: OnnxFile, taps: Sequence[str]) -> list[str]:
    """The output and ``taps`` without the input, each once."""
    known = {name for node in file.nodes for name in node.outputs}
    for tap in taps:
        if tap not in known and tap != file.input:
            raise unknown_name("tensor", tap, known)
    return list(dict.fromkeys([file.output, *(tap for tap in taps if tap != file.input)]))


def _with_input(file: OnnxFile, taps: Sequence[str], x: np.ndarray, results: Arrays) -> Arrays:
    return results | {file.input: x} if file.input in taps else results


def _onnxruntime(model: onnx.ModelProto, input_name: str) -> Run:
    options = onnxruntime.SessionOptions()
    # fused or re-laid-out kernels add up in another order than the reference executor's single nodes
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except _SESSION_ERRORS as error:
        raise UserError(
            f"onnxruntime does not run the file: {str(error).splitlines()[0]}",
            hint="--qonnx-images 0 leaves the comparison with it out",
        ) from error
    names = [output.name for output in session.get_outputs()]
    return lambda part: dict(zip(names, session.run(names, {input_name: part}), strict=True))


def _in_batches(make: Callable[[int | None], Run], x: np.ndarray, names: list[str], batch: int) -> Arrays:
    """Run parts of ``x`` with ``make(None)``; image by image with ``make(1)`` when the graph does not take a batch."""
    whole = _attempt(make(None), x, batch) if len(x) > 1 and batch > 1 else None
    if whole is None:
        single = make(1)
        whole = [single(x[i : i + 1]) for i in range(len(x))]
    return {name: np.concatenate([part[name] for part in whole]) for name in names}


def _attempt(run: Run, x: np.ndarray, batch: int) -> list[Arrays] | None:
    """The results of every part, or None when the graph has a fixed batch somewhere."""
    parts = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        try:
            results = run(part)
        except _BATCH_ERRORS:
            return None
        if not all(array.ndim and len(array) == len(part) for array in results.values()):
            return None
        parts.append(results)
    return parts
