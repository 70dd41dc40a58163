"""The space of a search, read from TOML: networks of blocks, the bits of their layers, the architecture."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from toolchain.config.blocks import MOST_EXPANSION
from toolchain.config.run import SEEDS, DataConfig, TrainConfig, demand_quantized_epoch
from toolchain.config.table import Table
from toolchain.config.toml import read_toml
from toolchain.errors import UserError
from toolchain.records import parse_record


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError("should rise, each once")
    return values


def _positive(values: tuple[int, ...]) -> tuple[int, ...]:
    if _rising(values)[0] < 1:
        raise ValueError("should be 1 or more")
    return values


def _from_zero(values: tuple[int, ...]) -> tuple[int, ...]:
    if _rising(values)[0] < 0:
        raise ValueError("should be 0 or more")
    return values


def _expansions(values: tuple[int, ...]) -> tuple[int, ...]:
    if _positive(values)[-1] > MOST_EXPANSION:
        raise ValueError(f"should be 1 to {MOST_EXPANSION}")
    return values


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("should hold each once")
    return values


def _weight_bits(values: tuple[int, ...]) -> tuple[int, ...]:
    if not {*_rising(values)} <= {2, 3, 4, 6, 8}:
        raise ValueError("should be of 2, 3, 4, 6, 8")
    return values


def _act_bits(values: tuple[int, ...]) -> tuple[int, ...]:
    if not {*_rising(values)} <= {4, 8}:
        raise ValueError("should be of 4, 8")
    return values


Counts = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_positive)]
WeightBits = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_weight_bits)]
ActBits = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_act_bits)]
Architecture = Literal["engine", "streaming"]

LEAST_LEARNED = 2
"""Networks that a round adds at least: with fewer the first predictor has nothing to be judged on."""


class StageSpace(Table):
    """Blocks of one kind: how many, their kernels and expansions, each its own, and the channels of all of them.

    The first block has the ``stride``.
    """

    kind: Literal["inverted", "residual"]
    depth: Counts = (1,)
    channels: Counts
    kernel: tuple[Literal[3, 5], ...] = Field(default=(3,), min_length=1)
    expansion: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_expansions)] = (1,)
    stride: Literal[1, 2] = 1


class BitSpace(Table):
    """Bits that the weights of each layer may have, and those of all activations."""

    weights: WeightBits = (4, 8)
    activations: ActBits = (8,)


class AccuracyConfig(Table):
    """The learning of accuracies: ``networks`` of which are tested, with weights that come from one shared network.

    Attributes:
        epochs: of the shared network; each step trains the largest, the smallest and ``between`` random networks.
        tune: epochs that each network trains on alone before it is tested; 0 tests the shared weights.
        networks: tested for the predictor, ``held_out`` of them for its Kendall tau alone.
        rounds: parts that they are tested in, the others two or more in each: behind each but the last the predictor
            chooses what it knows least of.
        valid: share of the training images that the shared network does not see and networks are tested on.
    """

    epochs: int = Field(default=30, ge=1)
    between: int = Field(default=2, ge=0, le=16)
    tune: int = Field(default=0, ge=0)
    networks: int = Field(default=200, ge=8)
    held_out: int = Field(default=50, ge=4)
    rounds: int = Field(default=3, ge=1)
    valid: float = Field(default=0.1, gt=0, lt=0.5)


class SearchConfig(Table):
    """The effort of a search: ``rounds`` of engines and networks in turn, ``trials`` networks each by ``sampler``.

    ``population`` is NSGA-II's, ``engines`` the most engine shapes that are found a round, ``points`` the most networks
    of the front that are proven, ``seconds`` the time of an integer program.
    """

    trials: int = Field(default=2000, ge=1)
    rounds: int = Field(default=2, ge=1)
    sampler: Literal["nsga2", "nsga3", "tpe", "random"] = "nsga2"
    population: int = Field(default=50, ge=4)
    engines: int = Field(default=6, ge=1)
    points: int = Field(default=16, ge=1)
    seconds: float = Field(default=30.0, gt=0)
    least_top1: float = Field(default=0.0, ge=0, le=1)
    seed: int = Field(default=0, ge=0, lt=SEEDS)


class Space(Table):
    """A whole space file; ``data`` and ``train`` are those of the run files of its networks.

    ``size`` are resolutions, () for the pictures' own.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    stem: Counts
    stem_stride: Literal[1, 2] = 1
    stage: tuple[StageSpace, ...] = Field(min_length=1)
    head: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_from_zero)] = (0,)
    size: tuple[Annotated[int, Field(ge=4, le=1024)], ...] = ()
    bits: BitSpace = BitSpace()
    architecture: Annotated[tuple[Architecture, ...], Field(min_length=1), AfterValidator(_once)] = ("engine",)
    accuracy: AccuracyConfig = AccuracyConfig()
    search: SearchConfig = SearchConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The values of every choice by its name; choices that a shallower stage lacks have no effect."""
        found: dict[str, tuple[Any, ...]] = {
            "architecture": self.architecture,
            "size": self.size or (0,),
            "activations": self.bits.activations,
            "stem": self.stem,
            "head": self.head,
        }
        layers = ["conv1"]
        for s, stage in enumerate(self.stage, 1):
            found[f"stage{s}.depth"], found[f"stage{s}.channels"] = stage.depth, stage.channels
            for b in range(1, max(stage.depth) + 1):
                found[f"stage{s}.{b}.kernel"] = stage.kernel
                if stage.kind == "inverted":
                    found[f"stage{s}.{b}.expansion"] = stage.expansion
                layers += [f"stage{s}.{b}.{layer}" for layer in LAYERS[stage.kind]]
        layers += [*(["conv2"] if max(self.head) else []), "fc"]
        found |= {f"bits.{layer}": self.bits.weights for layer in layers}
        return found

    @property
    def count(self) -> int:
        """Points of the axes; networks where no stage has a choice of depth."""
        return prod(len(values) for values in self.axes.values())


LAYERS = {
    "inverted": ("expand.conv", "conv", "project"),
    "residual": ("conv1", "conv2", "shortcut.conv"),
}
"""Names of a block's layers of weights, below the block's."""


def load_space(path: Path) -> Space:
    """The space in the TOML file ``path``.

    Raises:
        UserError: unreadable file, syntax error, unknown key (with the nearest one) or bad value.
    """
    table = read_toml(path, "space")
    table.setdefault("name", path.stem)
    return parse_space(table, where=str(path))


def parse_space(table: dict[str, Any], *, where: str) -> Space:
    """Check a table against the models and the rules between them.

    Raises:
        UserError: the first fault.
    """
    space = parse_record(Space, table, where=where)
    for key, values in (("size", space.size), *((f"stage.{i}.kernel", s.kernel) for i, s in enumerate(space.stage))):
        if list(values) != sorted(set(values)):
            raise UserError(f"bad value for '{key}': should rise, each once, got {list(values)}", where=where)
    for i, stage in enumerate(space.stage):
        if stage.kind == "residual" and stage.expansion != (1,):
            raise UserError(f"stage.{i}.expansion of a residual stage", where=where, hint="inverted ones expand")
    accuracy = space.accuracy
    least = accuracy.held_out + LEAST_LEARNED * accuracy.rounds
    if accuracy.networks < least:
        others = f"accuracy.held_out = {accuracy.held_out} and accuracy.rounds = {accuracy.rounds}"
        raise UserError(
            f"accuracy.networks = {accuracy.networks} are too few for {others}",
            where=where,
            hint=f"give {least} or more: the predictor learns from {LEAST_LEARNED} more in each round",
        )
    if space.size and space.data.size is not None:
        raise UserError("data.size does not go with the resolutions of size", where=where, hint="leave one out")
    if space.architecture == ("engine",) and space.bits.activations != (8,):
        raise UserError(
            "bits.activations of 4 on the engine: their quantizers are thresholds, which it does not run",
            where=where,
            hint='give 8, or architecture = ["engine", "streaming"]',
        )
    _check_train(space.train, where)
    return space


def _check_train(train: TrainConfig, where: str) -> None:
    """What would end the training of the front's networks, when all is searched, is refused before."""
    if train.float:
        raise UserError("train.float of a space of bits", where=where)
    if train.start_from is not None:
        hint = "leave it out: a run's weights fit one network"
        raise UserError("train.start_from of a space of networks", where=where, hint=hint)
    demand_quantized_epoch(train, where)
