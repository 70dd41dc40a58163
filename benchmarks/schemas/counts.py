"""Columns of costs: the model against published and counted units, and simulated SystemVerilog."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from benchmarks.recorder import Results
from benchmarks.schemas.base import Measured


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


class PartColumns(TypedDict):
    """The parts by which a unit is fitted to others of the same ``fit``; a ``folding`` is left out as a whole."""

    fit: NotRequired[str]
    folding: NotRequired[str]
    parts: NotRequired[dict[str, float]]


class RtlUnitRow(Compared, PartColumns):
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


class UnitCountRow(Compared, PartColumns):
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


COST_MODEL = Results("cost_model", (CostModelRow,), ("kind", "stage", "resource"))
UNIT_COUNTS = Results("unit_counts", (UnitCountRow,), ("kind", "unit"))
UNIT_LUTS = Results("unit_luts", (UnitLutRow,), ())
COUNTED_PLANS = Results("counted_plans", (CountedPlanRow, ForecastRow), ("network", "costs", "warm"))
FINN_MVU = Results("finn_mvu", (FinnMvuRow,), ("bits", "inputs", "outputs", "simd", "pe"))
RTL = Results("rtl", (RtlNetworkRow, RtlUnitRow, RtlCountedRow), ("network", "unit", "cached"))
