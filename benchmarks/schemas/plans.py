"""Columns of what the explorer and the search find: plans, engines, networks, bits of layers."""

from __future__ import annotations

from typing import Literal, NotRequired

from benchmarks.recorder import Results
from benchmarks.schemas.base import Costs, MaybeCosts, Measured


class EfficientnetRow(Measured):
    """A network quantized after training, and its codes beside those of the QONNX executor."""

    model: str
    bits: str
    calibration_images: int
    agreement: float
    agreement_images: int
    float_top1: float
    top1: float
    qonnx_top1: float
    quantize_seconds: float
    lower_seconds: float
    lower_cpu_seconds: float
    nodes: int
    compared_images: int
    codes: int
    mismatches: int
    worst_tie: float
    top1_agreement_with_qonnx: float
    evaluator_images_per_second: float


class EngineCase(Measured):
    """A network on the engine, searched with all its freedom or as ``variant`` says."""

    network: str
    weight_bits: int
    act_bits: int
    variant: str


class EngineRow(EngineCase, Costs):
    """The engine that was found; ``compute_share`` and ``memory_share`` are what the slower of both waits for."""

    fps: float
    bound_fps: float
    program_bound_fps: float
    compute_share: float
    memory_share: float
    limited_by: str
    products: int
    filter_products: int
    bytes_per_frame: int
    clock_mhz: float
    ddr_bytes_per_second: float
    gap: float
    solve_seconds: float
    solve_cpu_seconds: NotRequired[float]
    simulated_images: NotRequired[int]
    simulation_mismatches: NotRequired[int]
    simulation_seconds_per_image: NotRequired[float]
    simulation_cpu_seconds_per_image: NotRequired[float]
    agreement: NotRequired[float]
    agreement_images: NotRequired[int]
    float_top1: NotRequired[float]
    top1: NotRequired[float]


class NoEngineRow(EngineCase):
    """The reason why no engine was found."""

    limited_by: str


class OracleRow(Measured):
    """Random small instances, solved by brute force and by another solver too."""

    kind: Literal["oracle"]
    instances: int
    infeasible: int
    equal_brute_force: int
    better_than_cbc: int
    worse_than_cbc: int


class ExploredRow(Measured, Costs):
    """The fastest accelerator of a network."""

    kind: Literal["network"]
    network: str
    fps: float
    cycles: int
    status: str
    gap: float
    seconds: float
    cpu_seconds: float
    limited_by: str
    prices: str
    bound_fps: float
    target_fps: float | None
    target_met: bool | None


class PeerRow(Measured):
    """The rate that another tool predicts for its own design; ``ratio`` is ours over it."""

    kind: Literal["peer"]
    network: str
    tool: str
    fps: float
    ratio: float


class SearchRow(Measured, MaybeCosts):
    """The design that another tool's search finds over our cost model, if any; ``ratio`` is our rate over its own."""

    kind: Literal["search", "random"]
    network: str
    tool: str
    fps: float | None  # type: ignore[misc]
    ratio: NotRequired[float]


class RecostedRow(Measured, Costs):
    """Another tool's recorded choice, built from our units."""

    kind: Literal["recosted"]
    network: str
    tool: str
    their_cycles: int
    cycles: int
    fps: float
    fits: bool


class RateRow(Measured):
    """The plan of a small network of ``count`` features or channels, before and after counts were padded.

    ``padded`` names the groups of channels that are, with their counts; ``of_next_multiple`` is the rate over that of
    the next multiple of eight.
    """

    network: Literal["features", "channels"]
    tree: Literal["before", "after"]
    count: int
    fps: float
    cycles: int
    status: str
    limited_by: str
    padded: str
    cpu_seconds: float
    of_next_multiple: float


class BoardRow(Measured, MaybeCosts):
    """The faster of streaming and engine for a network on a board; ``status`` of its plan, or what keeps it out.

    ``fps_without`` and ``bram18_without`` are of the search without UltraRAM, on boards that have it.
    """

    network: str
    board: str
    architecture: str
    clock_mhz: float
    status: str
    cpu_seconds: float
    uram: NotRequired[int]
    fps_without: NotRequired[float]
    bram18_without: NotRequired[int]


class ResidualRow(Measured):
    """A residual block with sums or with quantized operands; ratios are to the latter."""

    block: str
    operands: Literal["quantized", "sums"]
    target_fps: float | None
    fps: float
    lut: int
    dsp: int
    bram18: int
    lut_ratio: float | None
    dsp_ratio: float | None
    sum_bits: int
    lower_seconds: float
    csim_mismatches: int | None


class NetworkSearchRow(Measured):
    """A figure of a search of networks: ``value`` in ``unit``, of so many ``networks`` of a ``space``.

    No ``cpu_seconds`` where processes that live on did a part of the work.
    """

    space: str
    what: str
    networks: int
    value: float
    unit: str
    seconds: float
    cpu_seconds: NotRequired[float]


class BitsFrontRow(Measured):
    """A network with bits a layer on its fastest engine; ``layers`` are those of the convolutions, in order.

    ``loss`` is that of the table of single layers over the loss of all layers in 4 bits.
    """

    network: str
    bits: str
    fps: float
    gap: NotRequired[float]
    engine_bits: int
    filter_bits: int
    mean_bits: float
    agreement: float
    images: int
    top1: float
    float_top1: float
    loss: NotRequired[float]
    layers: NotRequired[str]


BITS_FRONT = Results("bits_front", (BitsFrontRow,), ("network", "bits"))
BOARDS = Results("boards", (BoardRow,), ("network", "board"))
EFFICIENTNET = Results("efficientnet", (EfficientnetRow,), ("bits",))
ENGINE = Results("engine", (EngineRow, NoEngineRow), ("network", "weight_bits", "variant"))
EXPLORER = Results("explorer", (OracleRow, ExploredRow, PeerRow, SearchRow, RecostedRow), ("kind", "network", "tool"))
RATES = Results("rates", (RateRow,), ("network", "tree", "count"))
RESIDUALS = Results("residuals", (ResidualRow,), ("block", "operands", "target_fps"))
SEARCH = Results("search", (NetworkSearchRow,), ("space", "what"))
