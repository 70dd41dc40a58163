// What the engine's units pass each other.
#ifndef FPGAFLOW_ENGINE_WORDS_HPP
#define FPGAFLOW_ENGINE_WORDS_HPP

#include "fields.hpp"
#include "fpgaflow/engine/beats.hpp"
#include "fpgaflow/matvec.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {
namespace engine {

// Units and memory ports, in the order of their counters.
enum Counted {
    source_unit,
    convolve_unit,
    first_unit,
    window_unit,
    second_unit,
    residual_unit,
    merge_unit,
    result_unit,
    weight_beats,
    source_beats,
    residual_beats,
    result_beats,
    constants_unit,
    bank_unit,
    counters
};

// What the window unit does with the taps of a window.
enum Mode { pass_on, filter, largest, sum_of, global_sum };

// Shape: lanes, in_blocks, out_blocks, inputs = lanes * in_blocks, outputs = lanes * out_blocks; act_bits, weight_bits,
// stored_bits, filter_bits, sum_bits, window_sum_bits, mul_bits, mul_shift, add_bits, entry_bits; shift; merge_bits, merge_add_bits,
// merge_shift, merge_dsp; filters, pools, repeats, bends, curves, products; main_outputs, extra_outputs, filter_dsp_lanes; row_words, tile_depth, line_words,
// channel_words, bank_words, kernel (largest of the window unit), taps (of it, a cycle); code_t, sum_t, window_sum_t,
// filter_t; main and extra, the configurations of the dot products. All codes are unsigned: signed ones are stored with
// half their range added, which the requantizers' offsets take back.
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

// Words of codes in a 128-bit word: a power of two.
template <class Shape>
constexpr int words_a_beat() {
    return 128 / (Shape::lanes * Shape::act_bits);
}

// What a source is read in: as many words as a beat holds.
template <class Shape>
using Group = Lanes<Code<Shape>, words_a_beat<Shape>() * Shape::lanes>;

// The words of a map tile by tile: of every position those of the tile's channels, then a jump to the next position.
// Facts: tiles; words of a position in a tile; count, all of them; jump; tile_step, from a tile's first word to the next
// one's; of the last tile last_words, last_count, last_jump. Nothing is multiplied: `at` is counted up.
template <class Facts>
class Walk {
public:
    decltype(Facts::tile_step) at;
    decltype(Facts::count) count;

    Walk() : at(0), count(0), first(0), jump(0), word(0), words(0) {}

    void begin(const Facts& p, bool last) {
#pragma HLS INLINE
        at = first;
        first += p.tile_step;
        count = last ? p.last_count : p.count;
        words = last ? p.last_words : p.words;
        jump = last ? p.last_jump : p.jump;
        word = 0;
    }

    void next() {
#pragma HLS INLINE
        word++;
        const bool ends = word == words;
        at += ends ? jump : decltype(jump)(1);
        word = ends ? decltype(word)(0) : word;
    }

private:
    decltype(Facts::tile_step) first;
    decltype(Facts::jump) jump;
    decltype(Facts::words) word, words;
};

// Round half to even, then clip, of a quotient by 2**Shift. `raised` is its numerator plus half of 2**Shift, which the
// offsets contain: the quotient is rounded up where it ends in a half, and made even there.
template <int Shift, class Line, class T>
T scaled(Line raised, T low, T high) {
#pragma HLS INLINE
    const bool tie = Shift > 0 && (raised & ((Line(1) << Shift) - 1)) == 0;
    const Line rounded = static_cast<Line>(raised >> Shift) & static_cast<Line>(~Line(tie));
    return rounded < Line(low) ? low : rounded > Line(high) ? high : static_cast<T>(rounded);
}

}  // namespace engine
}  // namespace fpgaflow

#endif
