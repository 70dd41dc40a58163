"""Parts of FINN's units: matrix-vector unit, sliding window, threshold unit.

A part's name is its coefficient's name. At csynth the parts are HLS's operator counts, else the placed ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from benchmarks.calibration.rows import Row
from toolchain.units.cost_model import parts

Parts = dict[str, float]


@dataclass(frozen=True)
class MatrixVector:
    """A FINN matrix-vector-activate unit: ``matrix`` is (inputs, outputs), ``lanes`` is (SIMD, PE)."""

    matrix: tuple[int, int]
    lanes: tuple[int, int]
    weight_bits: int
    act_bits: int
    sum_bits: int
    steps: int
    streamed: bool
    free_binding: bool

    @classmethod
    def of(cls, row: Row) -> MatrixVector:
        """The unit a row describes; raises KeyError where the row does not give its shape."""
        matrix = row.integer("MW"), row.integer("MH")
        lanes = row.integer("SIMD"), row.integer("PE")
        weight, act = row.integer("w_bits"), row.integer("a_bits")
        default = ceil(log2(matrix[0])) + parts.product_bits(weight, act)
        out = row.type_bits("outputDataType") or row.integer("out_V_bits", 0) // lanes[1]
        active = row.text("noActivation", "0" if "out_V_bits" in row.fields else "1") == "0"
        return cls(
            matrix,
            lanes,
            weight,
            act,
            row.type_bits("accDataType", row.integer("OUT_BIT", default)),
            steps=2**out - 1 if active and out <= 10 else 0,
            streamed="decoupled" in row.text("mem_mode"),
            free_binding=row.text("resType", "lut") != "lut" and min(weight, act) > 2,
        )

    @property
    def words(self) -> int:
        """Words of the input vector."""
        return self.matrix[0] // self.lanes[0]

    @property
    def turns(self) -> int:
        """Output blocks; also the depth of the threshold memories."""
        return ceil(self.matrix[1] / self.lanes[1])

    @property
    def weight_memory(self) -> tuple[int, int]:
        """Depth and width of one lane's weight memory."""
        return self.words * self.turns, self.lanes[0] * self.weight_bits

    @property
    def dsp(self) -> int:
        """DSP slices; none unless HLS may choose."""
        return parts.hls_mac_dsp(self.lanes[1], self.lanes[0]) if self.free_binding else 0

    @property
    def weights_in_luts(self) -> bool:
        """Whether the weights are LUT constants beside the unit."""
        depth, bits = self.weight_memory
        if self.streamed:
            return parts.streamed_memory_bram18(depth, bits * self.lanes[1]) == 0
        return parts.in_lutram(depth, bits)

    @property
    def thresholds_in_luts(self) -> bool:
        """Whether the threshold memories are LUT constants."""
        return parts.in_lutram(self.turns, self.sum_bits)

    def bram18(self, stage: str) -> int:
        """Block RAMs of weights and thresholds; a streamer's weights stand outside the node at csynth."""
        depth, bits = self.weight_memory
        pe = self.lanes[1]
        thresholds = pe * self.steps * parts.hls_memory_bram18(self.turns, self.sum_bits)
        if not self.streamed:
            return pe * parts.hls_memory_bram18(depth, bits) + thresholds
        return thresholds + (0 if stage == "csynth" else parts.streamed_memory_bram18(depth, bits * pe))


def matrix_vector_placed(unit: MatrixVector) -> Parts:
    """Return the parts of a matrix-vector unit in placed LUTs."""
    simd, pe = unit.lanes
    depth, width = unit.weight_memory
    products = pe * simd - unit.dsp
    held = unit.words > 1
    return {
        "control": 100,
        "vector_mux": parts.selector(unit.words, simd * unit.act_bits),
        "vector_enable": unit.words if held else 0,
        "multiplier": products * parts.multiplier(unit.weight_bits, unit.act_bits),
        "adder_tree": pe * parts.adder_tree(simd, parts.product_bits(unit.weight_bits, unit.act_bits)),
        "accumulator": pe * unit.sum_bits,
        "lane": 10 * pe,
        "weight_rom": pe * parts.lut_rom(depth, width) if unit.weights_in_luts else 0,
        "threshold": pe * unit.steps * parts.comparator(unit.sum_bits),
        "threshold_rom": _threshold_bits(unit) * parts.lut_rom(unit.turns, 2) / 2,
    }


def matrix_vector_placed_ff(unit: MatrixVector) -> Parts:
    """Return the parts of a matrix-vector unit in placed flip-flops."""
    simd, pe = unit.lanes
    return {
        "control": 100,
        "vector": unit.matrix[0] * unit.act_bits if unit.words > 1 else 0,
        "operand": simd * (unit.act_bits + pe * unit.weight_bits * unit.weights_in_luts),
        "product": pe * simd * parts.product_bits(unit.weight_bits, unit.act_bits),
        "accumulator": pe * unit.sum_bits,
        "lane": 10 * pe,
        "threshold": _threshold_bits(unit),
    }


def matrix_vector_csynth(unit: MatrixVector) -> Parts:
    """LUTs in HLS's report."""
    simd, pe = unit.lanes
    depth, width = unit.weight_memory
    products = pe * simd - unit.dsp
    bits = parts.product_bits(unit.weight_bits, unit.act_bits)
    return {
        "control": 500,
        "vector_mux": parts.hls_selector(unit.words),
        "multiplier": products * parts.hls_multiplier(unit.weight_bits, unit.act_bits),
        "adder": pe * ((simd - 1) * parts.hls_adder(bits) + parts.hls_adder(unit.sum_bits)),
        "threshold": pe * unit.steps * (parts.hls_comparator(unit.sum_bits) + 10),
        "threshold_rom": _threshold_bits(unit) * parts.hls_rom(unit.turns, 64) / 64,
        "weight_rom": pe * parts.hls_rom(depth, width) if unit.weights_in_luts and not unit.streamed else 0,
    }


def _threshold_bits(unit: MatrixVector) -> int:
    """Bits of the thresholds read in a cycle, where they are LUT constants of several turns; one turn is wiring."""
    return unit.lanes[1] * unit.steps * unit.sum_bits if unit.thresholds_in_luts and unit.turns > 1 else 0


@dataclass(frozen=True)
class SlidingWindow:
    """FINN's convolution input generator: row blocks of ``depth`` words of ``bits``, ``taps`` words a window."""

    rows: int
    depth: int
    bits: int
    taps: int
    in_luts: bool

    @classmethod
    def of(cls, row: Row) -> SlidingWindow:
        """The unit a row describes; raises KeyError where the row does not give its shape."""
        kernel, size, stride = row.pair("ConvKernelDim"), row.pair("IFMDim"), row.pair("Stride")
        simd = row.integer("SIMD")
        depth = size[1] * ceil(row.integer("IFMChannels") / simd)
        bits = simd * row.integer("a_bits")
        in_luts = row.text("ram_style", "auto") == "distributed" or parts.in_lutram(depth, bits)
        return cls(kernel[0] + stride[0], depth, bits, kernel[0] * kernel[1], in_luts)

    @property
    def bram18(self) -> int:
        """One memory a row block."""
        return 0 if self.in_luts else self.rows * parts.bram18(self.depth, self.bits)


def sliding_window_placed(unit: SlidingWindow) -> Parts:
    """Placed LUTs: a row block of one word is a register behind an input choice, a deeper one a LUTRAM."""
    registers = unit.depth == 1
    return {
        "control": 200,
        "row_register": unit.rows * unit.bits if registers else 0,
        "row_select": parts.selector(unit.rows, unit.bits),
        "row_lutram": unit.rows * parts.lutram(unit.depth, unit.bits) if unit.in_luts and not registers else 0,
    }


def sliding_window_csynth(unit: SlidingWindow) -> Parts:
    """LUTs in HLS's report: counters and addresses; memories and multiplexers of data are not in it."""
    return {"control": 1300, "rows": 70 * unit.rows}


def sliding_window_ff(unit: SlidingWindow) -> Parts:
    """Flip-flops: row blocks of one word, in three copies along the pipeline."""
    return {"control": 200, "row_register": unit.rows * unit.bits if unit.depth == 1 else unit.bits}


def threshold_placed(row: Row) -> Parts:
    """Placed LUTs: constants fold most comparisons away."""
    pe, steps, bits = row.integer("PE"), row.integer("numSteps"), row.integer("a_bits")
    folded = min(steps * parts.comparator(bits), row.type_bits("outputDataType") * ceil(2**bits / 64) * steps)
    return {"control": 60, "compare": pe * min(steps, folded)}


def threshold_csynth(row: Row) -> Parts:
    """LUTs in HLS's report."""
    pe, steps, bits = row.integer("PE"), row.integer("numSteps"), row.integer("a_bits")
    turns = row.integer("NumChannels") // pe
    return {
        "control": 100,
        "compare": pe * steps * (parts.hls_comparator(bits) + 5),
        "rom": pe * steps * parts.hls_rom(turns, bits),
    }


def threshold_ff(row: Row, stage: str) -> Parts:
    """Flip-flops: at csynth a register a comparison."""
    pe, steps = row.integer("PE"), row.integer("numSteps")
    return {"control": 60, "compare": pe * steps if stage == "csynth" else pe * row.type_bits("outputDataType")}
