"""PyTorch with Brevitas layers to a QONNX file that is proven to compute the same.

The file appears under its name only after `toolchain.export.gate` has executed it and found it equal to the model.
"""

from __future__ import annotations

import ast
import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import onnx
import torch
from brevitas.export.onnx.qonnx.function import BrevitasQuantOp
from brevitas.export.onnx.qonnx.handler import BrevitasActQuantProxyHandler, BrevitasWeightQuantProxyHandler
from brevitas.export.onnx.qonnx.manager import QONNXDynamoManager
from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from onnxscript import opset18
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.general import GiveReadableTensorNames
from qonnx.util.cleanup import cleanup_model
from torch import Tensor, nn

from toolchain import files
from toolchain.errors import UserError, first_line
from toolchain.export.gate import QUANT_OPS, GateReport, check_equal
from toolchain.frontend.metadata import CLASSES, DATA, INPUT, READING
from toolchain.train.data import USUAL, Reading
from toolchain.train.inputs import InputMap, PixelMap
from toolchain.train.torch_onnx import quiet

OPSET = 18
_REPEAT = "repeat of an input "
_SCOPES = "pkg.torch.onnx.name_scopes"


class _WeightHandler(BrevitasWeightQuantProxyHandler):  # type: ignore[misc] # Brevitas is not typed
    """Exports the quantized weight in place of the raw one.

    Brevitas 0.12.1 to 0.13.4 write the raw weight and always say ROUND, which is wrong for every weight quantizer that
    is not clip-of-nearest-round. Quantizing an already quantized weight to the nearest code changes nothing.
    """

    handled_layer = WeightQuantProxyFromInjector

    def prepare_for_export(self, module: WeightQuantProxyFromInjector) -> None:
        if len(module.tracked_module_list) != 1:
            raise UserError("a weight quantizer shared by several layers cannot be exported")
        super().prepare_for_export(module)
        if module.is_quant_enabled:
            self.quantized = module.tracked_module_list[0].quant_weight().value.detach()

    def symbolic_execution(self, x: Tensor) -> tuple[Tensor, ...]:
        return super().symbolic_execution(self.quantized)  # type: ignore[no-any-return]


class _ActHandler(BrevitasActQuantProxyHandler):  # type: ignore[misc] # Brevitas is not typed
    """Exports an unsigned one-bit activation as Quant with the codes {0, 1}; Brevitas would write BipolarQuant."""

    handled_layer = ActQuantProxyFromInjector

    def prepare_for_export(self, module: ActQuantProxyFromInjector) -> None:
        super().prepare_for_export(module)
        if module.is_quant_enabled and not module.is_signed:
            self.quant_op = BrevitasQuantOp


class _Manager(QONNXDynamoManager):  # type: ignore[misc] # Brevitas is not typed
    """Brevitas' exporter with the two handlers above in front; the first that fits a quantizer is taken."""

    handlers: ClassVar = [_WeightHandler, _ActHandler, *QONNXDynamoManager.handlers]


def input_metadata(
    pixels: InputMap, data: str | None, classes: Sequence[str] = (), reading: Reading = USUAL
) -> dict[str, str]:
    """The metadata that tells how a pixel (exact fractions) or a number (float32) becomes the ONNX input.

    Args:
        pixels: the map from pixel or number to input value, and the type that the host rounds it to.
        data: name of the data set, as `toolchain.train.data.load` takes it; None for no data set.
        classes: their names, in the order of the outputs; may be unknown.
        reading: how files of the data set are read.
    """
    entry: dict[str, object]
    if isinstance(pixels, PixelMap):
        entry = {"pixel": {"scale": [str(s) for s in pixels.scale], "offset": [str(o) for o in pixels.offset]}}
    else:
        entry = {"standard": {"mean": list(pixels.mean), "deviation": list(pixels.deviation)}}
    if pixels.given is not None:
        entry["type"] = pixels.given
    found = {INPUT: json.dumps(entry)}
    if data is not None:
        found[DATA] = data
    if classes:
        found[CLASSES] = json.dumps(list(classes))
    if reading != USUAL:
        found[READING] = json.dumps({key: value for key, value in asdict(reading).items() if value})
    return found


def export_qonnx(model: nn.Module, example: Tensor, path: Path, metadata: Mapping[str, str]) -> GateReport:
    """Write ``model`` as a QONNX file of batch size 1, provided the file computes what the model computes.

    The file is deterministic: no dates, no paths. Nodes are named after the layers (see `_name_nodes`).

    Args:
        model: the network; it is evaluated in eval mode and left as it was.
        example: real inputs (N, C, H, W) that file and model are compared on.
        path: the file to write; replaced in one step, and left alone when the comparison fails.
        metadata: ONNX metadata properties.

    Returns:
        what was compared.

    Raises:
        VerificationError: the file deviates from the model; names the first deviating layer.
        UserError: the model holds something QONNX cannot express.
    """
    training = model.training
    model.eval()
    try:
        file = to_qonnx(model, example[:1], metadata)
        report = check_equal(model, file, example)
    finally:
        model.train(training)
    files.write_bytes(path, file.model.SerializeToString(deterministic=True))
    return report


def to_qonnx(model: nn.Module, example: Tensor, metadata: Mapping[str, str]) -> ModelWrapper:
    """The QONNX graph of a model in eval mode, not yet compared with it; ``example`` is one input (1, C, H, W).

    Raises:
        UserError: the model holds something QONNX cannot express.
    """
    with quiet(), tempfile.TemporaryDirectory() as folder:
        try:
            raw = _Manager.export(
                copy.deepcopy(model),
                args=example,
                export_path=str(Path(folder) / "raw.onnx"),
                dynamo=True,
                optimize=True,
                opset_version=OPSET,
                external_data=False,
                custom_translation_table={torch.ops.aten.softplus.default: _softplus},
            )
        except torch.onnx.OnnxExporterError as error:
            raise UserError(
                f"the network cannot be written as ONNX: {first_line(_cause(error))}",
                hint="give its forward operations that ONNX has, and no branches by the values of a tensor",
            ) from error
    _name_nodes(raw)
    _part_repeats(raw)
    _standard_first(raw)
    wrapped = cleanup_model(ModelWrapper(raw))
    for node in wrapped.graph.node:
        node.name = node.doc_string or node.name
    wrapped = wrapped.transform(GiveReadableTensorNames())
    _join_repeats(wrapped.model)
    _strip(wrapped.model)
    onnx.helper.set_model_props(wrapped.model, dict(sorted(metadata.items())))
    return wrapped


def _cause(error: BaseException) -> BaseException:
    """The first of a chain of errors: those of the exporter begin with advice."""
    return error if error.__cause__ is None else _cause(error.__cause__)


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """ONNX's own, which the exporter writes as five nodes of which two compare."""
    return opset18.Softplus(x)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Put a unique name into each node's doc string, where the clean-up leaves it alone.

    A quantizer gets the path of its Brevitas proxy, any other node ``LAYER.OpType``; repeats are numbered from 2 in the
    order of execution.
    """
    used: dict[str, int] = {}
    for node in model.graph.node:
        layer, proxy = _scope(node)
        base = proxy if proxy and node.op_type in QUANT_OPS else ".".join(filter(None, (layer, node.op_type)))
        used[base] = used.get(base, 0) + 1
        node.doc_string = base if used[base] == 1 else f"{base}_{used[base]}"


def _part_repeats(model: onnx.ModelProto) -> None:
    """Let a node that reads a tensor twice read an Identity of it: qonnx 1.0.0 renames the first of the two alone."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name and name in node.input[:at]:
                again = f"{_REPEAT}{len(nodes)}"
                nodes.append(onnx.helper.make_node("Identity", [name], [again], doc_string=again))
                node.input[at] = again
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _standard_first(model: onnx.ModelProto) -> None:
    """Import ONNX's own operations first: qonnx 1.0.0 folds constants by the first version, whosever that is."""
    imports = sorted(model.opset_import, key=lambda entry: entry.domain != "")
    del model.opset_import[:]
    model.opset_import.extend(imports)


def _join_repeats(model: onnx.ModelProto) -> None:
    """Take the Identities of `_part_repeats` away again."""
    parted = {node.output[0]: node.input[0] for node in model.graph.node if node.doc_string.startswith(_REPEAT)}
    nodes = [node for node in model.graph.node if not node.doc_string.startswith(_REPEAT)]
    for node in nodes:
        for at, name in enumerate(node.input):
            node.input[at] = parted.get(name, name)
    kept = [value for value in model.graph.value_info if value.name not in parted]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.value_info.extend(kept)


def _scope(node: onnx.NodeProto) -> tuple[str, str]:
    """The layer a node comes from and, when it is part of a quantizer, that quantizer; '' when unknown."""
    texts = [entry.value for entry in node.metadata_props if entry.key == _SCOPES]
    innermost = ([""] + (ast.literal_eval(texts[0])[:-1] if texts else []))[-1].split(".")
    for i, part in enumerate(innermost):
        if part.endswith("_quant"):
            return ".".join(innermost[:i]), ".".join(innermost[: i + 1])
    return ".".join(innermost), ""


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about its own run: stack traces and graph signatures."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer,
                   *model.graph.input, *model.graph.output):  # fmt: skip
        del holder.metadata_props[:]
        holder.doc_string = ""
