"""Whether the first layers of a file read its input with the channels last."""

from __future__ import annotations

from toolchain.frontend.activations import CURVES
from toolchain.frontend.constants import Constants
from toolchain.frontend.layout import CHANNELS_LAST
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxFile, OnnxNode, data_layout

_ANY_ORDER = """
Add Cast Clip Concat DequantizeLinear Div HardSigmoid Identity LeakyRelu Mul Neg QuantizeLinear Relu Resize Slice Split
Sub Upsample
"""
ANY_ORDER = frozenset(_ANY_ORDER.split()) | CURVES.keys()
"""Operations that work on maps whatever the order of their axes."""


def first_orders(file: OnnxFile, constants: Constants) -> set[bool]:
    """Return, for each of the first layers that the input reaches and that tell, whether it reads channels last."""
    last = file.shape[1:]
    first_perm = [0, len(last), *range(1, len(last))]
    consumers: dict[str, list[OnnxNode]] = {}
    for node in file.nodes:
        for name in node.inputs:
            consumers.setdefault(name, []).append(node)
    found: set[bool] = set()
    names, seen = [file.input], {file.input}
    while names:
        for node in consumers.get(names.pop(), []):
            if node.domain == CHANNELS_LAST_DOMAIN or node.op == "MatMul":
                found.add(True)
            elif node.op == "Transpose":
                found.add(list(node.attributes.get("perm", ())) == first_perm)
            elif node.op == "Reshape" and last[-1] == 1 and node.inputs[1] in constants:  # how Keras files transpose
                found.add(tuple(constants.get(node.inputs[1])[1:]) == (1, *last[:-1]))
            elif node.is_threshold and data_layout(node) in CHANNELS_LAST:
                found.add(True)
            elif node.is_quant or node.is_threshold or node.op in ANY_ORDER:
                names += [name for name in node.outputs if name not in seen]
                seen.update(node.outputs)
            else:
                found.add(False)
    return found
