"""Random QONNX files whose layers move maps: transposed, cropped, blocked, shuffled, resized and reshaped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.random_wide import WideNet, heads


class GeometryNet(WideNet):
    """Appends the layers of WideNet, and those that move the positions and channels of maps."""

    def ints(self, *numbers: int) -> str:
        """A constant of integers."""
        return self.net.const(numbers, np.int64)

    def transposed(self) -> None:
        """A transposed convolution with any stride, pads, groups and dilation."""
        channels, h, w = self.shape
        groups = self.pick(1, 1, *[g for g in (2, 3) if channels % g == 0])
        each, kernel = self.pick(1, 2), [self.pick(1, 2, 3, 4), self.pick(1, 2, 3)]
        stride, dilation = [self.pick(1, 2, 2, 3), self.pick(1, 2)], [self.pick(1, 1, 2), 1]
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        pads = [int(self.rng.integers(0, s)) if self.chance(0.5) else 0 for s in (*spans, *spans)]
        extra = [int(self.rng.integers(0, s)) if self.chance(0.3) else 0 for s in stride]
        shape = [
            step * (n - 1) + more + span - pads[i] - pads[i + 2]
            for i, (n, step, more, span) in enumerate(zip((h, w), stride, extra, spans, strict=True))
        ]
        if min(shape) < 1 or max(shape) > 16:
            return
        values = self.net.const(self.rng.normal(0, 0.4, (channels, each, *kernel)))
        weight = self.net.quant(values, self.pick(2, 3, 4), self.scale(0.02, 0.3), narrow=0)
        bias = [self.net.const(self.rng.normal(0, 1, each * groups))] if self.chance(0.5) else []
        facts = {"strides": stride, "dilations": dilation, "pads": pads, "output_padding": extra, "group": groups}
        self.x = self.net.add("ConvTranspose", self.x, weight, *bias, **facts)
        self.shape = (each * groups, *shape)

    def cut(self) -> None:
        """Some rows and columns, every one or every second."""
        starts, ends, steps, shape = [], [], [], [self.shape[0]]
        for size in self.shape[1:]:
            start, step = int(self.rng.integers(0, size)), self.pick(1, 1, 2)
            end = int(self.rng.integers(start + 1, size + 1))
            starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
            shape.append(len(range(start, end, step)))
        parameters = (starts, ends, [2, 3], steps)
        self.x = self.net.add("Slice", self.x, *(self.ints(*numbers) for numbers in parameters))
        self.shape = tuple(shape)

    def blocks(self) -> None:
        """Positions as channels: SpaceToDepth, a Focus, or reshapes."""
        channels, h, w = self.shape
        a, b = self.pick(*[n for n in (1, 2, 3) if h % n == 0]), self.pick(*[n for n in (1, 2) if w % n == 0])
        kind = self.pick("node", "focus", "reshape", "reshape")
        if kind == "node" and a == b:
            self.x = self.net.add("SpaceToDepth", self.x, blocksize=a)
        elif kind == "focus":
            places = [(i, j) for i in range(a) for j in range(b)]
            self.rng.shuffle(places)
            parts = []
            for i, j in places:
                parameters = ((i, j), (h, w), (2, 3), (a, b))
                parts.append(self.net.add("Slice", self.x, *(self.ints(*numbers) for numbers in parameters)))
            self.x = self.net.add("Concat", *parts, axis=1)
        else:
            perm = self.pick([0, 3, 5, 1, 2, 4], [0, 1, 3, 5, 2, 4], [0, 5, 1, 3, 2, 4])
            self.x = self.net.add("Reshape", self.x, self.ints(1, channels, h // a, a, w // b, b))
            self.x = self.net.add("Transpose", self.x, perm=perm)
            self.x = self.net.add("Reshape", self.x, self.ints(1, -1, h // a, w // b))
        self.shape = (channels * a * b, h // a, w // b)

    def shuffle(self) -> None:
        """Channels in another order, or as positions."""
        channels, h, w = self.shape
        groups = self.pick(*[g for g in range(1, channels + 1) if channels % g == 0])
        if self.chance(0.6):
            self.x = self.net.add("Reshape", self.x, self.ints(1, groups, channels // groups, h, w))
            self.x = self.net.add("Transpose", self.x, perm=[0, 2, 1, 3, 4])
            self.x = self.net.add("Reshape", self.x, self.ints(1, channels, h, w))
            return
        perm = self.pick([0, 1, 3, 2, 4], [0, 2, 3, 1, 4])
        parts = (groups, channels // groups) if perm[1] == 2 else (channels // groups, groups)
        self.x = self.net.add("Reshape", self.x, self.ints(1, *parts, h, w))
        self.x = self.net.add("Transpose", self.x, perm=perm)
        self.x = self.net.add("Reshape", self.x, self.ints(1, channels // groups, h * groups, w))
        self.shape = (channels // groups, h * groups, w)

    def line(self) -> None:
        """All positions in one row or one column, or as many rows as there were columns."""
        channels, h, w = self.shape
        h, w = self.pick((1, h * w), (h * w, 1), (w, h))
        self.x, self.shape = self.net.add("Reshape", self.x, self.ints(1, channels, h, w)), (channels, h, w)

    def linear(self) -> None:
        """Linear interpolation."""
        channels, h, w = self.shape
        up, right = self.pick(1, 2, 2, 3), self.pick(1, 2)
        where = self.pick("half_pixel", "half_pixel", "pytorch_half_pixel", "asymmetric")
        sizes = self.net.const([1, 1, up, right])
        self.x = self.net.add("Resize", self.x, "", sizes, mode="linear", coordinate_transformation_mode=where)
        self.shape = (channels, h * up, w * right)


def random_geometry(path: Path, seed: int) -> Path:
    """The random network of ``seed``, written to ``path``."""
    net = GeometryNet(seed)
    net.net.shape = (1, *net.net.shape[1:])  # the reshapes state it
    moves = [net.transposed, net.transposed, net.cut, net.blocks, net.shuffle, net.shuffle, net.line, net.linear]
    if net.chance(0.95):
        net.quant()
    for _ in range(net.pick(1, 2, 2, 3)):
        net.pick(*moves)()
        if net.chance(0.3):
            net.elementwise()
        if net.chance(0.7):
            net.quant()
        if net.chance(0.6):
            net.pick(net.conv, net.groups, net.joined, net.pool)()
            if net.chance(0.8):
                net.quant()
    net.x = net.finish()
    if net.chance(0.1):
        net.codes_out()
    if net.chance(0.2):
        net.rename()
    return net.net.save(path, net.x, *heads(net, seed))
