"""The parts of a published row, by kind: those that are fitted, and those that are counted by rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.calibration import finn_kinds as finn
from benchmarks.calibration import hls4ml_kinds as hls4ml
from benchmarks.calibration.rows import Row
from toolchain.units.cost_model.coefficients import CSYNTH, stage_class


@dataclass(frozen=True)
class Description:
    """Parts of a unit at one stage class for the resources that are fitted, and counts for the others."""

    family: str
    stage: str
    fitted: Mapping[str, Mapping[str, float]]
    counted: Mapping[str, int] = field(default_factory=dict)


def describe(row: Row) -> Description | None:
    """The parts of a row, or None where its kind is unknown or its shape is not given."""
    try:
        return _describe(row)
    except KeyError:
        return None


def _describe(row: Row) -> Description | None:
    stage = stage_class(row.stage)
    match row.kind:
        case "mvau" | "mvau_rtl":
            return _matrix_vector(finn.MatrixVector.of(row), stage)
        case "swg":
            return _sliding_window(finn.SlidingWindow.of(row), stage)
        case "threshold":
            lut = finn.threshold_csynth(row) if stage == CSYNTH else finn.threshold_placed(row)
            return Description("threshold", stage, {"LUT": lut, "FF": finn.threshold_ff(row, stage)}, _none())
    return _hls4ml(row) if stage == CSYNTH else None


def _matrix_vector(unit: finn.MatrixVector, stage: str) -> Description:
    lut = finn.matrix_vector_csynth(unit) if stage == CSYNTH else finn.matrix_vector_placed(unit)
    fitted = {"LUT": lut, "FF": finn.matrix_vector_placed_ff(unit)}
    return Description("mvau", stage, fitted, {"DSP": unit.dsp, "BRAM18": unit.bram18(stage)})


def _sliding_window(unit: finn.SlidingWindow, stage: str) -> Description:
    lut = finn.sliding_window_csynth(unit) if stage == CSYNTH else finn.sliding_window_placed(unit)
    fitted = {"LUT": lut, "FF": finn.sliding_window_ff(unit)}
    return Description("swg", stage, fitted, {"DSP": 0, "BRAM18": unit.bram18})


def _hls4ml(row: Row) -> Description | None:
    if row.kind == "dense":
        layer = hls4ml.dense(row)
        counted = {"DSP": hls4ml.dense_dsp(layer), "BRAM18": hls4ml.dense_bram18(layer)}
        family = "dense-unrolled" if layer.unrolled else "dense-shared"
        return Description(family, CSYNTH, {"LUT": hls4ml.dense_lut(layer), "FF": hls4ml.dense_ff(layer)}, counted)
    if row.kind in ("conv1d", "conv2d"):
        layer, _ = hls4ml.convolution(row)
        counted = {"DSP": hls4ml.dense_dsp(layer), "BRAM18": hls4ml.convolution_bram18(row)}
        fitted = {"LUT": hls4ml.convolution_lut(row), "FF": hls4ml.convolution_ff(row)}
        return Description("convolution-unrolled" if layer.unrolled else "convolution-shared", CSYNTH, fitted, counted)
    if row.kind in ("act", "batchnorm"):
        function = row.text("fn", row.kind).split("_me")[0].split("_stable")[0]
        element = hls4ml.element_parts(row)
        counted = {"BRAM18": hls4ml.table_bram18(row)}
        return Description(f"{function}-{row.text('io')}", CSYNTH, {"LUT": element}, counted)
    return None


def _none() -> dict[str, int]:
    return {"DSP": 0, "BRAM18": 0}
