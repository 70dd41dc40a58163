"""Small random networks of the kinds that the engine is for."""

from __future__ import annotations

import numpy as np

from tests.graphs import Builder
from toolchain.ir.graph import Graph
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import QInt, Value


def conv(net: Builder, x: Value, outputs: int, kernel: int, stride: int = 1, *, signed: bool = False) -> Value:
    """A convolution of stored codes, padded to keep its size at stride 1."""
    if kernel > 1 or stride > 1:
        pad = (kernel - 1) // 2
        x = net.window(x, (kernel, kernel), stride=(stride, stride), pads=(pad,) * 4)
    return net.mulshift(net.matvec(x, outputs), 8, signed=signed)


def depthwise(net: Builder, x: Value, kernel: int, stride: int = 1) -> Value:
    """A depthwise filter of stored codes."""
    pad = (kernel - 1) // 2
    window = net.window(x, (kernel, kernel), stride=(stride, stride), pads=(pad,) * 4)
    return net.mulshift(net.depthwise(window, kernel**2), 8)


def stairs(net: Builder, x: Value, bits: int, *, leak: int = 1, falls: bool = False) -> Value:
    """Thresholds of equal steps a channel, ``leak`` times as far apart below code 0; every other channel ``falls``."""
    channels, kind = x.shape[2], QInt(bits, leak > 1)
    codes = np.arange(kind.min + 1, kind.max + 1)
    wide = net.rng.integers(8, 8 + max(2, x.qint.max // (4 << bits)), (channels, 1))  # halves of a step
    at = (2 * codes - 1) * wide * np.where(codes <= 0, leak, 1)
    thresholds = -(-at // 4) + net.rng.integers(-9, 10, (channels, 1))
    start, step = np.full(channels, kind.min), np.ones(channels, dtype=np.int64)
    if falls:
        thresholds[::2], start[::2], step[::2] = 1 - thresholds[::2, ::-1], kind.max, -1
    return net.append(Threshold, (x,), x.shape, thresholds=thresholds, start=start, step=step)


def leaky_maps(seed: int = 0, size: int = 10) -> Graph:
    """Leaky ReLUs behind a convolution, a filter and a joined map, and thresholds that are plain lines."""
    net = Builder((size, size, 3), 8, signed=True, seed=seed)
    x = stairs(net, net.matvec(net.window(net.input, (3, 3), pads=(1, 1, 1, 1)), 12), 8, leak=8, falls=True)
    y = stairs(net, net.depthwise(net.window(x, (3, 3), pads=(1, 1, 1, 1)), 9), 8, leak=3)
    z = stairs(net, net.matvec(y, 20), 4, falls=True)
    x = conv(net, net.concat(z, conv(net, x, 9, 1)), 16, 3, 2)
    return net.graph(net.matvec(stairs(net, net.matvec(x, 24), 6, leak=4), 5))


def curved_maps(seed: int = 0, size: int = 9) -> Graph:
    """Functions of one code behind a convolution, a filter, a sum of branches, an input, a joined map; of codes with
    an odd zero point, thresholds that turn; a maximum of them. The last layer reads a sum of positions."""
    net = Builder((size, size, 3), 8, seed=seed)

    def curve(x: Value, *, signed: bool = False) -> Value:
        return net.lookup(x, 8, signed=signed, per_channel=False)

    x = curve(conv(net, curve(net.input), 12, 3, signed=True))
    y = curve(depthwise(net, curve(conv(net, x, 48, 3)), 3), signed=True)
    y = curve(shifted(net, net.matvec(y, 12), -101), signed=True)
    x = curve(net.mulshift(net.add(x, y), 8, per_channel=False))
    x = net.pool(net.window(x, (3, 3), stride=(2, 2)), 9)
    x = conv(net, curve(net.concat(conv(net, x, 10, 1), conv(net, x, 9, 3))), 16, 3)
    steps = net.rng.choice((-1, 1), (1, 40))
    facts = {"thresholds": np.sort(net.rng.integers(1, x.qint.max, (1, 40))), "start": np.array([50]), "step": steps}
    x = net.append(Threshold, (x,), x.shape, **facts)
    return net.graph(curve(net.mulshift(net.matvec(net.global_sum(x), 10), 8, signed=True)))


def gated_maps(seed: int = 0, size: int = 9) -> Graph:
    """Squeeze and excite: maps times one position, made of themselves or, behind a convolution, of what that reads;
    maps times maps; odd zero points of factors and products; a hard sigmoid of codes. One is added to what was
    multiplied."""
    net = Builder((size, size, 3), 8, signed=True, seed=seed)

    def gate(x: Value, outputs: int, *, hard: bool = False) -> Value:
        squeezed = conv(net, net.mulshift(net.global_sum(x), 8), 7, 1)
        codes = net.mulshift(net.matvec(squeezed, outputs), 8, signed=True)
        return net.mulshift(codes, 8, per_channel=False) if hard else net.lookup(codes, 8, per_channel=False)

    def times(a: Value, b: Value, low: int) -> Value:
        return shifted(net, net.multiply(a, b), low, shift=20, per_channel=False)

    x = depthwise(net, conv(net, net.input, 24, 3), 3)
    x = times(x, gate(x, 24), -3)
    factor = gate(x, 40)
    y = times(shifted(net, net.matvec(net.window(x), 40), -101), factor, -77)
    y = conv(net, times(y, conv(net, x, 40, 1, signed=True), -128), 24, 1)
    x = net.mulshift(net.add(y, x), 8, per_channel=False)
    few = conv(net, x, 5, 3, 2)
    x = times(few, gate(x, 5, hard=True), 0)
    return net.graph(net.matvec(net.mulshift(net.global_sum(x), 8), 10))


def shifted(net: Builder, x: Value, low: int, *, shift: int = 16, per_channel: bool = True) -> Value:
    """256 codes from ``low`` on, as a zero point of ``-low`` gives them."""
    rows, unit = (x.shape[2] if per_channel else 1), (255 << shift) // (x.qint.max // 6)
    mul = net.rng.integers(unit // 2, unit + 1, rows) | 1
    add = net.rng.integers(-(1 << shift), 1 << shift, rows)
    return net.append(MulShift, (x,), x.shape, mul=mul, add=add, shift=shift, low=low, high=low + 255)


def averaged(net: Builder, x: Value) -> Value:
    """Means of two by two in the scale and with the zero point of ``x``, whose halves are rounded to even codes."""
    sums = net.pool(net.window(x, (2, 2), pads=(1, 1, 0, 0)), 4, "sum")
    facts = {"mul": np.array([1]), "add": np.array([0]), "shift": 2, "low": -91, "high": 164}
    return net.append(MulShift, (sums,), x.shape, **facts)


def zero_points(seed: int = 0, size: int = 9) -> Graph:
    """Codes with zero points of their own, odd ones too: convolved, filtered, pooled with pads, added, averaged,
    and stored negated where an average keeps the scale."""
    net = Builder((size, size, 6), 8, signed=True, seed=seed)
    x = shifted(net, net.matvec(net.window(net.input), 12), -101)
    y = shifted(net, net.depthwise(net.window(x), 9), -37)
    y = shifted(net, net.matvec(net.window(y), 12), -60)
    x = shifted(net, net.add(x, y, (5, 3)), -131, shift=9, per_channel=False)
    x = net.pool(net.window(x, (3, 3), stride=(2, 2), pad_value=-256), 9)
    both = net.concat(x, net.pool(net.window(x, (1, 1), pads=(0, 0, 0, 0)), 1))
    x = shifted(net, net.matvec(both, 20), -3)
    x = conv(net, averaged(net, averaged(net, shifted(net, net.matvec(x, 11), -91))), 12, 3)
    y = shifted(net, net.matvec(x, 12), -55)
    y = averaged(net, shifted(net, net.add(y, x), -55, shift=1, per_channel=False))
    y = shifted(net, net.depthwise(net.window(y), 9), -53)
    x = shifted(net, net.global_sum(shifted(net, net.add(y, x), -57, shift=9, per_channel=False)), -77)
    return net.graph(shifted(net, net.matvec(x, 10), -115))


def inverted_residuals(seed: int = 0, size: int = 12, kernel: int = 3) -> Graph:
    """A MobileNetV2 in small: stem, two blocks, one with a sum of branches, a head and logits without a quantizer."""
    net = Builder((size, size, 3), 8, signed=True, seed=seed)
    x = depthwise(net, conv(net, net.input, 8, 3, 2), 3)
    x = conv(net, x, 12, 1, signed=True)
    y = conv(net, depthwise(net, conv(net, x, 40, 1), kernel), 12, 1, signed=True)
    x = net.mulshift(net.add(x, y, (2, 1)), 8, signed=True, per_channel=False)
    x = conv(net, depthwise(net, conv(net, x, 36, 1), kernel, 2), 20, 1, signed=True)
    x = net.mulshift(net.global_sum(conv(net, x, 52, 1)), 8)
    return net.graph(net.matvec(x, 10))


def odd_kernels(seed: int = 0) -> Graph:
    """Kernels and strides that are no squares, dilated ones, and a dense layer over a flat map that is none either."""
    net = Builder((13, 10, 6), 8, signed=True, seed=seed)
    x = net.mulshift(net.matvec(net.window(net.input, (1, 5), pads=(0, 2, 0, 2)), 20), 8)
    x = net.mulshift(net.matvec(net.window(x, (3, 3), pads=(2, 2, 2, 2), dilation=(2, 2)), 12), 8, signed=True)
    x = net.mulshift(net.matvec(net.window(x, (3, 2), stride=(2, 1), pads=(0, 1, 0, 0), dilation=(3, 1)), 9), 8)
    return net.graph(net.matvec(net.reshape(x), 7))


def residual_blocks(seed: int = 0, size: int = 16, *, identity: bool = False) -> Graph:
    """A ResNet in small: stem with maximum pool, a plain block and one with a shortcut convolution.

    ``identity``: then one whose shortcut is quantized once more, to the scale of the other branch.
    """
    net = Builder((size, size, 3), 8, seed=seed)
    x = conv(net, net.input, 16, 5, 2)
    x = net.pool(net.window(x, (3, 3), stride=(2, 2), pads=(1, 1, 1, 1)), 9)
    y = conv(net, conv(net, x, 16, 3), 16, 3, signed=True)
    x = net.mulshift(net.add(y, x), 8, per_channel=False)
    y = conv(net, conv(net, x, 28, 3, 2), 28, 3, signed=True)
    x = net.mulshift(net.add(conv(net, x, 28, 1, 2, signed=True), y), 8, per_channel=False)
    if identity:
        again = net.mulshift(x, 8, signed=True, per_channel=False)
        y = conv(net, conv(net, x, 28, 3), 28, 3, signed=True)
        x = net.mulshift(net.add(y, again), 8, per_channel=False)
    x = net.mulshift(net.global_sum(x), 8)
    return net.graph(net.mulshift(net.matvec(x, 10), 8, signed=True))


def joined_maps(seed: int = 0, size: int = 12) -> Graph:
    """A U-net in small: maps joined with repeated ones, a repeated map that is added and one that a convolution reads.

    Channels fill no memory beat, a map that is joined is read elsewhere too, one is requantized alone, and a joined one
    of both signs is as well.
    """
    net = Builder((size, size, 3), 8, seed=seed)
    top = conv(net, net.input, 12, 3)
    low = net.pool(net.window(top, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    low = conv(net, low, 20, 3)
    bottom = conv(net, net.pool(net.window(low, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4), 24, 3)
    both = net.concat(net.upsample(conv(net, bottom, 24, 1, signed=True)), low)
    low = conv(net, net.mulshift(both, 8), 20, 3)
    low = net.mulshift(low, 8)
    low = net.mulshift(net.add(low, net.upsample(conv(net, bottom, 20, 1))), 8, per_channel=False)
    side = conv(net, net.upsample(net.upsample(bottom)), 9, 3)
    x = conv(net, net.concat(side, net.upsample(low), top), 40, 3)
    return net.graph(net.matvec(x, 5))


def reduced_joins(seed: int = 0, size: int = 7) -> Graph:
    """Joined maps that are pooled, filtered, added, quantized again, enlarged and joined once more, as dense blocks do.

    Parts fill no memory beat, so something lies between them.
    """
    net = Builder((size, size, 5), 8, seed=seed)
    x = conv(net, net.input, 12, 3)
    both = net.concat(conv(net, x, 9, 1), conv(net, x, 7, 3))
    low = net.pool(net.window(both, (3, 3), stride=(2, 2)), 9)
    low = net.mulshift(net.add(conv(net, low, 16, 3), low), 8, per_channel=False)
    dense = net.concat(low, conv(net, low, 5, 3))
    dense = net.concat(dense, stairs(net, net.matvec(dense, 6), 8), net.mulshift(dense, 8))
    small = net.pool(net.window(dense), 9)
    dense = net.mulshift(net.add(dense, small), 8, per_channel=False)
    mean = net.mulshift(net.pool(net.window(dense, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4, "sum"), 8)
    wide = net.upsample(net.concat(depthwise(net, dense, 3), net.mulshift(dense, 8)))
    wide = net.pool(net.window(wide, (2, 2), pads=(0, 0, 0, 0)), 4)
    bent = stairs(net, net.depthwise(net.window(wide), 9), 8, leak=3)
    x = conv(net, net.concat(conv(net, bent, 10, 3, 4), mean), 16, 1)
    x = net.concat(net.mulshift(net.global_sum(bent), 8), net.mulshift(net.global_sum(x), 8))
    return net.graph(net.matvec(x, 6))


def selected_maps(seed: int = 0, size: int = 8) -> Graph:
    """Parts and shuffles of channels: convolved, added, filtered, repeated, joined again, requantized, an answer.

    As split blocks and shuffled units have them: of a map, of a joined one, of each other.
    """
    net = Builder((size, size, 5), 8, signed=True, seed=seed)
    x = conv(net, net.input, 20, 3)
    one, two = net.slice(x, 0, 9), net.slice(x, 9, 11)
    y = net.mulshift(net.add(two, conv(net, two, 11, 3)), 8, per_channel=False)
    first = x = conv(net, net.concat(one, two, y), 18, 1)
    x = net.concat(net.slice(x, 0, 7), conv(net, net.slice(x, 7, 11), 10, 3))
    x = net.permute(x, tuple(net.rng.permutation(17)))
    y = depthwise(net, net.slice(x, 3, 6), 3)
    few = net.slice(net.permute(net.slice(x, 2, 12), tuple(range(11, -1, -1))), 1, 5)
    z = conv(net, few, 6, 3, 2)
    wide = net.slice(net.upsample(z), 1, 4)
    x = net.concat(net.upsample(net.slice(z, 2, 3)), net.mulshift(wide, 8), conv(net, wide, 8, 1))
    x = conv(net, net.concat(net.slice(x, 1, 9), conv(net, x, 12, 1)), 10, 1)
    x = net.mulshift(net.add(x, net.slice(first, 4, 10)), 8, per_channel=False)
    out = net.matvec(net.mulshift(net.global_sum(net.mulshift(net.concat(y, few, x), 8)), 8), 6)
    return net.graph(out, heads=(net.slice(first, 2, 5),))


def unlike_joins(seed: int = 0, size: int = 6) -> Graph:
    """Maps of unlike parts, or of none, added and multiplied: behind a pool, behind a requantizer, and as they are."""
    net = Builder((size, size, 5), 8, signed=True, seed=seed)
    x = conv(net, net.input, 16, 3)
    one, other = net.concat(conv(net, x, 9, 1), conv(net, x, 7, 3)), net.concat(conv(net, x, 5, 1), conv(net, x, 11, 1))
    alone = net.mulshift(net.add(one, other), 8, per_channel=False)
    y = net.mulshift(net.add(one, net.pool(net.window(x), 9)), 8, signed=True, per_channel=False)
    z = net.mulshift(net.multiply(net.mulshift(other, 8), x), 8, per_channel=False)
    gate = net.mulshift(net.matvec(net.mulshift(net.global_sum(z), 8), 16), 8)
    z = shifted(net, net.multiply(alone, gate), -77, shift=20, per_channel=False)
    return net.graph(net.matvec(net.concat(conv(net, y, 8, 1), conv(net, z, 8, 1)), 6))


def twice_read(seed: int = 0, size: int = 9) -> Graph:
    """A map beside its own convolution, positions as tokens, and a global sum of a single position."""
    net = Builder((size, size, 3), 8, seed=seed)
    x = conv(net, net.input, 12, 3)
    x = net.mulshift(net.add(conv(net, x, 12, 3), x), 8, per_channel=False)
    x = net.mulshift(net.matvec(net.reshape(x, (1, size * size, 12)), 10), 8)
    x = conv(net, conv(net, net.reshape(x, (size, size, 10)), 16, 3, 4), 20, 3, 4)
    return net.graph(net.matvec(net.mulshift(net.global_sum(x), 8), 7))


def wide_pads(seed: int = 0) -> Graph:
    """Convolutions whose first rows lie in the pads, of one row and of two, and some of their columns."""
    net = Builder((3, 5, 6), 8, signed=True, seed=seed)
    x = net.mulshift(net.matvec(net.window(net.input, (1, 3), pads=(2, 4, 0, 1)), 8), 8)
    return net.graph(net.matvec(net.window(x, (2, 1), stride=(2, 1), dilation=(2, 1), pads=(7, 1, 5, 0)), 6))


def few_columns(seed: int = 0) -> Graph:
    """A kernel of one code whose columns are far apart."""
    net = Builder((15, 15, 16), 8, seed=seed)
    x = conv(net, net.input, 16, 1)
    return net.graph(net.matvec(net.window(x, (1, 1), stride=(8, 8), pads=(0, 0, 0, 0)), 4))


def one_column(seed: int = 0, size: int = 16) -> Graph:
    """Maps of a single column: what came in last of a row is read first."""
    net = Builder((size, 1, 6), 8, seed=seed)
    x = net.mulshift(net.matvec(net.window(net.input, (3, 1), pads=(1, 0, 1, 0)), 8), 8)
    return net.graph(net.matvec(conv(net, conv(net, x, 12, 1), 8, 1), 5))


def two_heads(seed: int = 0, size: int = 12) -> Graph:
    """A detector in small: sums of a coarse map and codes of a fine one, which the coarse one is made of."""
    net = Builder((size, size, 3), 8, seed=seed)
    x = conv(net, net.input, 12, 3)
    fine = conv(net, x, 10, 3, signed=True)
    coarse = conv(net, net.pool(net.window(fine, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4), 20, 3)
    return net.graph(fine, "two_heads", (net.matvec(coarse, 7),))
