// What the engine's units pass each other, and the table entry that tells them what to do.
#ifndef FPGAFLOW_ENGINE_WORDS_HPP
#define FPGAFLOW_ENGINE_WORDS_HPP

#include "fields.hpp"
#include "fpgaflow/matvec.hpp"
#include "fpgaflow/types.hpp"

// A 128-bit word that crosses the memory interface `port`. The C simulation defines it to count; hardware drops it.
#ifndef FPGAFLOW_BEAT
#define FPGAFLOW_BEAT(port) ((void)0)
#endif

namespace fpgaflow {
namespace engine {

typedef ap_uint<128> word128;

// Units and memory ports, in the order of their counters.
enum Counter {
    read_source, convolve_unit, first_unit, window_unit, second_unit, read_residual_unit, merge_unit, write_unit,
    weight_beats, source_beats, residual_beats, result_beats, counters
};

// What the window unit does with the taps of a window.
enum Mode { pass_on, filter, largest, sum_of, global_sum };

// Shape: lanes, in_blocks, out_blocks, inputs = lanes * in_blocks, outputs = lanes * out_blocks; act_bits, weight_bits,
// stored_bits, filter_bits, mul_bits, add_bits, entry_bits; shift, merge_shift; filters, pools; main_outputs, extra_outputs,
// filter_dsp_lanes; row_words, tile_depth, line_words, channel_words, bank_words, kernel (largest of the window unit),
// taps (of it, a cycle); code_t, sum_t, window_sum_t, filter_t; main and extra, the configurations of the dot products. All codes are
// unsigned: signed ones are stored with half their range added, which the requantizers' offsets take back.
template <class Shape>
using Code = Exact<typename Shape::code_t>;
template <class Shape>
using Sum = Exact<typename Shape::sum_t>;
template <class Shape>
using Codes = Lanes<Code<Shape>, Shape::lanes>;
template <class Shape>
using Sums = Lanes<Sum<Shape>, Shape::lanes>;
template <class Shape>
using WindowSum = Exact<typename Shape::window_sum_t>;
template <class Shape>
using WindowSums = Lanes<WindowSum<Shape>, Shape::lanes>;

// Words of codes in a 128-bit word.
template <class Shape>
constexpr int words_a_beat() {
    return 128 / (Shape::lanes * Shape::act_bits);
}

// What a source is read in: as many words as a beat holds.
template <class Shape>
using Group = Lanes<Code<Shape>, words_a_beat<Shape>() * Shape::lanes>;

// A requantizer's constants of one word of channels.
template <class Shape>
struct Entries {
    Exact<ap_int<Shape::mul_bits>> mul[Shape::channel_words][Shape::lanes];
    Exact<ap_int<Shape::add_bits>> add[Shape::channel_words][Shape::lanes];
};

inline int at_least(int value, int floor) { return value < floor ? floor : value; }
inline int at_most(int value, int limit) { return value > limit ? limit : value; }

// Bits [low, low + Width) of a 128-bit word. The C simulation shifts the halves of a word, which it reads once.
#ifdef FPGAFLOW_HARDWARE
typedef word128 Beat;
template <int Width>
ap_uint<Width> bits_of(const Beat& beat, int low) {
#pragma HLS INLINE
    return beat >> low;
}
#else
struct Beat {
    std::uint64_t lower, upper;
    Beat(const word128& word) : lower(word.to_uint64()), upper((word >> 64).to_uint64()) {}
};
template <int Width>
typename std::enable_if<(Width <= 64), ap_uint<Width>>::type bits_of(const Beat& beat, int low) {
    return low >= 64  ? beat.upper >> (low - 64)
           : low == 0 ? beat.lower
                      : beat.lower >> low | beat.upper << (64 - low);
}
template <int Width>
typename std::enable_if<(Width > 64), ap_uint<Width>>::type bits_of(const Beat& beat, int low) {
    return ((word128(beat.upper) << 64) | word128(beat.lower)) >> low;
}
#endif

// Round half to even, then clip, of a quotient by 2**Shift. `raised` is its numerator plus half of 2**Shift, which the
// offsets contain: the quotient is rounded up where it ends in a half, and made even there.
template <int Shift>
std::int32_t scaled(std::int64_t raised, std::int32_t low, std::int32_t high) {
#pragma HLS INLINE
    const bool tie = Shift > 0 && (raised & ((std::int64_t(1) << Shift) - 1)) == 0;
    const std::int64_t rounded = (raised >> Shift) & ~std::int64_t(tie);
    return static_cast<std::int32_t>(rounded < low ? low : rounded > high ? high : rounded);
}

}  // namespace engine
}  // namespace fpgaflow

#endif
