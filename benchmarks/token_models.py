"""Transformers, a mixer and a recurrent network of Brevitas layers, trained in a minute or two.

Three on the digits of scikit-learn: the transformer and the mixer read patches of 2 x 2 pixels, the recurrent one a row
of pixels a step, unrolled. The keyword transformer reads the 49 time steps of spoken words, 10 numbers each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from brevitas.quant import Int8WeightPerChannelFloat
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.user_models import codes, quantized
from toolchain.train.data import load

SIZE, CLASSES, BATCH, RATE = 8, 10, 32, 5e-3
STEPS, NUMBERS, WORDS = 49, 10, 12
DATA = "digits"
TESTED = 200
"""Spoken words that are kept for the test, of a thousand."""
ACTS = 8
"""Bits of activations: what stands in front of a norm, a softmax or a gate."""
WEIGHTS = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 6}


def dense(inputs: int, outputs: int) -> QuantLinear:
    """A linear layer."""
    return QuantLinear(inputs, outputs, bias=True, **WEIGHTS)


def perceptron(width: int) -> nn.Sequential:
    """Two layers with a function between them."""
    return nn.Sequential(dense(width, 2 * width), quantized(nn.GELU, ACTS), dense(2 * width, width))


class Attention(nn.Module):
    """Heads that mix tokens by the softmax of their products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.factor = heads, (width // heads) ** -0.5
        self.parts = nn.ModuleList(nn.Sequential(dense(width, width), codes(ACTS)) for _ in range(3))
        self.scores, self.shares, self.mixed = codes(ACTS), codes(ACTS, signed=False), codes(ACTS)
        self.out = dense(width, width)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, width = x.shape
        q, k, v = (p(x).reshape(count, tokens, self.heads, width // self.heads).transpose(1, 2) for p in self.parts)
        scores = self.scores(q @ k.transpose(2, 3) * self.factor)
        mixed = self.mixed(self.shares(functional.softmax(scores, -1)) @ v)
        return self.out(mixed.transpose(1, 2).reshape(count, tokens, width))


class Block(nn.Module):
    """A block that mixes the tokens, then two layers on each token; each has a norm in front and a sum behind it."""

    def __init__(self, width: int, mixing: nn.Module, norm: Callable[[int], nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.first = nn.Sequential(norm(width), codes(ACTS), mixing)
        self.second = nn.Sequential(norm(width), codes(ACTS), perceptron(width))
        self.operands, self.sums = (nn.ModuleList(codes(ACTS) for _ in range(2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for branch, operand, total in zip((self.first, self.second), self.operands, self.sums, strict=True):
            x = total(operand(x) + operand(branch(x)))
        return x


class Transformer(nn.Module):
    """A vision transformer: patches, places, two blocks, the mean of the tokens, classes."""

    def __init__(self, width: int = 16, heads: int = 2, patch: int = 2) -> None:
        super().__init__()
        self.patches = nn.Sequential(QuantConv2d(1, width, patch, patch, **WEIGHTS), codes(ACTS))
        self.places = nn.Parameter(torch.randn(1, (SIZE // patch) ** 2, width) / 8)
        self.placed = codes(ACTS)
        self.blocks = nn.Sequential(*(Block(width, Attention(width, heads)) for _ in range(2)))
        self.head = nn.Sequential(codes(ACTS), dense(width, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.placed(self.patches(x).flatten(2).transpose(1, 2) + self.places)
        return self.head(self.blocks(x).mean(1))


class OverTokens(nn.Module):
    """Two layers over the tokens of each feature."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.layers = perceptron(tokens)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.transpose(1, 2)).transpose(1, 2)


class Mixer(nn.Module):
    """A MLP-Mixer (Tolstikhin et al. 2021): patches, two blocks, the mean of the tokens, classes."""

    def __init__(self, width: int = 16, patch: int = 2) -> None:
        super().__init__()
        self.patches = nn.Sequential(QuantConv2d(1, width, patch, patch, **WEIGHTS), codes(ACTS))
        self.blocks = nn.Sequential(*(Block(width, OverTokens((SIZE // patch) ** 2)) for _ in range(2)))
        self.head = nn.Sequential(nn.LayerNorm(width), codes(ACTS))
        self.classes = nn.Sequential(codes(ACTS), dense(width, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)))
        return self.classes(x.mean(1))


class KeywordTransformer(nn.Module):
    """A keyword transformer (Berg et al. 2021) with RMSNorm: a token a time step, and one of the class."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.steps = nn.Sequential(codes(ACTS), dense(NUMBERS, width), codes(ACTS))
        self.token = nn.Parameter(torch.randn(1, 1, width) / 8)
        self.places = nn.Parameter(torch.randn(1, STEPS + 1, width) / 8)
        self.placed = codes(ACTS)
        self.blocks = nn.Sequential(*(Block(width, Attention(width, heads), rms_norm) for _ in range(2)))
        self.head = nn.Sequential(rms_norm(width), codes(ACTS), dense(width, WORDS))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.steps(x)], 1)
        return self.head(self.blocks(self.placed(x + self.places))[:, 0])


def rms_norm(width: int) -> nn.Module:
    """Over the features."""
    return nn.RMSNorm(width, eps=1e-5)


class Recurrent(nn.Module):
    """A gated recurrent unit that reads a row of pixels a step, and a layer of classes behind the last."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.rows, self.states = (nn.ModuleList(dense(n, width) for _ in range(3)) for n in (SIZE, width))
        self.part, self.sum, self.kept, self.apart, self.step, self.state = (codes(ACTS) for _ in range(6))
        self.gates = nn.ModuleList(quantized(nn.Sigmoid, ACTS) for _ in range(2))
        self.new = nn.Sequential(nn.Tanh(), self.state)
        self.pixels = codes(ACTS, signed=False)
        self.head = dense(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pixels(x.flatten(1, 2))
        state = self.state(torch.zeros(len(x), self.width))
        for step in range(SIZE):
            of_row = [self.part(layer(x[:, step])) for layer in self.rows]
            of_state = [self.part(layer(state)) for layer in self.states]
            reset, update = (g(self.sum(a + b)) for g, a, b in zip(self.gates, of_row, of_state, strict=False))
            new = self.new(self.sum(of_row[2] + self.kept(reset * of_state[2])))
            state = self.state(new + self.step(update * self.apart(state - new)))
        return self.head(state)


@dataclass(frozen=True)
class Samples:
    """Inputs (N, ...) and classes to train by, and those of the test."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: np.ndarray


def digits() -> Samples:
    """Pictures (N, 1, 8, 8) of pixels / 255."""
    data = load(DATA)
    x, test = (
        torch.tensor(part, dtype=torch.float32).reshape(-1, 1, SIZE, SIZE) / 255 for part in (data.train_x, data.test_x)
    )
    return Samples(x, torch.tensor(data.train_y), test, data.test_y)


def words() -> Samples:
    """The thousand Speech Commands of MLPerf Tiny as coefficients (N, 49, 10), parted by a seeded draw."""
    table = np.load(Path(os.environ["FPGAFLOW_DATA"]) / "kws" / "gscv2_mfcc_int8_1000.npz")
    x = torch.tensor(table["x"].astype(np.float32) * table["input_scale"]).reshape(-1, STEPS, NUMBERS)
    y, order = table["y"].astype(np.int64), np.random.default_rng(0).permutation(len(x))
    rest, tested = order[TESTED:], order[:TESTED]
    return Samples(x[rest], torch.tensor(y[rest]), x[tested], y[tested])


def earlier_or_later(x: Tensor) -> Tensor:
    """Words up to four steps earlier or later, a step's noise on them: eight hundred are few."""
    return torch.roll(x, int(torch.randint(-4, 5, ())), 1) + torch.randn_like(x) * x.std() / 8


@dataclass(frozen=True)
class Trained:
    """A network, what it is trained on and for how many epochs, and what stands in the table."""

    make: Callable[[], nn.Module]
    samples: Callable[[], Samples]
    epochs: int
    what: str
    changed: Callable[[Tensor], Tensor] = lambda x: x


MODELS = {
    "transformer": Trained(
        Transformer, digits, 15,
        "2 blocks of 16 features and 2 heads on 16 patches: LayerNorm, softmax, GELU; trained on digits",
    ),
    "mixer": Trained(
        Mixer, digits, 15,
        "2 blocks of 16 features on 16 patches: LayerNorm, layers over tokens and features; trained on digits",
    ),
    "gru": Trained(Recurrent, digits, 15, "16 features, a row of pixels a step, 8 steps unrolled; trained on digits"),
    "keyword_transformer": Trained(
        KeywordTransformer, words, 25,
        "2 blocks of 16 features and 2 heads on 49 time steps and a class token: RMSNorm; trained on 800 spoken words",
        earlier_or_later,
    ),
}  # fmt: skip


def trained(name: str, epochs: int | None = None) -> tuple[nn.Module, Samples]:
    """The network of ``MODELS`` after its ``epochs``, in eval mode, and its data."""
    torch.manual_seed(0)
    made = MODELS[name]
    data, model = made.samples(), made.make()
    epochs = made.epochs if epochs is None else epochs
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * (len(data.x) // BATCH))
    for _ in range(epochs):
        for some in torch.randperm(len(data.x))[: len(data.x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model.train()(made.changed(data.x[some])), data.y[some]).backward()
            optimizer.step()
            schedule.step()
    return model.eval(), data
