"""The size of an engine: what is fixed when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import ceil

from toolchain.ir.types import QInt
from toolchain.units.fabric import TapPacking, tap_packing

BEAT_BITS = 128
"""Width of a memory port."""

SUM_BITS = 32
"""Bits that a sum without a quantizer is stored in."""

MERGE_BITS = 32
"""Widest factor of a sum or product of branches."""

LINE_BITS = 62
"""Widest product of a requantizer, and its widest offset: the C simulation adds them in 64 bits."""

LONGEST_CHAIN = 4
"""Most slices that add up: the operands of the third and the fourth wait one and two cycles in flip-flops."""

TABLE_BEATS = 20
"""Memory beats of an entry of the pass table, see ``layout``."""

BANKS = 3
"""Banks of maps on the chip, the first one large: source, residual and result of a pass are in different ones."""

CURVE_CODES = 4
"""Codes in a word of a requantizer's table: a LUT chooses one of four."""

MODES = ("pass_on", "filter", "largest", "sum_of", "global_sum")
"""The modes of the window unit, in the order of the C++ enumeration."""


@dataclass(frozen=True, kw_only=True)
class Formats:
    """The number formats of an engine: the widths and features that its networks need.

    Attributes:
        stored_bits: bits of a weight in memory, less a borrow where slices in chains need one.
        sum_bits: bits of the convolution's sums, ``window_sum_bits`` of the window unit's.
        mul_bits: bits of a requantizer's factor, ``add_bits`` of its offset; a pair lies in ``entry_bits`` of memory.
        mul_shift: 2**mul_shift is subtracted from every factor, which then fits a slice, and the sum, shifted, is added
            to the offset to make up for it; nothing is subtracted where it is 0.
        shift: right shift of every requantizer; factors and offsets of smaller shifts are raised to it without loss.
        merge_bits: bits of the factors of a sum or product of branches, ``merge_add_bits`` of its offset;
            ``merge_shift`` is its shift.
        kernel: largest kernel of the window unit.
        filters: whether the window unit multiplies, ``pools`` whether it finds maxima, ``repeats`` whether positions of
            a source are read several times, ``bends`` whether requantizers have a second line, ``curves`` whether
            tables of codes, ``products`` whether branches are multiplied too.
    """

    act_bits: int
    weight_bits: int
    stored_bits: int
    filter_bits: int
    sum_bits: int
    window_sum_bits: int
    mul_bits: int
    mul_shift: int
    add_bits: int
    entry_bits: int
    shift: int
    merge_bits: int
    merge_add_bits: int
    merge_shift: int
    kernel: int
    filters: bool
    pools: bool
    repeats: bool = False
    bends: bool = False
    curves: bool = False
    products: bool = False


@dataclass(frozen=True)
class Shape(Formats):
    """Parallelism, number formats and memories of an engine; one binary runs every network that fits them.

    A clock cycle takes ``in_blocks`` words of ``lanes`` codes to ``out_blocks`` words of sums; requantizers, the window
    unit and the merge of two branches work on one word, the window unit on ``taps`` taps of it.

    Attributes:
        lanes: channels of a word.
        taps: taps of a window that are reduced in a cycle.
        products_per_dsp: of the convolution's ``main_outputs``; 0 builds them from LUTs.
        extra_outputs: outputs whose products are built from LUTs beside those on DSP slices.
        filter_dsp_lanes: lanes of the window unit that multiply on DSP slices, the others in LUTs.
        tile_depth: weight words of a tile; the memory holds two tiles.
        row_words: words of ``in_blocks`` * ``lanes`` codes of the input row buffer.
        line_words: words of a row of the window unit's line buffer.
        channel_words: most words of channels of a tile.
        bank_words: words of the first of the three maps on the chip, ``small_words`` of the others.
        bursts_in_luts: whether the memory ports' buffers are in LUTs: 64 beats, a quarter microsecond, else 512.
        ultra_banks: whether the maps on the chip are in UltraRAM where that pays, ``ultra_weights`` whether the tiles.
    """

    lanes: int
    in_blocks: int
    out_blocks: int
    taps: int
    products_per_dsp: int = 1
    extra_outputs: int = 0
    filter_dsp_lanes: int = 0
    tile_depth: int = 256
    row_words: int = 1024
    line_words: int = 1024
    channel_words: int = 64
    bank_words: int = 8192
    small_words: int = 8192
    bursts_in_luts: bool = False
    ultra_banks: bool = False
    ultra_weights: bool = False

    @property
    def burst_length(self) -> int:
        """Most beats of a burst."""
        return 16 if self.bursts_in_luts else 64

    @property
    def bursts(self) -> int:
        """Bursts that may be on their way at a time: the buffers hold them."""
        return 4 if self.bursts_in_luts else 8

    @property
    def burst_words(self) -> int:
        """Beats of the buffer of a direction of a memory port."""
        return self.burst_length * self.bursts

    @property
    def inputs(self) -> int:
        """Codes a cycle into the convolution."""
        return self.lanes * self.in_blocks

    @property
    def outputs(self) -> int:
        """Dot products a cycle of the convolution."""
        return self.lanes * self.out_blocks

    @property
    def main_outputs(self) -> int:
        """The number of outputs whose products are built as ``products_per_dsp`` says."""
        return self.outputs - self.extra_outputs

    @property
    def code(self) -> QInt:
        """Type of every stored code: signed ones have half their range added."""
        return QInt(self.act_bits, False)

    @property
    def weight(self) -> QInt:
        """Type of the convolution's weights."""
        return QInt(self.weight_bits, True)

    @cached_property
    def chain(self) -> TapPacking | None:
        """The packing by which slices of neighbouring outputs add up; None where each product is unpacked in LUTs."""
        if self.products_per_dsp == 0:
            return None
        return tap_packing(self.weight, self.code, self.products_per_dsp, 1, LONGEST_CHAIN)

    @property
    def packed(self) -> int:
        """Words of codes in a memory beat."""
        return BEAT_BITS // (self.lanes * self.act_bits)

    @cached_property
    def weight_beats(self) -> int:
        """Memory beats of a weight word; no weight straddles two beats."""
        return ceil(self.inputs * self.outputs / (BEAT_BITS // self.stored_bits))

    @property
    def entry_beats(self) -> int:
        """Memory beats of the requantizer's constants of one word of channels."""
        return self.lanes * self.entry_bits // BEAT_BITS

    @property
    def bent_beats(self) -> int:
        """The same with a second line: its constants, then the knees."""
        return 3 * self.entry_beats if self.bends else self.entry_beats

    @property
    def curve_words(self) -> int:
        """Words of a requantizer's table, of ``CURVE_CODES`` each: it takes as many cycles to come in."""
        return (1 << self.act_bits) // CURVE_CODES

    @property
    def curve_beats(self) -> int:
        """Memory beats of a requantizer's table."""
        return ceil(self.act_bits * (1 << self.act_bits) / BEAT_BITS)

    @property
    def digits(self) -> int:
        """Codes that a sum without a quantizer is stored in."""
        return SUM_BITS // self.act_bits

    def bank_size(self, bank: int) -> int:
        """Words of a bank."""
        return self.small_words if bank else self.bank_words

    def words(self, channels: int) -> int:
        """Words of ``channels`` of a stored map: whole memory beats a position."""
        return ceil(ceil(channels / self.lanes) / self.packed) * self.packed

    def legal(self) -> bool:
        """Whether words fill beats evenly and every memory word has a place."""
        return (
            1 <= self.packed <= self.in_blocks
            and BEAT_BITS % (self.lanes * self.act_bits) == 0
            and self.lanes * self.filter_bits <= BEAT_BITS
            and self.lanes * self.entry_bits % BEAT_BITS == 0
            and SUM_BITS % self.act_bits == 0
            and max(self.sum_bits, self.window_sum_bits) <= SUM_BITS
            and self.mul_bits + self.add_bits <= self.entry_bits
            and self.mul_bits + max(self.sum_bits, self.window_sum_bits) <= LINE_BITS
            and self.add_bits <= LINE_BITS
            and self.small_words <= self.bank_words
            and 0 <= self.extra_outputs < self.outputs
            and self.main_outputs % max(self.products_per_dsp, 1) == 0
        )


OPTIONAL = ("bends", "curves", "products", "ultra_banks", "ultra_weights")
"""Facts that are left out where they are false or 0: few networks have what they serve, most boards no UltraRAM."""


def shape_facts(shape: Shape) -> dict[str, int]:
    """``shape`` as JSON takes it."""
    return {name: int(value) for name, value in asdict(shape).items() if value or name not in OPTIONAL}


def shape_of(facts: Mapping[str, int]) -> Shape | None:
    """The shape of ``facts``; None where they are another version's."""
    kinds = {field.name: field.type for field in fields(Shape)}
    if not facts.keys() <= kinds.keys() <= {*facts, *OPTIONAL}:
        return None
    return Shape(**{n: bool(v) if kinds[n] == "bool" else v for n, v in facts.items()})  # type: ignore[arg-type]
