"""A transformer and a recurrent network of Brevitas layers, trained on the digits of scikit-learn in a minute.

The transformer reads patches of 2 x 2 pixels, the recurrent one a row of pixels a step, unrolled.
"""

from __future__ import annotations

import torch
from brevitas.nn import QuantConv2d, QuantLinear
from brevitas.quant import Int8WeightPerChannelFloat
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.user_models import codes, quantized
from toolchain.train.data import load

SIZE, CLASSES, BATCH, EPOCHS, RATE = 8, 10, 32, 15, 5e-3
DATA = "digits"
ACTS = 8
"""Bits of activations: what stands in front of a norm, a softmax or a gate."""
WEIGHTS = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 6}


def dense(inputs: int, outputs: int) -> QuantLinear:
    """A linear layer."""
    return QuantLinear(inputs, outputs, bias=True, **WEIGHTS)


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
    """Attention and two layers on each token, each behind a norm and added to what it reads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.LayerNorm(width), codes(ACTS), Attention(width, heads))
        self.second = nn.Sequential(
            nn.LayerNorm(width), codes(ACTS), dense(width, 2 * width), quantized(nn.GELU, ACTS), dense(2 * width, width)
        )
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
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(2)))
        self.head = nn.Sequential(codes(ACTS), dense(width, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.placed(self.patches(x).flatten(2).transpose(1, 2) + self.places)
        return self.head(self.blocks(x).mean(1))


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


MODELS = {"transformer": Transformer, "gru": Recurrent}
WHAT = {
    "transformer": "2 blocks of 16 features and 2 heads on 16 patches: LayerNorm, softmax, GELU; trained on digits",
    "gru": "16 features, a row of pixels a step, 8 steps unrolled; trained on digits",
}


def trained(name: str, epochs: int = EPOCHS) -> tuple[nn.Module, Tensor]:
    """The network of ``MODELS`` after ``epochs`` on the digits, in eval mode, and its test pictures (N, 1, 8, 8)."""
    torch.manual_seed(0)
    data = load(DATA)
    x, test = (
        torch.tensor(part, dtype=torch.float32).reshape(-1, 1, SIZE, SIZE) / 255 for part in (data.train_x, data.test_x)
    )
    y, model = torch.tensor(data.train_y), MODELS[name]()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * (len(x) // BATCH))
    for _ in range(epochs):
        for some in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model.train()(x[some]), y[some]).backward()
            optimizer.step()
            schedule.step()
    return model.eval(), test
