// k x k convolution: inputs x outputs products a clock cycle, rows and weights loaded while it computes.
#ifndef FPGAFLOW_ENGINE_CONVOLVE_HPP
#define FPGAFLOW_ENGINE_CONVOLVE_HPP

#include "fpgaflow/chain.hpp"
#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

template <class Shape>
using RowBuffer = Code<Shape>[Shape::row_words][Shape::in_blocks][Shape::lanes];

// The weights of a tile and of the next one for a part of the outputs, a word of row buffer each.
template <class Part>
using StoredWeights = MatvecWeights<Part>[Part::inputs / Part::simd];

// The weights of a tile and of the next one, and the word that is being filled.
template <class Shape>
struct WeightStore {
    static constexpr int codes_a_beat = 128 / Shape::stored_bits;
    static constexpr int count = Shape::inputs * Shape::outputs;
    static constexpr int beats_a_word = (count + codes_a_beat - 1) / codes_a_beat;
    typedef Exact<typename Shape::main::weight_t> weight_t;
    typedef Exact<typename Shape::extra::weight_t> extra_t;

    // Puts beat `beat` of a word into `stage`; outputs follow each other, inputs within an output.
    static void fill(const Beat& word, int beat, weight_t (&stage)[beats_a_word * codes_a_beat]) {
#pragma HLS INLINE
        for (int i = 0; i < codes_a_beat; i++) {
#pragma HLS UNROLL
            const ap_int<Shape::stored_bits> code = bits_of<Shape::stored_bits>(word, i * Shape::stored_bits);
            stage[beat * codes_a_beat + i] = static_cast<weight_t>(code);
        }
    }

    static void store(const weight_t (&stage)[beats_a_word * codes_a_beat], int at,
                      StoredWeights<typename Shape::main>& main, StoredWeights<typename Shape::extra>& extra) {
#pragma HLS INLINE
        for (int o = 0; o < Shape::outputs; o++) {
#pragma HLS UNROLL
            for (int i = 0; i < Shape::inputs; i++) {
#pragma HLS UNROLL
                if (o < Shape::main_outputs) {
                    main[at][o][i] = stage[o * Shape::inputs + i];
                } else {
                    extra[at][o - Shape::main_outputs][i] = static_cast<extra_t>(stage[o * Shape::inputs + i]);
                }
            }
        }
    }
};

// The dot products of the outputs on DSP slices: of a slice each, or of several that are unpacked in LUTs.
template <class Part, bool Chained = (Part::chain > 0)>
struct SliceDots : MatvecDots<Part> {};

// Slices of `products_per_dsp` neighbouring outputs that add up in chains: their weights are stored as digits, each less
// the borrow of the one below, which are the packed word side by side.
template <class Part>
struct SliceDots<Part, true> {
    static constexpr int count = Part::products_per_dsp;
    typedef Chain<Part, count> Slices;
    typedef Exact<typename Part::out_t> sum_t;

    static void compute(const MatvecWeights<Part>& weight, const Exact<typename Part::in_t> (&block)[Part::simd],
                        sum_t (&dots)[Part::pe]) {
#pragma HLS INLINE
        for (int p = 0; p < Part::pe; p += count) {
#pragma HLS UNROLL
            sum_t sums[count] = {};
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1
            FPGAFLOW_UNROLL
            for (int first = 0; first < Part::simd; first += Part::chain) {
#pragma HLS UNROLL
                const int end = first + Part::chain < Part::simd ? first + Part::chain : Part::simd;
                typename Slices::wide_t wide = Slices::halves;
                FPGAFLOW_UNROLL
                for (int l = first; l < end; l++) {
#pragma HLS UNROLL
                    typename Slices::digit_t digits[count];
#pragma HLS ARRAY_PARTITION variable=digits complete dim=1
                    for (int i = 0; i < count; i++) {
#pragma HLS UNROLL
                        digits[i] = weight[p + i][l];
                    }
                    const typename Slices::wide_t product = Slices::product(Slices::word(digits), block[l]);
                    wide = static_cast<typename Slices::wide_t>(wide + product);
                }
                Slices::add(wide, sums);
            }
            for (int i = 0; i < count; i++) {
#pragma HLS UNROLL
                dots[p + i] = sums[i];
            }
        }
    }
};

// All dot products of one row-buffer word.
template <class Shape>
void dot_products(const StoredWeights<typename Shape::main>& main, const StoredWeights<typename Shape::extra>& extra,
                  int at, const Code<Shape> (&block)[Shape::inputs], Sum<Shape> (&dots)[Shape::outputs]) {
#pragma HLS INLINE
    Sum<Shape> first[Shape::main::pe];
#pragma HLS ARRAY_PARTITION variable=first complete dim=1
    SliceDots<typename Shape::main>::compute(main[at], block, first);
    for (int o = 0; o < Shape::main_outputs; o++) {
#pragma HLS UNROLL
        dots[o] = first[o];
    }
    if (Shape::extra_outputs > 0) {
        Sum<Shape> rest[Shape::extra::pe];
#pragma HLS ARRAY_PARTITION variable=rest complete dim=1
        MatvecDots<typename Shape::extra>::compute(extra[at], block, rest);
        for (int o = 0; o < Shape::extra_outputs; o++) {
#pragma HLS UNROLL
            dots[Shape::main_outputs + o] = rest[o];
        }
    }
}

// The sum of a part of the weights, which counts more than the next part's.
template <class Shape>
Sum<Shape> raised(Sum<Shape> sum) {
#pragma HLS INLINE
    return static_cast<Sum<Shape>>(sum * (1 << (Shape::weight_bits - 1)));
}

// What one tile takes of each unit's time; the same formulas as toolchain/engine/schedule.py. Weights wider than the
// engine's come in parts, the highest first.
struct TilePlan {
    int groups, words, fold, steps, row_step, head, beats, total;
    bool loads;
};

template <class Shape>
TilePlan plan_tile(const int (&p)[fields], int tile) {
#pragma HLS INLINE
    const bool last = tile == p[f_tiles] - 1;
    const int row_in = p[f_columns] * p[f_words];
    constexpr int packed = words_a_beat<Shape>();
    TilePlan plan;
    plan.fold = p[f_kernel] * p[f_kernel] * p[f_blocks] * p[f_parts];
    plan.groups = last ? p[f_last_groups] : p[f_groups];
    plan.words = last ? p[f_last_words] : p[f_tile_words];
    plan.steps = at_least(plan.fold, Shape::out_blocks);
    plan.loads = !(p[f_resident] && tile > 0);
    const int next = last ? p[f_next_words] : (tile == p[f_tiles] - 2 ? p[f_last_groups] : p[f_groups]) * plan.fold;
    plan.beats = next * WeightStore<Shape>::beats_a_word;
    const int row_compute = p[f_out_columns] * plan.groups * plan.steps;
    plan.row_step = plan.loads ? at_least(row_compute, p[f_stride] * row_in / packed) : row_compute;
    plan.head = plan.loads ? p[f_first_rows] * row_in / packed : 0;
    const int busy = p[f_bypass] ? p[f_rows] * row_in : plan.head + p[f_out_rows] * plan.row_step + Shape::out_blocks;
    plan.total = at_least(busy, plan.beats);
    return plan;
}

// One iteration is one clock cycle: a beat of the next tile's weights, a beat of an input row, inputs x outputs
// products and a word of sums, whichever there are. `half` is the half of the weight memory that this tile reads.
template <class Shape>
void convolve(const int (&p)[fields], hls::stream<Group<Shape>>& in, hls::stream<word128>& weights,
              hls::stream<Sums<Shape>>& out, RowBuffer<Shape>& rows, StoredWeights<typename Shape::main>& main,
              StoredWeights<typename Shape::extra>& extra, int& half) {
    typedef WeightStore<Shape> Store;
    typename Store::weight_t stage[Store::beats_a_word * Store::codes_a_beat];
#pragma HLS ARRAY_PARTITION variable=stage complete dim=1
    constexpr int packed = words_a_beat<Shape>();
    Group<Shape> group = {};
    Sum<Shape> sums[Shape::outputs], held[Shape::outputs];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1
#pragma HLS ARRAY_PARTITION variable=held complete dim=1

    const int row_in = p[f_columns] * p[f_words];
    for (int tile = 0; tile < p[f_tiles]; tile++) {
        const TilePlan plan = plan_tile<Shape>(p, tile);
        int beat = 0, filled = 0;                                  // of the next tile's weights
        int loaded = plan.loads ? 0 : p[f_rows], place = 0;        // rows loaded, words of the row being loaded
        int column_in = 0, word_in = 0, limit = p[f_first_rows];   // where the next word goes; rows that may be loaded
        int in_step = 0, y = 0, x = 0, j = 0, i = 0, ky = 0, kx = 0, block_at = 0;
        int pending = 0, next_word = 0;
        for (int cycle = 0; cycle < plan.total; cycle++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(convolve_unit);
            if (pending > 0) {
                Sums<Shape> word;
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    word.v[l] = held[next_word * Shape::lanes + l];
                }
                out.write(word);
                next_word++;
                pending--;
            }
            if (cycle < plan.beats) {
                Store::fill(weights.read(), beat, stage);
                beat++;
                if (beat == Store::beats_a_word) {
                    Store::store(stage, (1 - half) * Shape::tile_depth + filled, main, extra);
                    filled++;
                    beat = 0;
                }
            }
            if (p[f_bypass]) {
                if (cycle < p[f_rows] * row_in) {
                    const int at = cycle % packed;
                    if (at == 0) {
                        group = in.read();
                    }
                    Sums<Shape> word;
                    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                        word.v[l] = group.v[at * Shape::lanes + l];
                    }
                    out.write(word);
                }
                continue;
            }
            if (plan.loads && loaded < limit) {
                group = in.read();
                const int slot = loaded & (p[f_slots] - 1);
                const int position = (slot * p[f_columns] + column_in) * p[f_blocks];
                for (int w = 0; w < packed; w++) {
#pragma HLS UNROLL
                    const int word = word_in + w;  // of a position, whose words fill whole beats
                    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                        rows[position + word / Shape::in_blocks][word % Shape::in_blocks][l] =
                            group.v[w * Shape::lanes + l];
                    }
                }
                word_in += packed;
                if (word_in == p[f_words]) {
                    word_in = 0;
                    column_in++;
                }
                place += packed;
                if (place == row_in) {
                    place = 0;
                    column_in = 0;
                    loaded++;
                }
            }
            if (cycle < plan.head || y == p[f_out_rows]) {
                continue;
            }
            if (in_step == 0) {
                const int reach = (y + 1) * p[f_stride] - p[f_top] + p[f_kernel];
                limit = y == p[f_out_rows] - 1 ? p[f_rows] : at_most(reach, p[f_rows]);
            }
            if (x < p[f_out_columns] && i < plan.fold) {
                const int row = y * p[f_stride] - p[f_top] + ky, column = x * p[f_stride] - p[f_left] + kx;
                const bool inside = row >= 0 && row < p[f_rows] && column >= 0 && column < p[f_columns];
                const int slot = row & (p[f_slots] - 1);
                const int at = inside ? (slot * p[f_columns] + column) * p[f_blocks] + block_at : 0;
                Code<Shape> block[Shape::inputs];
#pragma HLS ARRAY_PARTITION variable=block complete dim=1
                for (int b = 0; b < Shape::in_blocks; b++) {
#pragma HLS UNROLL
                    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                        block[b * Shape::lanes + l] = inside ? rows[at][b][l] : static_cast<Code<Shape>>(p[f_pad]);
                    }
                }
                Sum<Shape> dots[Shape::outputs];
#pragma HLS ARRAY_PARTITION variable=dots complete dim=1
                dot_products<Shape>(main, extra, half * Shape::tile_depth + j * plan.fold + i, block, dots);
                const bool next_part = i > 0 && ky == 0 && kx == 0 && block_at == 0;
                for (int o = 0; o < Shape::outputs; o++) {
#pragma HLS UNROLL
                    const Sum<Shape> before = next_part ? raised<Shape>(sums[o]) : sums[o];
                    sums[o] = i == 0 ? dots[o] : static_cast<Sum<Shape>>(before + dots[o]);
                }
                if (i == plan.fold - 1) {
                    for (int o = 0; o < Shape::outputs; o++) {
#pragma HLS UNROLL
                        held[o] = sums[o];
                    }
                    next_word = 0;
                    pending = at_most(plan.words - j * Shape::out_blocks, Shape::out_blocks);
                }
                block_at++;
                if (block_at == p[f_blocks]) {
                    block_at = 0;
                    kx++;
                    if (kx == p[f_kernel]) {
                        kx = 0;
                        ky = ky == p[f_kernel] - 1 ? 0 : ky + 1;
                    }
                }
            }
            i++;
            if (i == plan.steps) {
                i = 0;
                ky = 0;
                kx = 0;
                block_at = 0;
                j++;
                if (j == plan.groups) {
                    j = 0;
                    x++;
                }
            }
            in_step++;
            if (in_step == plan.row_step) {
                in_step = 0;
                x = 0;
                i = 0;
                j = 0;
                y++;
            }
        }
        half = 1 - half;
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
