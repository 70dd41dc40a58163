"""The float32 reference execution of a QONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

from toolchain.errors import UserError, first_line, unknown_name
from toolchain.frontend.onnx_file import OnnxFile, load_onnx
from toolchain.frontend.pieces import Arrays, PieceRunner, Run, cut
from toolchain.frontend.standard_onnx import NotStandard, folded_model
from toolchain.memory import spans

_SESSION_ERRORS = (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.NotImplemented, ort_errors.InvalidArgument)
_BATCH_ERRORS = (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.RuntimeException)

_LEAVE_OUT, _AGAIN = "--qonnx-images 0 leaves the comparison with it out", "export the model again"


def execute_qonnx(path: Path, x: np.ndarray, taps: Sequence[str] = (), *, batch: int = 64) -> Arrays:
    """Run the QONNX file on ``x`` (N, ...) in ONNX order; the outputs and the tensors named ``taps`` by ONNX name.

    Runs onnxruntime on the file rewritten with standard operations, which gives the numbers of the QONNX executor; a
    file that cannot be rewritten runs in the QONNX executor itself. ``batch`` images are run at a time.
    """
    file = load_onnx(path)
    frames = _checked_input(file, x)
    names = _tensor_names(file, taps)

    def session(size: int | None) -> Run:
        return _onnxruntime(folded_model(file, names, standard=True, batch=size))

    try:
        results = _in_batches(session, file.input, frames, names, batch)
    except NotStandard:
        return execute_reference(path, x, taps, batch=batch)
    return _with_input(file, taps, frames, results)


def execute_float(file: OnnxFile, x: np.ndarray) -> np.ndarray:
    """The output of a float ONNX file for ``x`` (N, ...), N the batch that it is written for or any, by onnxruntime.

    Raises:
        UserError: onnxruntime does not take the file.
    """
    return _in_batches(lambda _: _onnxruntime(file.model, _AGAIN), file.input, x, [file.output], len(x))[file.output]


def execute_frames(model: onnx.ModelProto, x: np.ndarray) -> Arrays:
    """The outputs of ``model``, which has one input, for ``x`` (N, ...), frame after frame.

    Raises:
        UserError: onnxruntime does not run it.
    """
    run, (source,) = _refusing(_onnxruntime(model, _AGAIN)), [value.name for value in model.graph.input]
    frames = [run({source: x[i : i + 1]}) for i in range(len(x))]
    return {name: np.concatenate([frame[name] for frame in frames]) for name in frames[0]}


def execute_reference(path: Path, x: np.ndarray, taps: Sequence[str] = (), *, batch: int = 64) -> Arrays:
    """The same as ``execute_qonnx`` by the QONNX executor, node by node: slow, and the definition."""
    file = load_onnx(path)
    frames = _checked_input(file, x)
    names = _tensor_names(file, taps)

    def session(size: int | None) -> Run:
        return lambda inputs: _executor(folded_model(file, names, standard=False, batch=len(inputs[file.input])))(
            inputs
        )

    return _with_input(file, taps, frames, _in_batches(session, file.input, frames, names, batch))


Feed = Callable[[slice], np.ndarray]
"""Gives images in ONNX order."""

Part = tuple[slice, Iterator[tuple[str, np.ndarray]]]


def execute_in_parts(
    path: Path, count: int, feed: Feed, taps: Mapping[str, int], *, batch: int, room: int
) -> Iterator[Part]:
    """``execute_qonnx`` on ``count`` images of ``feed``, at most ``batch`` at a time.

    ``taps`` are tensors with the elements of a frame; they come with their names in the file's order, to be used and
    let go. Of an image that runs alone only so many are made at a time as take ``room`` bytes.
    """
    file = load_onnx(path)
    wanted = dict(taps)
    place = {name: i for i, node in enumerate(file.nodes) for name in node.outputs}
    names = sorted(_tensor_names(file, list(wanted)), key=place.__getitem__)
    standard, done = _is_standard(file, names), 0
    if standard and batch > 1 and count > 1:
        run = _onnxruntime(folded_model(file, names, standard=True, batch=None))
        for part in spans(count, batch):
            frames = _checked_input(file, feed(part))
            results = _attempt(run, file.input, frames, batch)
            if results is None:  # a fixed batch somewhere
                break
            own = {file.input: frames} if file.input in wanted else {}
            yield part, _consumed(own | results.pop())
            done = part.stop
        del run
    if done == count:
        return
    pieces = cut(folded_model(file, names, standard=standard, batch=1), wanted, room)
    runner = PieceRunner(pieces, lambda piece: _refusing(_onnxruntime(piece) if standard else _executor(piece)))
    for part in spans(count, 1):
        if part.start >= done:
            yield part, runner.tensors(file.input, _checked_input(file, feed(part)), wanted)


def _is_standard(file: OnnxFile, names: list[str]) -> bool:
    try:
        folded_model(file, names, standard=True, batch=1)
    except NotStandard:
        return False
    return True


def _consumed(results: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """The ``results`` one after the other, each let go."""
    while results:
        name = next(iter(results))
        yield name, results.pop(name)


def _executor(model: onnx.ModelProto) -> Run:
    """The QONNX executor on ``model``, whose inputs have fixed shapes."""
    names = [output.name for output in model.graph.output]
    with warnings.catch_warnings():  # the executor warns of shapes that only appear at run time
        warnings.simplefilter("ignore")
        ready = ModelWrapper(model).transform(InferShapes())

    def run(inputs: Arrays) -> Arrays:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors = execute_onnx(ready, inputs, return_full_exec_context=True)
        return {name: np.asarray(tensors[name]) for name in names}

    return run


def _checked_input(file: OnnxFile, x: np.ndarray) -> np.ndarray:
    if x.shape[1:] != file.shape[1:] or not len(x):
        raise UserError(
            f"input data of shape {x.shape} does not fit '{file.input}' (N, {', '.join(map(str, file.shape[1:]))})",
            where=file.path.name,
        )
    kind = np.float32 if file.integer is None else np.int8 if file.integer.signed else np.uint8
    return np.ascontiguousarray(x, dtype=kind)


def _tensor_names(file: OnnxFile, taps: Sequence[str]) -> list[str]:
    """The outputs and ``taps`` without the input, each once."""
    known = {name for node in file.nodes for name in node.outputs}
    for tap in taps:
        if tap not in known and tap != file.input:
            raise unknown_name("tensor", tap, known)
    return list(dict.fromkeys([*file.outputs, *(tap for tap in taps if tap != file.input)]))


def _with_input(file: OnnxFile, taps: Sequence[str], x: np.ndarray, results: Arrays) -> Arrays:
    return results | {file.input: x} if file.input in taps else results


def _onnxruntime(model: onnx.ModelProto, hint: str = _LEAVE_OUT) -> Run:
    options = onnxruntime.SessionOptions()
    # fused or re-laid-out kernels add up in another order than the reference executor's single nodes
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # a session keeps nothing of what a run took
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except _SESSION_ERRORS as error:
        raise UserError(f"onnxruntime does not run the file: {str(error).splitlines()[0]}", hint=hint) from error
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _in_batches(make: Callable[[int | None], Run], source: str, x: np.ndarray, names: list[str], batch: int) -> Arrays:
    """Run parts of ``x`` with ``make(None)``; image by image with ``make(1)`` when the graph does not take a batch."""
    whole = _attempt(make(None), source, x, batch) if len(x) > 1 and batch > 1 else None
    if whole is None:
        single = _refusing(make(1))
        whole = [single({source: x[i : i + 1]}) for i in range(len(x))]
    return {name: np.concatenate([part[name] for part in whole]) for name in names}


def _refusing(run: Run) -> Run:
    """``run``, with a UserError in place of onnxruntime's."""

    def told(inputs: Arrays) -> Arrays:
        try:
            return run(inputs)
        except _BATCH_ERRORS as error:
            raise UserError(f"onnxruntime does not run it: {first_line(error)}") from error

    return told


def _attempt(run: Run, source: str, x: np.ndarray, batch: int) -> list[Arrays] | None:
    """The results of every part, or None when the graph has a fixed batch somewhere."""
    parts = []
    for span in spans(len(x), batch):
        part = x[span]
        try:
            results = run({source: part})
        except _BATCH_ERRORS:
            return None
        if not all(array.ndim and len(array) == len(part) for array in results.values()):
            return None
        parts.append(results)
    return parts
