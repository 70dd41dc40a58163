"""A float ONNX file as a PyTorch network of layers, so that it can be quantized like any other.

The file is read by the front end's reader; what torch.onnx, Keras and others write of convolutional and fully connected
classifiers is known, the rest is refused by its node. The network is compared with onnxruntime's answer.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import torch
from torch import nn

from toolchain.errors import UserError
from toolchain.frontend.constants import Constants, asked_sizes
from toolchain.frontend.execute import execute_float
from toolchain.frontend.folding import fold
from toolchain.frontend.host_part import without_labels
from toolchain.frontend.input_order import first_orders
from toolchain.frontend.onnx_file import CODE_OPS, OnnxFile, OnnxNode, load_onnx
from toolchain.train.ptq.onnx_builder import EXAMPLES, Builder
from toolchain.train.ptq.onnx_operations import OPERATIONS
from toolchain.train.ptq.onnx_rows import as_of_a_signal
from toolchain.train.ptq.onnx_turned import Turned, first, in_file_order

_CLOSE = 1e-4  # share of the largest output: sums may be taken in another order


def read_float_onnx(path: Path) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a float ONNX file in eval mode, and the shape of a sample, (C, H, W), (C, L) or (F,).

    Raises:
        UserError: the file cannot be read, is quantized, or holds an operation that is not known; names the node.
    """
    file = load_onnx(path, quantized=False)
    if any(node.is_quant or node.op in CODE_OPS for node in file.nodes):
        raise UserError(
            "the file is quantized already", where=path.name, hint=shlex.join(["fpgaflow", "export", str(path)])
        )
    file = without_labels(file)
    if len(file.outputs) > 1:
        names = ", ".join(f"'{name}'" for name in file.outputs)
        raise UserError(
            f"the network has {len(file.outputs)} outputs, {names}, and one is quantized by its classes",
            where=path.name,
            hint="quantize it elsewhere (onnxruntime, Brevitas) and export that file, which may have several; "
            "skl2onnx writes one tensor of probabilities with options={'zipmap': False}",
        )
    if file.integer is not None:
        raise UserError("the network's input is of integers", where=path.name, hint="export a float network")
    last = _channels_last(file)
    shape = first(file.shape[1:], last=last)
    build = Builder(file, OPERATIONS, shape)
    turned = Turned(build, last=last)
    network = _network(build, turned)
    _demand_same(network, build.left_out, turned, shape, last)
    return network, shape


def has_channels_last(path: Path) -> bool:
    """Return whether the input of a float ONNX file has its channels last."""
    return _channels_last(load_onnx(path, quantized=False))


def _channels_last(file: OnnxFile) -> bool:
    """Return whether the input has its channels last: a map, or a signal that is transposed before a layer reads it."""
    return first_orders(file, Constants(file), transposed=True) == {True}


def _network(build: Builder, turned: Turned) -> nn.Module:
    """The network, without a softmax at its end; an output with its channels last becomes one with them first."""
    file = build.file
    with torch.no_grad():
        for node in file.nodes:
            _visit(build, turned, node)
        if file.output in turned.flat or file.output in turned.listed:
            what = f"the output '{file.output}' is a map with its channels last, flattened"
            raise UserError(what, where=file.path.name, hint="end with the map, or flatten it with its channels first")
        return build.finish()


def _visit(build: Builder, turned: Turned, node: OnnxNode) -> None:
    """Add the layers of ``node`` to the network, or its value to the constants."""
    if node.op == "Shape" and node.input(0) not in build.constants:
        build.constants.set(node.outputs[0], asked_sizes(node, turned.shape(node)))
    elif not fold(build.constants, node):
        read = turned.read(node)
        if read is not None:
            build.add(as_of_a_signal(build, read) if build.rows.keys() & {*read.inputs} else read)


def _demand_same(network: nn.Module, softmax: str, turned: Turned, shape: tuple[int, ...], last: bool) -> None:
    """Check that the network, and the ``softmax`` behind it, compute what onnxruntime does."""
    file = turned.build.file
    x = torch.rand(max(EXAMPLES, file.shape[0]), *shape, generator=torch.Generator().manual_seed(0))
    theirs = torch.from_numpy(execute_float(file, in_file_order(x, last=last).numpy()))
    if file.output in turned.last:
        theirs = theirs.movedim(-1, 1)
    if not theirs.isfinite().all():
        what = "the network gives NaN or infinity for random inputs"
        raise UserError(what, where=file.path.name, hint="train it again")
    with torch.no_grad():
        ours = network(x)
        ours = ours.softmax(1) if softmax == "Softmax" else ours.log_softmax(1) if softmax == "LogSoftmax" else ours
    if file.shape[0] == 1 and theirs.shape == ours.flatten(0, 1).shape:  # a Squeeze without axes drops the batch too
        theirs = theirs.reshape(ours.shape)
    if ours.shape != theirs.shape or not (ours - theirs).abs().max() <= _CLOSE * theirs.abs().max().clamp_min(1e-6):
        hint = "please report it with the file"
        raise UserError(
            "the network read from it computes something else than onnxruntime", where=file.path.name, hint=hint
        )
