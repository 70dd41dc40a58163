"""Columns of what was trained: accuracy by data, method and bits, and what an accelerator takes."""

from __future__ import annotations

from typing import Literal, NotRequired

from benchmarks.recorder import Results
from benchmarks.schemas.base import Costs, MaybeCosts, Measured


class FloatRunRow(Measured):
    """A network trained on real data."""

    name: str
    data: str
    model: str
    weight_bits: int
    act_bits: int
    epochs: int
    float_top1: float | None
    top1: float
    train_seconds: float


class MainFlowRow(FloatRunRow, Costs):
    """A network trained, exported and simulated."""

    csim_top1: float | None
    csim_images: int
    csim_mismatches: int
    csim_seconds: float
    qonnx_code_mismatches: int | None
    qonnx_top1_agreement: float | None
    fps: int
    latency_ms: float
    bound_fps: int
    solver: str
    gap: float | None


class NitiRunRow(Measured):
    """Integer-only training beside float; seconds of processor time and megabytes of a step."""

    name: str
    data: str
    model: str
    width: float
    variant: str
    fraction_bits: int
    bias: NotRequired[bool]
    seed: int
    epochs: int
    batch: int
    threads: int
    float_top1: float
    top1: float
    frozen_top1: float
    qonnx_top1: float
    step_seconds: float
    float_step_seconds: float
    step_mb: float
    float_step_mb: float


class NitiExportRow(Measured, Costs):
    """The accelerator of such a network, and of one trained in float."""

    name: str
    data: str
    model: str
    method: str
    board: str
    epochs: int
    csim_top1: float | None
    csim_images: int
    csim_mismatches: int
    qonnx_code_mismatches: int | None
    fps: int


class PruningCase(Measured):
    """A pruned network; ``budget`` is a share of MACs, cycles, or dst's alpha, as ``budget_kind`` says."""

    data: str
    model: str
    method: str
    budget: float
    budget_kind: Literal["macs", "cycles", "alpha"]
    seed: int
    epochs: int


class DstRow(PruningCase):
    """Dynamic sparse training: shares kept by layer, accuracy and share after every epoch, and what the paper has."""

    part: Literal["dst"]
    kept_params: int
    kept_share: float
    kept_share_last: NotRequired[float]
    kept_share_least: NotRequired[float]
    kept_macs: int
    float_top1: None
    top1: float
    best_top1: float
    layers: str
    curve: str
    published: str | None
    seconds: int


class PrunedRow(PruningCase, Costs):
    """A network pruned, tuned, quantized and planned."""

    part: Literal["budgets", "combined"]
    bits: str
    kept_params: int
    kept_macs: int
    kept_share: float
    budget_error: float | None
    weight_sparsity: float
    float_epochs: int
    float_top1: float
    precision: NotRequired[str]
    pruned_top1: float
    tuned_top1: float
    top1: float
    seconds: float
    fps: float


class RefusedRow(PruningCase):
    """The reason why a method cannot meet the budget."""

    part: Literal["budgets"]
    bits: str
    refused: str


class QcqpRow(PruningCase):
    """Channels chosen by an integer program: objectives and bound; cycles predicted and simulated."""

    part: Literal["qcqp"]
    weights: str
    bits: str
    kept_macs: int
    kept_share: float
    used: int
    bound_of_budget: int
    objective: float
    greedy_objective: float
    whole_objective: float
    bound: float
    gap: float
    seconds: float
    dense_cycles_predicted: int
    cycles_predicted: int | None
    dense_cycles: NotRequired[int]
    cycles: NotRequired[int]
    channels: str


class QuantizationRow(Measured, MaybeCosts):
    """A network trained with a method; what its accelerator takes is known of the first seed."""

    data: str
    model: str
    method: str
    variant: str
    weight_bits: int
    act_bits: int
    seed: int
    epochs: int
    float_epochs: int
    float_top1: float
    top1: float
    precision: NotRequired[str]
    weight_sparsity: float
    seconds: float
    device: str


class ClaimRow(Measured, MaybeCosts):
    """A method from a trained float network, or in integers; ``stages`` is JSON, shares are of the parent's.

    ``teacher_top1`` is that of a teacher that is not the parent. ``trained_on`` is the GPU, where there was one:
    ``hardware`` then made the row alone.
    """

    part: Literal["quantize", "prune", "integers"]
    method: str
    bits: str
    budget: str
    seed: int
    data: str
    model: str
    epochs: int
    parent: NotRequired[str]
    parent_epochs: NotRequired[int]
    teacher_top1: NotRequired[float]
    refused: NotRequired[str]
    float_top1: NotRequired[float]
    top1: NotRequired[float]
    stages: NotRequired[str]
    macs: NotRequired[float]
    params: NotRequired[float]
    weight_sparsity: NotRequired[float]
    seconds: NotRequired[float]
    trained_on: NotRequired[str]


class NoiseRow(Measured):
    """Accuracy under noise of a kind, in steps of the quantizers: mean over its seeds and standard error."""

    data: str
    model: str
    method: str
    weight_bits: int
    act_bits: int
    epochs: int
    trained_noise: float
    kind: str
    noise: float
    seeds: int
    top1: float
    error: float


class StepTimeRow(Measured):
    """Milliseconds of processor time of a training step, medians over the turns.

    ``over_float`` and its quartiles (low, high) are of the ratios within a turn to the step of the float network at
    the same precision.
    """

    model: str
    data: str
    batch: int
    method: str
    bits: int
    threads: int
    precision: str
    turns: int
    ms: float
    over_float: float
    over_float_low: float
    over_float_high: float
    over_brevitas: float
    over_float32: float


class RecipeRateRow(Measured):
    """Images a second of processor time that a recipe trains with, batches and augmentation included.

    The figures are median and quartiles (low, high) over its steps.
    """

    recipe: str
    model: str
    data: str
    batch: int
    threads: int
    precision: str
    steps: int
    images_per_second: float
    low: float
    high: float


class OwnNetworkRow(Measured, Costs):
    """A network of others' making: accuracy behind every stage on all test samples, the shares that ``pruned`` has left
    of the whole network, and what the C simulation says of ``images`` and of units driven alone.
    """

    network: str
    what: str
    data: str
    pruned: str
    seed: int
    bits: str
    epochs: int
    float_top1: float
    pruned_top1: float
    top1: float
    kept_macs: float
    kept_params: float
    train_seconds: float
    csim_top1: float | None
    images: int
    vectors: int
    mismatches: int
    ties: int
    fps: float


MAIN_FLOW = Results("main_flow", (MainFlowRow, FloatRunRow), ("name",))
OWN_NETWORKS = Results("own_networks", (OwnNetworkRow,), ("network", "seed"))
NITI = Results("niti", (NitiRunRow, NitiExportRow), ("name",))
PRUNING = Results(
    "pruning",
    (DstRow, PrunedRow, RefusedRow, QcqpRow),
    ("part", "data", "model", "method", "budget", "budget_kind", "seed", "epochs", "bits"),
)
QUANTIZATION = Results(
    "quantization",
    (QuantizationRow,),
    ("data", "model", "method", "variant", "weight_bits", "act_bits", "epochs", "seed"),
)
CLAIMS = Results(
    "claims", (ClaimRow,), ("part", "method", "bits", "budget", "seed", "data", "model", "epochs", "parent")
)
NOISE = Results("quantization_noise", (NoiseRow,), ("trained_noise", "kind", "noise"))
STEP_TIMES = Results(
    "quantization_steps", (StepTimeRow, RecipeRateRow), ("model", "data", "method", "precision", "recipe")
)
