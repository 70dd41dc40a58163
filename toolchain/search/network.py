"""A point of a space: the network, its run file, and where its blocks stand in the space."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from toolchain.config.blocks import Block, Blocks
from toolchain.config.run import BLOCKS, LayerQuant, ModelConfig, QuantConfig, RunConfig
from toolchain.files import digest_bytes
from toolchain.search.space import LAYERS, Space

Point = Mapping[str, Any]
"""A value of every axis."""


@dataclass(frozen=True)
class Network:
    """A network of a space.

    Attributes:
        places: stage and number of each block in the space, from 1.
        bits: of the weights of each layer, by its name in the network.
        slots: the same layers' names in the space.
        size: rows and columns of the pictures; 0 for their own.
    """

    architecture: str
    blocks: Blocks
    places: tuple[tuple[int, int], ...]
    bits: Mapping[str, int]
    slots: Mapping[str, str]
    act_bits: int
    size: int

    @cached_property
    def key(self) -> str:
        """Names the network: equal where points differ only in what has no effect."""
        facts = [self.architecture, self.blocks.model_dump(), dict(self.bits), self.act_bits, self.size]
        return digest_bytes(json.dumps(facts, sort_keys=True).encode())[:16]

    @property
    def text(self) -> str:
        """The network in a line: stem, blocks as kernel x expansion -> channels, head."""
        parts = [str(self.blocks.stem)]
        for block in self.blocks.block:
            what = f"{block.kernel}x{block.expansion}" if block.kind == "inverted" else f"r{block.kernel}"
            parts.append(f"{what}-{block.channels}{'/2' if block.stride == 2 else ''}")
        parts += [str(self.blocks.head)] if self.blocks.head else []
        return " ".join(parts) + (f" at {self.size}" if self.size else "")

    @property
    def bits_text(self) -> str:
        """Bits of the weights layer by layer, and of the activations."""
        return "".join(map(str, self.bits.values())) + f" A{self.act_bits}"

    def run(self, space: Space, name: str) -> RunConfig:
        """The run file that trains it."""
        data = space.data.model_copy(update={"size": self.size}) if self.size else space.data
        common = min(self.bits.values())
        quant = QuantConfig(
            weight_bits=common,
            act_bits=self.act_bits,
            residual_bits=self.act_bits,
            layers={layer: LayerQuant(weight_bits=bits) for layer, bits in self.bits.items() if bits != common},
        )
        model = ModelConfig(name=BLOCKS, blocks=self.blocks)
        return RunConfig(name=name, data=data, model=model, quant=quant, train=space.train)


def network_at(space: Space, point: Point) -> Network:
    """The network of a point."""
    blocks, places, layers = [], [], {"conv1": "conv1"}
    channels = point["stem"]
    for s, stage in enumerate(space.stage, 1):
        for b in range(1, point[f"stage{s}.depth"] + 1):
            expansion = point.get(f"stage{s}.{b}.expansion", 1)
            outputs, stride = point[f"stage{s}.channels"], stage.stride if b == 1 else 1
            kernel = point[f"stage{s}.{b}.kernel"]
            blocks.append(Block(kind=stage.kind, channels=outputs, kernel=kernel, expansion=expansion, stride=stride))
            places.append((s, b))
            absent = {"expand.conv": expansion == 1, "shortcut.conv": stride == 1 and channels == outputs}
            for layer in LAYERS[stage.kind]:
                if not absent.get(layer, False):
                    layers[f"block{len(blocks)}.{layer}"] = f"stage{s}.{b}.{layer}"
            channels = outputs
    layers |= {"conv2": "conv2"} if point["head"] else {}
    layers["fc"] = "fc"
    made = Blocks(stem=point["stem"], stem_stride=space.stem_stride, block=tuple(blocks), head=point["head"])
    bits = {layer: point[f"bits.{slot}"] for layer, slot in layers.items()}
    return Network(point["architecture"], made, tuple(places), bits, layers, point["activations"], point["size"])


def canonical(space: Space, point: Point) -> dict[str, Any]:
    """``point`` with the first value of every axis that has no effect on its network."""
    depths = {s: point[f"stage{s}.depth"] for s in range(1, len(space.stage) + 1)}
    layers = set(network_at(space, point).slots.values())

    def acts(name: str) -> bool:
        kind, _, rest = name.partition(".")
        if kind == "bits":
            return rest in layers
        number = rest.partition(".")[0]
        return not (kind.startswith("stage") and number.isdigit()) or int(number) <= depths[int(kind[5:])]

    return {name: point[name] if acts(name) else values[0] for name, values in space.axes.items()}


def largest(space: Space) -> dict[str, Any]:
    """The point of the last value of every axis."""
    return {name: values[-1] for name, values in space.axes.items()}


def smallest(space: Space) -> dict[str, Any]:
    """The point of the first value of every axis."""
    return {name: values[0] for name, values in space.axes.items()}


def drawn(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """A point at random: half of them with all bits alike, since bits drawn layer by layer come to about the same."""
    point = {name: values[rng.integers(len(values))] for name, values in space.axes.items()}
    if rng.random() < 0.5:
        same = space.bits.weights[rng.integers(len(space.bits.weights))]
        point |= {name: same for name in point if name.startswith("bits.")}
    return point


def every_point(space: Space) -> Iterator[dict[str, Any]]:
    """All points."""
    axes = space.axes
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def neighbours(space: Space, point: Point) -> Iterator[dict[str, Any]]:
    """The points whose value of one axis is the next one up or down."""
    for name, values in space.axes.items():
        at = values.index(point[name])
        for other in (at - 1, at + 1):
            if 0 <= other < len(values):
                yield {**point, name: values[other]}
