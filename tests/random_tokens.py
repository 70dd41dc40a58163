"""Random QONNX files of tokens: attention, norms, softmax, class tokens, gathers, joined rows, several inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.random_curves import CurveNet
from tests.random_geometry import GeometryNet
from tests.random_wide import heads


class TokenNet(GeometryNet, CurveNet):
    """Appends layers over tokens, ``shape`` (T, F) of ``x`` (1, T, F), or a map's that gather and join positions."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.net.opset = self.pick(13, 17, 18, 23)
        self.is_map = self.chance(0.35)
        if not self.is_map:
            self.shape = (self.pick(1, 2, 3, 5, 6), self.pick(1, 2, 4, 4, 6))
        self.net.shape = (1, *self.shape)

    def start(self) -> None:
        """The input's quantizer, and those of a second input that is joined, added, multiplied or mixed by it."""
        if self.chance(0.92):
            self.quant()
        if self.is_map or self.chance(0.7):
            return
        first, (tokens, features) = self.x, self.shape
        kind = self.pick("tokens", "features", "sum", "product", "mix")
        other = {"tokens": (self.pick(1, 2, tokens), features), "features": (tokens, self.pick(1, 3)),
                 "mix": (self.pick(1, 3), tokens)}.get(kind, self.shape)  # fmt: skip
        self.net.others["z"] = (1, *other)
        self.x, self.shape = "z", other
        if self.chance(0.92):
            self.quant()
        pair = self.pick((first, self.x), (self.x, first))
        if kind == "mix":
            self.x, self.shape = self.net.add("MatMul", self.x, first), (other[0], features)
        elif kind in ("tokens", "features"):
            axis = 1 if kind == "tokens" else self.pick(2, -1)
            self.x = self.net.add("Concat", *pair, axis=axis)
            self.shape = (tokens + other[0], features) if axis == 1 else (tokens, features + other[1])
        else:
            self.x, self.shape = self.net.add(self.pick("Add", "Sub") if kind == "sum" else "Mul", *pair), self.shape
        if self.chance(0.85):
            self.quant()

    def scale(self, low: float, high: float, channels: int | None = None) -> np.ndarray:
        """One or one a channel; of tokens mostly one a feature."""
        if channels is None or self.is_map or len(self.shape) == 1 or self.chance(0.1):
            return super().scale(low, high, channels)
        values = np.exp(self.rng.uniform(np.log(low), np.log(high), self.shape[1]))
        return np.float32(2.0 ** np.rint(np.log2(values)) if self.chance(0.5) else values)

    def quant(self) -> None:
        """Mostly of few bits, so that what follows fits."""
        if self.chance(0.6):
            bits, signed = self.pick(2, 3, 4, 5, 6, 8), self.pick(0, 1, 1)
            channels = self.shape[0] if self.chance(0.08) else None
            self.x = self.net.quant(self.x, bits, self.scale(0.03, 0.5, channels), signed=signed)
        else:
            super().quant()

    def tokens(self) -> None:
        """A map's positions as tokens."""
        channels, h, w = self.shape
        flat = self.net.add("Reshape", self.x, self.ints(1, channels, h * w))
        self.x, self.shape, self.is_map = self.turned(flat), (h * w, channels), False

    def turned(self, x: str) -> str:
        return self.net.add("Transpose", x, perm=[0, 2, 1])

    def dense(self, outputs: int) -> None:
        """A linear layer over the features, perhaps with a bias, from the right or turned from the left."""
        weight = self.weight(outputs, self.shape[1])
        if self.chance(0.2):
            self.x = self.turned(self.net.add("MatMul", weight, self.turned(self.x)))
        else:
            self.x = self.net.add("MatMul", self.x, self.net.add("Transpose", weight, perm=[1, 0]))
        self.shape = (self.shape[0], outputs)
        if self.chance(0.5):
            self.x = self.net.add("Add", self.x, self.net.const(self.rng.normal(0, 0.5, outputs)))

    def layer(self) -> None:
        """A linear layer, perhaps with a function behind it."""
        self.dense(self.pick(1, 2, 4, 6))
        if self.chance(0.4):
            self.x = self.function(self.x)

    def mixed(self) -> None:
        """A layer over the tokens."""
        self.x, self.shape = self.turned(self.x), self.shape[::-1]
        self.dense(self.pick(1, 3, 5))
        if self.chance(0.4):
            self.quant()
        self.x, self.shape = self.turned(self.x), self.shape[::-1]

    def norm(self) -> None:
        """LayerNorm or RMSNorm of the features or the tokens, as a node or written out, perhaps with factors."""
        if self.chance(0.8):
            self.quant()
        turn = self.chance(0.15)
        if turn:
            self.x, self.shape = self.turned(self.x), self.shape[::-1]
        if self.shape[1] == 1 and self.chance(0.8):
            self.dense(4)
            self.quant()
        features, centred, epsilon = self.shape[1], self.chance(0.5), self.pick(0.0, 1e-5, 1e-2)
        if self.net.opset >= (17 if centred else 23) and self.chance(0.6):
            factors = [self.net.const(self.rng.normal(0, 1, features))]
            factors += [self.net.const(self.rng.normal(0, 1, features))] if centred and self.chance(0.5) else []
            op = "LayerNormalization" if centred else "RMSNormalization"
            self.x = self.net.add(op, self.x, *factors, epsilon=epsilon or 1e-5)
        else:
            self.written_norm(self.pick(-1, 2), epsilon, centred=centred)
        if turn:
            self.x, self.shape = self.turned(self.x), self.shape[::-1]
        if self.chance(0.95):
            self.quant()

    def mean(self, x: str, axis: int) -> str:
        """The mean of the axis, which stays."""
        if self.net.opset < 18:
            return self.net.add("ReduceMean", x, axes=[axis], keepdims=1)
        return self.net.add("ReduceMean", x, self.ints(axis), keepdims=1)

    def written_norm(self, axis: int, epsilon: float, *, centred: bool) -> None:
        """As exporters write it."""
        x = self.net.add("Sub", self.x, self.mean(self.x, axis)) if centred else self.x
        square = self.net.add("Mul", x, x) if self.chance(0.3) else self.net.add("Pow", x, self.net.const(2.0))
        mean = self.net.add("Add", self.mean(square, axis), self.net.const(epsilon or 1e-6))
        root = self.net.add("Sqrt", mean)
        if self.chance(0.5):
            x = self.net.add("Div", x, root)
        else:
            x = self.net.add("Mul", x, self.net.add("Reciprocal", root))
        factors = self.rng.normal(0, 1, self.shape[1])
        self.x = self.net.add("Mul", x, self.net.const(factors)) if self.chance(0.6) else x

    def attention(self) -> None:
        """Heads that mix the tokens by what their products give, perhaps quantized by head."""
        tokens, features = self.shape
        parts = self.pick(*[n for n in (1, 2, 3) if features % n == 0])
        start, found = self.x, []
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
            self.x, self.shape = start, (tokens, features)
            if self.chance(0.7):
                self.dense(features)
                self.quant()
            parted = self.net.add("Reshape", self.x, self.ints(1, tokens, parts, features // parts))
            found.append(self.net.add("Transpose", parted, perm=perm))
        q, k, v = found
        scores = self.net.add("MatMul", q, k)
        if self.chance(0.6):
            scores = self.net.add("Mul", scores, self.net.const(self.rng.uniform(0.2, 1)))
        if self.chance(0.9):
            scores = self.net.quant(scores, self.pick(4, 6, 8), self.scale(0.03, 0.3))
        shares = self.net.add(self.pick("Softmax", "Softmax", "Relu"), scores)
        if self.chance(0.95):
            shares = self.net.quant(shares, self.pick(3, 4, 8), self.scale(0.005, 0.1), signed=0)
        mixed = self.net.add("MatMul", shares, v)
        if self.chance(0.5):
            mixed = self.net.quant(mixed, self.pick(4, 6), self.scale(0.05, 0.3))
        joined = self.net.add("Transpose", mixed, perm=[0, 2, 1, 3])
        self.x, self.shape = self.net.add("Reshape", joined, self.ints(1, tokens, features)), (tokens, features)

    def gram(self) -> None:
        """Products of the tokens, or of the features, with each other."""
        x, y, (tokens, features) = self.x, self.x, self.shape
        if self.chance(0.6):
            self.dense(features)
            self.quant()
            y = self.x
        over_tokens = self.chance(0.5)
        self.x = self.net.add("MatMul", *((x, self.turned(y)) if over_tokens else (self.turned(x), y)))
        self.shape = (tokens, tokens) if over_tokens else (features, features)

    def softmax(self) -> None:
        """Of the features or the tokens, between quantizers."""
        self.quant()
        self.x = self.net.add("Softmax", self.x, axis=self.pick(-1, 2))
        self.x = self.net.quant(self.x, self.pick(3, 5, 8), self.scale(0.005, 0.1), signed=0)

    def constant_tokens(self) -> None:
        """Class tokens in front or behind, perhaps with places."""
        (tokens, features), first, last = self.shape, self.pick(0, 1, 1, 2), self.pick(0, 0, 1)
        axis = self.pick(1, 1, 1, 2)
        kept = features if axis == 1 else tokens
        parts = [self.rng.normal(0, 0.5, (1, n, kept) if axis == 1 else (1, kept, n)) for n in (first, last)]
        names = [self.net.const(array) if array.size else "" for array in parts]
        self.x = self.net.add("Concat", *filter(None, (names[0], self.x, names[1])), axis=axis)
        more = first + last
        self.shape = (tokens + more, features) if axis == 1 else (tokens, features + more)
        if self.chance(0.4):
            self.places()
        if self.chance(0.9):
            self.quant()

    def places(self) -> None:
        """A number a token and feature, a token or a feature, added or multiplied."""
        tokens, features = self.shape
        shape = self.pick((tokens, features), (1, tokens, features), (tokens, 1), (features,))
        op = self.pick("Add", "Add", "Sub", "Mul")
        self.x = self.net.add(op, self.x, self.net.const(self.rng.uniform(0.3, 1.5, shape)))

    def branch(self) -> None:
        """A layer of as many features, quantized, beside the tokens: added, multiplied or joined."""
        start, (tokens, features) = self.x, self.shape
        kind = self.pick("Add", "Add", "Mul", "tokens", "features")
        self.dense(features if kind != "features" else self.pick(1, features))
        if self.chance(0.85):
            self.quant()
        pair = self.pick((start, self.x), (self.x, start))
        if kind in ("Add", "Mul"):
            self.x = self.net.add(kind, *pair)
            return
        more, axis = self.shape[1], 1 if kind == "tokens" else self.pick(2, -1)
        self.x = self.net.add("Concat", *pair, axis=axis)
        self.shape = (2 * tokens, features) if axis == 1 else (tokens, features + more)

    def gather(self) -> None:
        """Some tokens or features in their order, and every second token."""
        axis = self.pick(1, 1, 2)
        size = self.shape[axis - 1]
        start, step = int(self.rng.integers(0, size)), self.pick(1, 1, 2) if axis == 1 else 1
        found = range(start, int(self.rng.integers(start + 1, size + 1)), step)
        if self.chance(0.5):
            self.x = self.net.add("Gather", self.x, self.ints(*found), axis=axis)
        else:
            ends = (self.ints(n) for n in (found.start, found.stop, axis, step))
            self.x = self.net.add("Slice", self.x, *ends)
        sizes = list(self.shape)
        sizes[axis - 1] = len(found)
        self.shape = tuple(sizes)

    def convolved(self) -> None:
        """A convolution along the tokens, or one that is transposed."""
        (tokens, features), kernel, outputs = self.shape, self.pick(1, 2, 3), self.pick(1, 3)
        x = self.turned(self.x)
        if self.chance(0.5) and tokens + kernel < 12:
            values = self.net.const(self.rng.normal(0, 0.4, (features, outputs, kernel)))
            weight, step = self.net.quant(values, self.pick(2, 4), self.scale(0.02, 0.3), narrow=0), self.pick(1, 2)
            x, length = self.net.add("ConvTranspose", x, weight, strides=[step]), step * (tokens - 1) + kernel
        else:
            before = self.pick(0, kernel - 1)
            if tokens + before < kernel:
                return
            x = self.net.conv(x, self.weight(outputs, features, kernel), pads=[before, 0])
            length = tokens + before - kernel + 1
        self.x, self.shape = self.turned(x), (length, outputs)

    def rows(self) -> None:
        """A map and a branch of it one below or beside the other."""
        start, shape = self.x, self.shape
        if self.chance(0.6):
            self.net_branch(shape)
        else:
            self.quant()
        axis = self.pick(2, 3, -1, -2)
        self.x = self.net.add("Concat", *self.pick((start, self.x), (self.x, start)), axis=axis)
        sizes = list(shape)
        sizes[axis % 4 - 1] *= 2
        self.shape = tuple(sizes)

    def gathered(self) -> None:
        """Some rows or columns of a map, or one channel, by Gather."""
        axis = self.pick(1, 2, 2, 3, 3)
        size = self.shape[axis - 1]
        found = range(int(self.rng.integers(0, size)), size, self.pick(1, 2) if axis > 1 else 1)
        self.x = self.net.add("Gather", self.x, self.ints(*found), axis=axis)
        sizes = list(self.shape)
        sizes[axis - 1] = len(found)
        self.shape = tuple(sizes)

    def end(self) -> str:
        """Classes of one token, of the mean or the largest, of all tokens; or the tokens."""
        tokens, features = self.shape
        kind = self.pick("token", "token", "mean", "max", "flat", "tokens")
        if kind == "token":
            self.x = self.net.add("Gather", self.x, self.net.const(self.pick(0, tokens - 1), np.int64), axis=1)
        elif kind == "flat":
            self.x, features = self.net.add("Flatten", self.x), tokens * features
        elif kind in ("mean", "max"):
            op = "ReduceMean" if kind == "mean" else "ReduceMax"
            self.x = self.net.add(op, self.x, axes=[1], keepdims=0) if self.net.opset < 18 else self.net.add(
                op, self.x, self.ints(1), keepdims=0
            )  # fmt: skip
        else:
            return self.x
        self.shape = (features,)
        if self.chance(0.8):
            self.quant()
        return self.net.linear(self.x, features, 3)


def random_tokens(path: Path, seed: int) -> Path:
    """The random network of ``seed``, written to ``path``."""
    net = TokenNet(seed)
    net.start()
    if net.is_map:
        for _ in range(net.pick(1, 2)):
            net.pick(net.rows, net.rows, net.gathered, net.gathered, net.conv, net.transposed, net.pool)()
            if net.chance(0.7):
                net.quant()
        net.tokens()
    steps = (
        net.layer, net.mixed, net.norm, net.norm, net.attention, net.attention, net.gram, net.softmax,
        net.constant_tokens, net.places, net.branch, net.branch, net.gather, net.convolved,
    )  # fmt: skip
    for _ in range(net.pick(1, 2, 2, 3)):
        net.pick(*steps)()
        if net.chance(0.75):
            net.quant()
    net.x = net.end()
    if net.chance(0.1):
        net.codes_out()
    if net.chance(0.2):
        net.rename()
    return net.net.save(path, net.x, *heads(net, seed))
