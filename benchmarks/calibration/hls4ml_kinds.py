"""Parts of hls4ml's layers in HLS's csynth report: dense, convolution, pooling, activation, normalisation."""

from __future__ import annotations

from math import ceil, log2
from typing import NamedTuple

from benchmarks.calibration.rows import Row
from toolchain.units.cost_model import parts

Parts = dict[str, float]
DEFAULT_BITS = 16  # hls4ml's default type, ap_fixed<16,6>


class Operands(NamedTuple):
    """Operand widths of a layer and what its weights are, as far as it is published.

    ``largest`` is the largest weight as an integer, ``nonzero`` the share of weights that are not zero.
    """

    weight: int
    act: int
    total: int
    largest: int
    nonzero: float

    @classmethod
    def of(cls, row: Row) -> Operands:
        """Widths of a row, hls4ml's default where it does not give them."""
        weight = row.integer("w_bits", DEFAULT_BITS)
        act = row.integer("a_bits", DEFAULT_BITS)
        scale = 2 ** (min(weight, 16) - 1)
        if "n_nonzeros" in row.fields:
            zeros, others = row.number("n_zeros", 0), row.number("n_nonzeros")
            largest, nonzero = scale - 1, others / (zeros + others) if zeros + others else 1.0
        else:
            bound = (6 / (row.number("n_in", 1) + row.number("n_out", 1))) ** 0.5
            largest = max(1, round(min(1.0, bound) * scale))
            nonzero = 2 * bound * scale / (2 * bound * scale + 1)
        return cls(weight, act, row.integer("acc_bits", DEFAULT_BITS), largest, nonzero)

    @property
    def in_dsp(self) -> float:
        """Share of nonzero constant factors that HLS gives a DSP slice: those of three signed digits and more."""
        if max(self.weight, self.act) < parts.HLS_MULTIPLIER_DSP_BITS:
            return 0
        shares = parts.digit_shares(self.largest)
        return sum(shares[3:]) / (1 - shares[0])

    @property
    def adders(self) -> float:
        """Additions of a nonzero constant factor that stays in LUTs, mean over the factors of the range."""
        shares = parts.digit_shares(self.largest)
        top = 3 if self.in_dsp else len(shares)
        return sum(share * (digits - 1) for digits, share in enumerate(shares[:top]) if digits) / sum(shares[1:top])


class Dense(NamedTuple):
    """A fully connected layer of hls4ml: ``reuse`` products share a multiplier."""

    inputs: int
    outputs: int
    reuse: int
    operands: Operands
    unrolled: bool
    stream: bool = False
    network: bool = False  # the published row is of a whole network of this one layer

    @property
    def multipliers(self) -> int:
        """Multipliers that work at once."""
        return ceil(self.inputs * self.outputs / self.reuse)

    @property
    def products(self) -> float:
        """Products with a weight that is not zero."""
        return self.inputs * self.outputs * self.operands.nonzero

    @property
    def turns(self) -> int:
        """Outputs that one multiplier serves, if it serves whole columns."""
        return max(1, self.reuse // self.inputs)


def dense(row: Row) -> Dense:
    """The layer a row describes; raises KeyError where the row does not give its shape."""
    reuse = max(1, row.integer("reuse", 1))
    unrolled = reuse == 1 or row.text("strategy") == "latency"
    return Dense(row.integer("n_in"), row.integer("n_out"), reuse, Operands.of(row), unrolled, *_interface(row))


def _interface(row: Row) -> tuple[bool, bool]:
    return row.text("io") == "stream", "act" in row.fields


def dense_dsp(layer: Dense) -> int:
    """DSP slices: of the constants that want one, or of the multipliers that the reuse factor leaves."""
    if layer.unrolled:
        return round(min(layer.products * layer.operands.in_dsp, layer.multipliers))
    in_dsp = parts.hls_multiplier_in_dsp(layer.operands.weight, layer.operands.act)
    return layer.multipliers if in_dsp else 0


def dense_bram18(layer: Dense) -> int:
    """Block RAMs of the weight memory, one word a step with a weight for each multiplier."""
    width = layer.multipliers * layer.operands.weight
    return 0 if layer.unrolled else _packed(layer.reuse, width)


def _packed(depth: int, bits: int) -> int:
    """HLS's own count: the widest shape that is deep enough, 36 bits a 512 words."""
    for words, wide in reversed(parts.BRAM18_SHAPES):
        if depth <= words:
            return ceil(bits / wide)
    return parts.bram18(depth, bits)


def dense_lut(layer: Dense) -> Parts:
    """LUTs of a dense layer."""
    if layer.unrolled:
        return _unrolled_lut(layer)
    weight, act = layer.operands.weight, layer.operands.act
    mult = 0 if parts.hls_multiplier_in_dsp(weight, act) else parts.hls_multiplier(weight, act)
    wide = layer.multipliers * parts.hls_selector(2 ** ceil(log2(layer.outputs))) if layer.turns > 2 else 0
    return {
        "shared_control": 300,
        "shared_network": 4600 if layer.network else 0,
        "shared_input": 0 if layer.stream else 2 * layer.inputs * act,
        "shared_output": layer.outputs * (45 if layer.turns == 2 else 24),
        "shared_select": wide,
        "shared_multiplier": layer.multipliers * mult,
        "shared_gather": layer.multipliers * parts.hls_selector(64) if layer.reuse < layer.inputs else 0,
    }


def _unrolled_lut(layer: Dense) -> Parts:
    operands = layer.operands
    in_luts = layer.products * (1 - operands.in_dsp)
    return {
        "control": 50,
        "sum": layer.products * operands.total,
        "constant": in_luts * operands.adders * (operands.act + operands.weight / 2),
        "product": in_luts * operands.weight,
        "waiting_product": layer.products * operands.in_dsp * 10 if layer.reuse > 1 else 0,
    }


def dense_ff(layer: Dense) -> Parts:
    """Flip-flops of a dense layer."""
    operands = layer.operands
    if not layer.unrolled:
        return {
            "shared_control": 100,
            "shared_output": layer.outputs * operands.total,
            "shared_multiplier": layer.multipliers * (operands.act + operands.weight),
        }
    return {
        "control": 50,
        "output": layer.outputs * operands.total,
        "input": layer.inputs * operands.act,
        "product": layer.products * operands.weight,
        "dsp": dense_dsp(layer) * 10,
        "waiting_product": layer.products * operands.in_dsp * 10 if layer.reuse > 1 else 0,
    }


def convolution(row: Row) -> tuple[Dense, int]:
    """A convolution as the dense layer it runs at every position, and the bits of its window.

    Raises KeyError where the row does not give its shape.
    """
    height = row.integer("filt_height", 1)
    taps = height * row.integer("filt_width") * row.integer("n_chan")
    operands = Operands.of(row)
    reuse = max(1, row.integer("reuse", 1))
    unrolled = reuse == 1 or row.text("strategy") == "latency"
    return Dense(taps, row.integer("n_filt"), reuse, operands, unrolled, stream=True), taps * operands.act


def convolution_bram18(row: Row) -> int:
    """Weights, and a line buffer a channel and row of the window but one."""
    layer, _ = convolution(row)
    lines = row.integer("n_chan") * (row.integer("filt_height", 1) - 1)
    return dense_bram18(layer) + lines * parts.hls_memory_bram18(row.integer("in_width"), layer.operands.act)


def convolution_lut(row: Row) -> Parts:
    """LUTs of the dense part and of the window."""
    layer, window = convolution(row)
    return dense_lut(layer) | {"window": window, "window_control": 300}


def convolution_ff(row: Row) -> Parts:
    """Flip-flops of the dense part and of the window."""
    layer, window = convolution(row)
    return dense_ff(layer) | {"window": window, "window_control": 300}


def element_parts(row: Row) -> Parts:
    """LUTs or flip-flops of an elementwise layer: all elements side by side, or a control and one word of them."""
    elements = row.integer("n_in")
    bits_in, bits_out = row.integer("a_bits", DEFAULT_BITS), row.integer("out_bits", DEFAULT_BITS)
    if row.text("io") == "stream":
        return {"stream_control": 200, "stream_word": bits_in * 8}
    return {"control": 20, "input": elements * bits_in, "output": elements * bits_out}


def table_bram18(row: Row) -> int:
    """Block RAMs of function tables, one an element."""
    function = row.text("fn")
    if not function.startswith(("softmax", "sigmoid", "tanh")):
        return 0
    elements = row.integer("n_in") if row.text("io") != "stream" else 1
    return elements
