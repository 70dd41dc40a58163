"""ConvTranspose of float ONNX files: the convolution that the front end makes of it, a block shuffle and a cut."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.transposed import as_convolution
from toolchain.train.own.kinds import BlockShuffle, PositionSlice
from toolchain.train.ptq.onnx_builder import Builder
from toolchain.train.ptq.onnx_pools import zeros


def conv_transpose(build: Builder, node: OnnxNode) -> None:
    """A ConvTranspose of a signal or a map."""
    weight, bias, (_, x) = build.constant(node, 1), build.constant(node, 2), build.value(node)
    groups, rank = int(node.attributes.get("group", 1)), x.dim()
    if weight is None or rank not in (3, 4) or weight.dim() != rank or weight.shape[0] != x.shape[1]:
        raise build.file.fault(node, f"a convolution of {rank - 2} axes", "use ConvTranspose1d or ConvTranspose2d")
    flat = rank == 3
    sizes = (1, *x.shape[2:]) if flat else tuple(x.shape[2:])
    whole_block, codes, both = as_convolution(build.file, node, weight.numpy(), groups, sizes)
    made, block, axes = torch.from_numpy(codes.copy()).movedim(-1, 1), whole_block[flat:], both[flat:]
    if flat:
        made = made.squeeze(2)
    pads = [axis.pads for axis in axes]
    equal = all(before == after for before, after in pads)
    kind: Any = nn.Conv1d if flat else nn.Conv2d
    layer = kind(
        x.shape[1], len(made), made.shape[2:], padding=[before for before, _ in pads] if equal else 0,
        groups=groups, bias=bias is not None,
    )  # fmt: skip
    layer.weight.copy_(made)
    remainders = len(made) // (weight.shape[1] * groups)
    if bias is not None:
        layer.bias.copy_(bias.repeat_interleave(remainders))
    layers: list[nn.Module] = [layer] if equal else [zeros(pads), layer]
    if remainders > 1:
        layers.append(nn.PixelShuffle(block[0]) if not flat and len({*block}) == 1 else BlockShuffle(*block))
    kept = [range(axis.start, axis.start + axis.size) for axis in axes]
    spans = [size + sum(axis.pads) - axis.taps + 1 for size, axis in zip(x.shape[2:], axes, strict=True)]
    if kept != [range(span * step) for span, step in zip(spans, block, strict=True)]:
        layers.append(PositionSlice(*kept))
    build.call(node, layers, build.layer_name(node))
