"""The facts of one build, as report.json holds them. Scripts read these keys: add to them, rename none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from toolchain.errors import UserError
from toolchain.records import Record, parse_record

T = TypeVar("T")
Several = Annotated[tuple[T, ...], Field(strict=False)]  # a JSON list
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ModelFacts(Record):
    """The trained network as it came in."""

    file: str
    sha256: str
    macs: Count
    params: Count


class InputFacts(Record):
    """The host's input for a frame of ``shape`` (H, W, C), and the codes that it makes of it.

    ``type`` tells both in words. A number x becomes the code round(clamp((x - mean) / deviation / scale + zero)), all
    of a channel each or of all channels; without ``mean`` and ``deviation`` it is taken as it is. ``codes`` are the
    least and the largest code that the host can send.
    """

    type: str
    shape: Several[Count]
    scale: Several[float]
    zero: Several[float]
    mean: Several[float] | None = None
    deviation: Several[float] | None = None
    codes: Several[int]


class OutputFacts(Record):
    """An output of the accelerator: a frame of ``shape`` (H, W, C), codes of ``type``.

    The accuracy is that of the ``classifier``.
    """

    name: str
    shape: Several[Count]
    type: str
    classifier: bool


class Estimate(Record):
    """Rate and latency of the chosen accelerator. ``limited_by``: the node, stream or resource that sets its rate."""

    fps: Amount
    latency_ms: Amount
    cycles_per_frame: Count
    bytes_per_frame: Count
    limited_by: str = ""


class Bound(Record):
    """The best any design of this bit width could do on this board.

    ``ceilings`` is the frame rate that each resource by itself allows; the lowest of them is ``fps``.
    """

    fps: Amount
    limited_by: str
    ceilings: dict[str, Amount] = Field(default_factory=dict)


class Usage(Record):
    """A resource: what the accelerator uses, what it may use, what the device holds."""

    used: Count
    budget: Count
    available: Count


class ResourceUse(Record):
    """Usage of every resource, in the order that reports show."""

    lut: Usage
    ff: Usage
    dsp: Usage
    bram18: Usage
    uram: Usage = Usage(used=0, budget=0, available=0)

    def items(self) -> Iterator[tuple[str, Usage]]:
        """Key and usage of each resource that the device has; of one that it lacks where it is used all the same."""
        for kind in type(self).model_fields:
            usage: Usage = getattr(self, kind)
            if usage.available or usage.used:
                yield kind, usage


class SolverFacts(Record):
    """Facts about the search of the plan; ``gap`` is relative, None without a proven bound."""

    name: str
    status: str
    gap: Amount | None
    seconds: Amount


class Verification(Record):
    """Comparisons of the integer network with the QONNX executor and with the C simulation; None: not run.

    Beside the images, ``vectors`` drove the units one by one; ``vector_mismatches`` of their answers' codes are wrong.
    A code that differs from the float32 executor is explained when it lies within float32 rounding of a tie;
    ``qonnx_unexplained`` counts the others.
    """

    images: Count
    qonnx_top1_agreement: Share | None
    qonnx_code_mismatches: Count | None
    csim_mismatches: Count | None
    csim_seconds: Amount | None
    qonnx_unexplained: Count = 0
    vectors: Count = 0
    vector_mismatches: Count = 0
    first_deviation: str | None = None


class Hls4ml(Record):
    """The project that hls4ml made of the same network, on ``images``: how far it is from the integer network.

    Of ``outputs`` values ``mismatches`` round to another code, ``classes`` images have another top-1; ``max_deviation``
    is the largest difference of real values, ``max_steps`` in codes. ``reuse`` is the factor asked for by layer.
    """

    version: str
    io_type: str
    images: Count
    outputs: Count
    mismatches: Count
    classes: Count
    max_deviation: Amount
    max_steps: Amount
    reuse: dict[str, Count]
    compile_seconds: Amount
    simulate_seconds: Amount


class Accuracy(Record):
    """Share of ``images`` whose class the accelerator's network finds.

    ``float_top1`` is that of ``float_images`` test images which the run's network found before it was quantized.
    """

    top1: Share
    images: Count
    float_top1: Share | None = None
    float_images: Count | None = None


class Training(Record):
    """Training of the network, out of metrics.json."""

    data: str
    methods: Several[str]
    weight_bits: Amount
    act_bits: Amount
    weight_sparsity: Share | None = None


class Fifos(Record):
    """The streams between the units: how many, their storage in bits, and the deepest in words."""

    streams: Count
    bits: Count
    deepest: Count


class Counts(Record):
    """LUTs, flip-flops, DSP48E2 slices, 18 kbit block RAMs and UltraRAMs."""

    lut: Count
    ff: Count
    dsp: Count
    bram18: Count
    uram: Count = 0


class Counted(Record):
    """Resources as ``tool`` counts them in the SystemVerilog of ``units`` units, with the streams that they write.

    ``estimated`` and ``counted`` are the sums over these units, ``used`` is that of the whole design with the counts in
    place of their estimates. ``failed`` maps the units that could not be counted to the reason.
    """

    tool: str
    units: Count
    estimated: Counts
    counted: Counts
    used: Counts
    failed: dict[str, str] = Field(default_factory=dict)


class Span(Record):
    """Integers from ``low`` to ``high`` in a type of ``bits`` bits, of which ``needed`` hold them all.

    ``zeros`` is the share of them that is 0; None where they are not known one by one.
    """

    low: int
    high: int
    bits: Count
    needed: Count
    zeros: Share | None = None


class NodeFacts(Record):
    """One unit: ``cycles`` per frame by the model, ``counted_cycles`` by the C simulation (None: not counted).

    ``counted`` are the resources of its SystemVerilog beside the estimates ``lut`` to ``uram``; None: not counted.
    ``parallelism`` maps a name (PE, SIMD, lanes_in, ...) to a number. ``bits`` is a text such as "s4 x u4 -> s14".
    ``vectors`` drove the unit by itself, None: it was not. ``zero_weight_luts`` are the LUTs that zero weights save a
    unit whose weights are constants; None: not such a unit. ``inputs`` are the units it reads, none where they are not
    told; ``weights`` is what its weights span, ``values`` what its output is proven to span for every input.
    """

    name: str
    op: str
    cycles: Count
    counted_cycles: Count | None = None
    lut: Count
    ff: Count
    dsp: Count
    bram18: Count
    uram: Count = 0
    counted: Counts | None = None
    parallelism: dict[str, int]
    bits: str = ""
    vectors: Count | None = None
    zero_weight_luts: Count | None = None
    inputs: Several[str] = ()
    weights: Span | None = None
    values: Span | None = None
    origin: Several[str]


class Measured(Record):
    """Measurements of a board and of Vivado's placed design; None: not measured.

    ``fps`` are the accelerator's in batches of ``batch`` frames, ``end_to_end_fps`` those of images to classes.
    ``wrong_codes`` of ``codes`` differ from the integer network. ``resources`` are the whole design's, with the shell,
    ``accelerator`` its own. Slack is the worst; below zero the clock is not met.
    """

    clock_mhz: Amount | None = None
    fps: Amount | None = None
    latency_ms: Amount | None = None
    end_to_end_fps: Amount | None = None
    batch: Count | None = None
    codes: Count | None = None
    wrong_codes: Count | None = None
    top1: Share | None = None
    images: Count | None = None
    resources: dict[str, Count] | None = None
    accelerator: dict[str, Count] | None = None
    slack_ns: float | None = None
    hold_slack_ns: float | None = None
    board_software: str = ""
    vivado: str = ""


class Step(Record):
    """Something to do next, and the command that does it."""

    title: str
    command: str


class Report(Record):
    """Everything a build tells; ``source`` is the digest of the graph file, ``tool`` maps programs to versions.

    ``design`` is the digest of the accelerator, which hls/manifest.json and simulation.json carry too.
    ``classes`` are the names of the classifier's channels in their order, none where nobody has named them.
    """

    name: str
    model: ModelFacts
    board: str
    architecture: Literal["streaming", "engine"]
    clock_mhz: Annotated[float, Field(gt=0)]
    estimate: Estimate
    bound: Bound
    resources: ResourceUse
    solver: SolverFacts
    verification: Verification
    accuracy: Accuracy | None
    input: InputFacts | None = None
    outputs: Several[OutputFacts] = ()
    classes: Several[str] = ()
    nodes: Several[NodeFacts]
    training: Training | None = None
    fifo: Fifos | None = None
    hls4ml: Hls4ml | None = None
    counted: Counted | None = None
    measured: Measured | None = None
    notes: Several[str] = ()
    next_steps: Several[Step] = ()
    tool: dict[str, str] = Field(default_factory=dict)
    source: str = ""
    design: str = ""


def to_json(report: Report) -> str:
    """The report as JSON, keys in the order of the classes above."""
    return json.dumps(report.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str, *, where: str = "report.json") -> Report:
    """The report that ``to_json`` wrote; ``where`` is named in the error.

    Raises:
        UserError: no JSON, or a key is unknown, missing or of another type.
    """
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"not valid JSON: {error}", where=where, hint=_HINT) from error
    if not isinstance(table, Mapping):
        raise UserError("not a report: the file holds no JSON object", where=where, hint=_HINT)
    return parse_record(Report, table, where=where)


def read_report(path: Path) -> Report:
    """The report in the file ``path``, or in report.json when ``path`` is a build folder.

    Raises:
        UserError: the file is missing or is no report.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the report: {error.strerror}", where=str(file), hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise UserError("not a text file", where=str(file), hint=_HINT) from error
    return from_json(text, where=str(file))


_HINT = "give the report.json that `fpgaflow export` wrote"
