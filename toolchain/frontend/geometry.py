"""Kernels, strides, pads and output sizes of ONNX window operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.frontend.layout import CHANNELS_FIRST, CHANNELS_LAST, Tensor
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxNode
from toolchain.frontend.reader import Padded, Reader

MOST_ADDED = 8
"""Taps that a window is widened by at each end: each is multiplied as any other is."""


@dataclass(frozen=True)
class WindowShape:
    """A resolved window; ``pads`` is (top, left, bottom, right), ``output`` (Ho, Wo).

    ``added`` are taps on the four sides of the node's own kernel, in that order, that ``kernel`` has besides.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    output: tuple[int, int]
    added: tuple[int, int, int, int] = (0, 0, 0, 0)


def map_input(reader: Reader, node: OnnxNode) -> tuple[Tensor, Padded | None]:
    """The map that a convolution or pool reads, behind a Pad node if there is one."""
    padded = reader.padded.get(node.input(0))
    if padded is None:
        return reader.map_tensor(node), None
    last = node.domain == CHANNELS_LAST_DOMAIN
    if padded.source.layout.axes not in (CHANNELS_LAST if last else CHANNELS_FIRST):
        raise reader.file.fault(node, f"its input has the axes {padded.source.layout.axes}", "transpose before it")
    return padded.source, padded


def window_of(
    reader: Reader,
    node: OnnxNode,
    source: Tensor,
    kernel: tuple[int, int],
    padded: Padded | None = None,
    *,
    widened: bool = False,
) -> WindowShape:
    """The window ``node`` slides over ``source``, its defaults, auto_pad and ceil_mode resolved.

    A 1-dimensional window has height 1. The pads of ``padded``, around ``source``, become the window's. A window that
    is ``widened`` has taps more where its pads would hold all of it; others are refused then.
    """
    flat = len(source.layout.axes) == 3
    stride = _pair(reader, node, "strides", flat)
    dilation = _pair(reader, node, "dilations", flat)
    given = tuple(node.attributes.get("kernel_shape", kernel))
    given = (1, *given) if flat and len(given) == 1 else given
    if given != kernel or min(kernel) < 1:
        raise reader.file.fault(
            node, f"kernel_shape {list(given)} does not fit the weight {list(kernel)}", "export again"
        )
    around = padded.pads if padded else (0, 0, 0, 0)
    sizes = tuple(s + around[i] + around[i + 2] for i, s in enumerate(source.value.shape[:2]))
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    before, after = _pads(reader, node, sizes, spans, stride, flat)
    if node.attributes.get("ceil_mode", 0):
        after = _ceil_pads(reader, node, sizes, spans, stride, before, after)
    before, after = (
        tuple(p + q for p, q in zip(own, around[i : i + 2], strict=True)) for i, own in ((0, before), (2, after))
    )
    added = (0, 0, 0, 0)
    widest = max(pad - span for pad, span in zip((*before, *after), (*spans, *spans), strict=True))
    if widened and min(*before, *after) >= 0 and widest < MOST_ADDED:
        # each tap at one end moves the other end's pads out: no window holds other elements than before
        above, below = (
            tuple(-(-max(0, pad - span + 1) // d) for pad, span, d in zip(side, spans, dilation, strict=True))
            for side in (after, before)
        )
        before, after = (
            tuple(pad + n * d for pad, n, d in zip(side, taps, dilation, strict=True))
            for side, taps in ((before, above), (after, below))
        )
        kernel = (kernel[0] + above[0] + below[0], kernel[1] + above[1] + below[1])
        spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
        added = (above[0], above[1], below[0], below[1])
    if min(*before, *after) < 0 or any(
        pad >= span for pad, span in zip((*before, *after), (*spans, *spans), strict=True)
    ):
        raise reader.file.fault(
            node, f"pads {[*before, *after]} do not fit a window of {spans[0]}x{spans[1]}", "pad less than the kernel"
        )
    total = [s + b + a for s, b, a in zip(source.value.shape[:2], before, after, strict=True)]
    rows, columns = ((t - span) // step + 1 for t, span, step in zip(total, spans, stride, strict=True))
    if min(rows, columns) < 1:
        raise reader.file.fault(
            node, f"a window of {spans[0]}x{spans[1]} is larger than the padded map {total[0]}x{total[1]}", "pad more"
        )
    return WindowShape(kernel, stride, (before[0], before[1], after[0], after[1]), dilation, (rows, columns), added)


def _pair(reader: Reader, node: OnnxNode, name: str, flat: bool) -> tuple[int, int]:
    values = tuple(int(v) for v in node.attributes.get(name, (1,) if flat else (1, 1)))
    values = (1, *values) if flat and len(values) == 1 else values
    if len(values) != 2 or min(values) < 1:
        raise reader.file.fault(node, f"{name} {list(values)}", "give a positive number an axis of the map")
    return (values[0], values[1])


Pair = tuple[int, ...]


def _pads(reader: Reader, node: OnnxNode, sizes: Pair, spans: Pair, stride: Pair, flat: bool) -> tuple[Pair, Pair]:
    mode = node.attributes.get("auto_pad", b"NOTSET").decode("utf-8", "replace")
    if mode == "VALID":
        return (0, 0), (0, 0)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return same_pads(sizes, spans, stride, upper=mode == "SAME_UPPER")
    if mode != "NOTSET":
        raise reader.file.fault(node, f"auto_pad '{mode}'", "use NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    pads = tuple(int(p) for p in node.attributes.get("pads", (0, 0) if flat else (0, 0, 0, 0)))
    pads = (0, pads[0], 0, pads[1]) if flat and len(pads) == 2 else pads
    if len(pads) != 4:
        raise reader.file.fault(node, f"pads {list(pads)}", "give (top, left, bottom, right)")
    return pads[:2], pads[2:]


def same_pads(
    sizes: Sequence[int], spans: Sequence[int], stride: Sequence[int], *, upper: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads before and behind each axis under ONNX' auto_pad SAME_UPPER, or SAME_LOWER where not ``upper``."""
    total = [
        max((-(-size // step) - 1) * step + span - size, 0)
        for size, step, span in zip(sizes, stride, spans, strict=True)
    ]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (small, large) if upper else (large, small)


def _ceil_pads(
    reader: Reader, node: OnnxNode, sizes: Pair, spans: Pair, stride: Pair, before: Pair, after: Pair
) -> Pair:
    """Pads behind the map that make the floor of the output size equal to its ceiling.

    A last window that would start behind the map and its leading pads is left out, as ONNX has it.
    """
    result = []
    for size, span, step, lead, trail in zip(sizes, spans, stride, before, after, strict=True):
        steps = -(-(size + lead + trail - span) // step)
        if steps * step >= size + lead:
            steps -= 1
        result.append(max(trail, steps * step + span - size - lead))
    if tuple(result) != after and node.op != "MaxPool":
        raise reader.file.fault(node, "ceil_mode that adds windows beyond the pads", "set ceil_mode=False and pad")
    return tuple(result)
