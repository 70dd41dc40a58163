"""Columns of what the tool does with networks: plans, exports, simulations, files of others, and its cost model."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from benchmarks.recorder import Results
from benchmarks.schemas.base import Costs, MaybeCosts, Measured


class CaseRow(Measured):
    """A small ONNX file in the command line: what check and export said, and the verdict on both."""

    case: str
    file: str
    check: str
    exit: int
    seconds: float
    peak_mb: int
    found: str
    verdict: Literal["exact", "refused", "WRONG"]


class CostModelRow(Measured):
    """Errors in percent of predictions for ``n`` of ``rows`` published results; no errors of results that are all 0."""

    kind: str
    stage: str
    resource: str
    n: int
    rows: int
    mape: float | None
    median_ape: float | None
    bias: float | None
    exact: float
    finn_mape: float | None
    fitted_mape: float | None


class CsimSpeedRow(Measured):
    """A C simulation of a network: how fast, and how near to the QONNX file; ratios are to our own on all threads."""

    network: str
    tool: str
    io: str
    precision: str
    threads: int
    compile_seconds: float
    compile_cpu_seconds: float
    images: int
    run_seconds: float
    mmac_per_second: float
    mmac_per_cpu_second: float
    exact: float
    top1_agreement: float
    largest_error: float
    output_std: float
    ratio: float
    cpu_ratio: float


class DeployRow(Measured):
    """Rates of packing codes, in 10^9 codes a second of processor time."""

    bits: int
    lanes: int
    frames: int
    codes_a_frame: int
    gigacodes: float
    numpy_gigacodes: float
    over_numpy: float
    finn_gigacodes: NotRequired[float]
    over_finn: NotRequired[float]


class TrialRow(Measured):
    """The driver's answers on the mock board, all batches together; or why the architecture has not the network."""

    network: str
    architecture: Literal["streaming", "engine"]
    images: NotRequired[int]
    codes: NotRequired[int]
    wrong_codes: NotRequired[int]
    refused: NotRequired[str]
    cpu_seconds: float


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


class ExportTimeRow(Measured):
    """CPU seconds of an export beside those of another commit: medians over the ``pairs``."""

    network: str
    what: str
    pairs: int
    images: int
    baseline_commit: str
    commit: str
    baseline_cpu: float
    cpu: float
    ratio: float


class StageTimeRow(Measured):
    """CPU seconds of a stage, and its share of all of them."""

    network: str
    what: str
    cpu: float
    share: float


class FuzzRow(Measured):
    """Random QONNX files: exact, refused by reason, and seeds that failed or whose verdicts differ, with the reason."""

    first: int
    graphs: int
    seeds: str
    failures: int
    verdicts_that_differ: int
    refusals: int
    exact: int
    refused: dict[str, int]
    failed: list[list[int | str]]
    differs: list[list[int | str]]
    codes: int
    ties: int
    seconds: float
    blocks: list[int]


class KillsRow(Measured):
    """A command ended at random moments: it had ended, the old build stood, the new one did, or neither.

    By SIGTERM or SIGKILL, or by a disk that filled at a random byte of what the command writes.
    """

    stage: str
    how: Literal["signal", "full disk"]
    kills: int
    ended: int
    old: int
    new: int
    wrong: int


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


class LintRow(Measured):
    """A project that the lint read: sources of units, lines with the headers, memories that a loop loads and stores."""

    network: str
    architecture: Literal["streaming", "engine"]
    sources: int
    lines: int
    findings: int
    memories: int
    cpu_seconds: float


class MemoryRow(Measured):
    """Peak memory of an export: of all its processes, and of the largest; ``ratio`` to that of another checkout."""

    network: str
    tree: Literal["this", "baseline"]
    options: str
    peak_mb: int
    largest_mb: int
    exit_code: int
    seconds: float
    said: str
    ratio: NotRequired[float]


class ModelRow(Measured):
    """A network of others: its codes beside QONNX's, the evaluator's speed, its accuracy, hls4ml's project of it."""

    model: str
    ops: str
    bits: str
    nodes: int
    params: int
    macs: int
    lower_seconds: float
    images: int
    codes: int
    qonnx_code_mismatches_at_ties: int
    furthest_from_a_tie_of_float32_error: float
    qonnx_top1_agreement: float
    evaluator_images_per_second: float
    qonnx_images_per_second: float
    evaluator_speedup: float
    evaluator_speedup_cpu: float
    top1: NotRequired[float]
    top1_last_of_equals: NotRequired[float]
    images_top1: NotRequired[int]
    expected_output_matches_of_4: NotRequired[int]
    csim_mismatches: NotRequired[int]
    csim_images: NotRequired[int]
    export_seconds: NotRequired[float]
    hls4ml_as_documented: NotRequired[str]
    hls4ml_backend: NotRequired[str]
    hls4ml_mismatches: NotRequired[int]
    hls4ml_outputs: NotRequired[int]
    hls4ml_classes: NotRequired[int]
    hls4ml_max_steps: NotRequired[float]
    hls4ml_compile_seconds: NotRequired[float]


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


class StaticQuantizationRow(Measured):
    """A float network quantized by onnxruntime: codes and values that differ from its own run of the file."""

    network: str
    format: Literal["QDQ", "QOperator"]
    types: Literal["U8S8", "S8S8"]
    operations: str
    images: int
    codes: int
    ties: int
    furthest_from_a_tie_of_float32_error: float
    outputs: int
    outputs_apart: int
    csim_mismatches: int
    ort_default_apart: int
    fps: int
    seconds: float


class UnitLutRow(Measured):
    """LUTs that yosys counts of a unit or an operator, and those predicted."""

    what: str
    shape: str
    luts: int
    predicted: float


class RtlNetworkRow(Measured):
    """A network in SystemVerilog over ``runs`` runs of ``images`` images; ``unit`` is empty, the interval in cycles."""

    network: str
    unit: Literal[""]
    images: int
    runs: int
    wrong_codes: int
    interval: int
    model_interval: int
    equal_frame_ends: int
    build_seconds: float
    build_cpu_seconds: float
    frames_a_second: float
    cycles_a_second: int


class Compared(Measured):
    """Resources that the cost model estimated on one date and that yosys counted on the other, ``date``."""

    estimated_on: str
    estimated_lut: int
    estimated_ff: int
    estimated_dsp: int
    estimated_bram18: int
    counted_lut: int
    counted_ff: int
    counted_dsp: int
    counted_bram18: int


class ProductColumns(TypedDict):
    """The parts by which a product with weights in a memory is fitted; a ``folding`` is left out as a whole."""

    folding: NotRequired[str]
    parts: NotRequired[dict[str, float]]


class RtlUnitRow(Compared, ProductColumns):
    """A unit with the streams that it writes."""

    network: str
    unit: str
    op: str


class RtlCountedRow(Compared):
    """The ``units`` of a network: ``designs`` unlike ones, of which so many were ``cached``, and what counting took.

    ``peak_mb`` is the largest process's.
    """

    network: str
    unit: Literal["all"]
    units: int
    designs: int
    cached: int
    threads: int
    seconds: float
    cpu_seconds: float
    peak_mb: int


class CountedPlanRow(Compared):
    """A plan by ``costs``, both ends of the accelerator included in what it takes; ``fits`` by its counts.

    Of a plan by counts ``designs`` are those that yosys counted for it, none where it was ``warm``.
    """

    network: str
    costs: Literal["estimated", "counted"]
    warm: bool
    fps: float
    cycles: int
    status: str
    budget_lut: int
    fits: bool
    designs: NotRequired[int]
    threads: NotRequired[int]
    seconds: NotRequired[float]
    cpu_seconds: NotRequired[float]
    peak_mb: NotRequired[int]


class ForecastRow(Measured):
    """A plan by estimates, and the LUTs that fits to known counts give it."""

    network: str
    costs: Literal["forecast"]
    fps: float
    cycles: int
    estimated_lut: int
    forecast_lut: int
    budget_lut: int


class UserNetworkRow(Measured, Costs):
    """A network of a kind that users bring: wrong codes of the C simulation of ``images`` and of units driven alone.

    ``engine`` tells why the engine does not run it; ``top1`` is of a trained network, on those images.
    """

    network: str
    what: str
    input: str
    top1: float | None
    outputs: str
    nodes: int
    params: int
    macs: int
    architecture: str
    images: int
    vectors: int
    mismatches: int
    ties: int
    fps: float
    latency_ms: float
    solver_status: str
    gap: float | None
    export_seconds: float
    engine: str


class UnitCountRow(Compared, ProductColumns):
    """A unit of the conformance grids without its FIFOs, ``shape`` in words."""

    kind: str
    unit: str
    shape: str


class FinnMvuRow(Measured):
    """A matrix-vector unit of both tools with the same weights in the same memory, both counted by yosys.

    ``ratio`` columns are ours over theirs; ``cycles`` those of a vector, of both.
    """

    bits: int
    inputs: int
    outputs: int
    simd: int
    pe: int
    cycles: int
    products_per_dsp: int
    lut: int
    ff: int
    dsp: int
    bram18: int
    finn_lut: int
    finn_ff: int
    finn_dsp: int
    finn_bram18: int
    lut_ratio: float
    ff_ratio: float


BITS_FRONT = Results("bits_front", (BitsFrontRow,), ("network", "bits"))
BOARDS = Results("boards", (BoardRow,), ("network", "board"))
CASES = Results("cases", (CaseRow,), ("case", "file"))
COST_MODEL = Results("cost_model", (CostModelRow,), ("kind", "stage", "resource"))
CSIM_SPEED = Results("csim_speed", (CsimSpeedRow,), ("network", "tool", "io", "precision", "threads"))
DEPLOY = Results("deploy", (DeployRow,), ("bits", "lanes"))
EFFICIENTNET = Results("efficientnet", (EfficientnetRow,), ("bits",))
ENGINE = Results("engine", (EngineRow, NoEngineRow), ("network", "weight_bits", "variant"))
EXPLORER = Results("explorer", (OracleRow, ExploredRow, PeerRow, SearchRow, RecostedRow), ("kind", "network", "tool"))
EXPORT_TIME = Results("export_time", (ExportTimeRow, StageTimeRow), ("network", "what", "commit"))
FUZZ = Results("fuzz", (FuzzRow,), ("first",))
FUZZ_CURVES = Results("fuzz_curves", (FuzzRow,), ("first",))
FUZZ_GEOMETRY = Results("fuzz_geometry", (FuzzRow,), ("first",))
FUZZ_TOKENS = Results("fuzz_tokens", (FuzzRow,), ("first",))
KILLS = Results("kills", (KillsRow,), ("stage", "how"))
LINT = Results("lint", (LintRow,), ("network", "architecture"))
MEMORY = Results("memory", (MemoryRow,), ("network", "tree"))
MODELS = Results("models", (ModelRow,), ("model",))
RATES = Results("rates", (RateRow,), ("network", "tree", "count"))
RESIDUALS = Results("residuals", (ResidualRow,), ("block", "operands", "target_fps"))
SEARCH = Results("search", (NetworkSearchRow,), ("space", "what"))
STATIC_QUANTIZATION = Results("static_quantization", (StaticQuantizationRow,), ("network", "format", "types"))
TRIALS = Results("trials", (TrialRow,), ("network", "architecture"))
UNIT_COUNTS = Results("unit_counts", (UnitCountRow,), ("kind", "unit"))
UNIT_LUTS = Results("unit_luts", (UnitLutRow,), ())
COUNTED_PLANS = Results("counted_plans", (CountedPlanRow, ForecastRow), ("network", "costs", "warm"))
FINN_MVU = Results("finn_mvu", (FinnMvuRow,), ("bits", "inputs", "outputs", "simd", "pe"))
RTL = Results("rtl", (RtlNetworkRow, RtlUnitRow, RtlCountedRow), ("network", "unit", "cached"))
USER_NETWORKS = Results("user_networks", (UserNetworkRow,), ("network",))
