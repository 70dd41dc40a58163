"""Columns of what the tool does with networks: exports, simulations, files of others."""

from __future__ import annotations

from typing import Literal, NotRequired

from benchmarks.recorder import Results
from benchmarks.schemas.base import Costs, Measured


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


class ConverterRow(Measured):
    """A small ONNX file in one of three tools: whether it takes the file, and whether its values are the executor's."""

    case: str
    file: str
    what: str
    tool: str
    taken: Literal["yes", "in part", "no"]
    exact: Literal["yes", "no", ""]
    found: str


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


class StaticQuantizationRow(Measured):
    """A float network quantized by onnxruntime: codes and values that differ from its own run of the file.

    Wrong answers of the C simulation and of the engine's; ``engine_refused`` tells why the engine does not run it.
    """

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
    engine_mismatches: int | None
    engine_refused: str
    ort_default_apart: int
    fps: int
    seconds: float


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


CASES = Results("cases", (CaseRow,), ("case", "file"))
CONVERTERS = Results("converters", (ConverterRow,), ("case", "file", "tool"))
CSIM_SPEED = Results("csim_speed", (CsimSpeedRow,), ("network", "tool", "io", "precision", "threads"))
DEPLOY = Results("deploy", (DeployRow,), ("bits", "lanes"))
EXPORT_TIME = Results("export_time", (ExportTimeRow, StageTimeRow), ("network", "what", "commit"))
FUZZ = Results("fuzz", (FuzzRow,), ("first",))
FUZZ_CURVES = Results("fuzz_curves", (FuzzRow,), ("first",))
FUZZ_GEOMETRY = Results("fuzz_geometry", (FuzzRow,), ("first",))
FUZZ_TOKENS = Results("fuzz_tokens", (FuzzRow,), ("first",))
KILLS = Results("kills", (KillsRow,), ("stage", "how"))
LINT = Results("lint", (LintRow,), ("network", "architecture"))
MEMORY = Results("memory", (MemoryRow,), ("network", "tree"))
MODELS = Results("models", (ModelRow,), ("model",))
STATIC_QUANTIZATION = Results("static_quantization", (StaticQuantizationRow,), ("network", "format", "types"))
TRIALS = Results("trials", (TrialRow,), ("network", "architecture"))
USER_NETWORKS = Results("user_networks", (UserNetworkRow,), ("network",))
