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
            sum_t sums[count];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1
            for (int i = 0; i < count; i++) {
#pragma HLS UNROLL
                sums[i] = 0;  // an ap_int that {} makes holds anything
            }
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
                    wide = Slices::add_product(wide, Slices::word(digits), block[l]);
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

// What a tile takes of this unit's time. Weights wider than the engine's come in parts, the highest first.
struct TilePlan {
    decltype(Convolve::groups) groups;
    decltype(Convolve::words) words;
    decltype(Convolve::head) head;
    decltype(Convolve::row_step) row_step;
    decltype(Convolve::busy) beats, total;
    bool loads;
};

inline TilePlan plan_tile(const Convolve& p, decltype(Convolve::tiles) tile) {
#pragma HLS INLINE
    const bool first = tile == 0, last = tile == p.tiles - 1, next_is_last = tile + 1 == p.tiles - 1;
    TilePlan plan;
    plan.groups = last ? p.last_groups : p.groups;
    plan.words = last ? p.last_words : p.words;
    plan.loads = !p.bypass && (first || !p.resident);
    plan.head = plan.loads ? p.head : decltype(plan.head)(0);
    plan.row_step = first ? p.first_row_step : last ? p.last_row_step : p.row_step;
    plan.beats = last ? p.next_beats : next_is_last ? p.last_beats : p.tile_beats;
    const decltype(plan.total) busy = first ? p.first_busy : last ? p.last_busy : p.busy;
    plan.total = busy < plan.beats ? plan.beats : busy;
    return plan;
}

// Where rows of the source go in the row buffer, a ring of whole rows, and how far they have come.
template <class Shape>
struct RowsIn {
    decltype(Convolve::rows) loaded, limit;  // rows that came, and that may
    decltype(Convolve::columns) column;
    decltype(Convolve::row_words) word;  // of a position
    Index<2 * Shape::in_blocks> block;   // of a row-buffer word: where the next word of codes goes
    Index<Shape::row_words> at;

    void begin(const Convolve& p, bool loads) {
#pragma HLS INLINE
        loaded = loads ? decltype(loaded)(0) : p.rows;
        limit = p.first_rows;
        column = 0;
        word = 0;
        block = 0;
        at = 0;
    }

    // Stores the words of a beat: they lie in different blocks, the last ones perhaps of the next row-buffer word.
    void store(const Convolve& p, const Group<Shape>& group, RowBuffer<Shape>& rows) {
#pragma HLS INLINE
        constexpr int packed = words_a_beat<Shape>();
        for (int w = 0; w < packed; w++) {
#pragma HLS UNROLL
            const Index<2 * Shape::in_blocks> place = block + w;
            const bool over = place >= Shape::in_blocks;
            FPGAFLOW_STORED(convolve_unit, "rows", over ? int(at + 1) : int(at), 1);
            for (int b = 0; b < Shape::in_blocks; b++) {
#pragma HLS UNROLL
                if (b == (over ? int(place - Shape::in_blocks) : int(place))) {
                    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                        rows[over ? int(at + 1) : int(at)][b][l] = group.v[w * Shape::lanes + l];
                    }
                }
            }
        }
        word += packed;
        block += packed;
        const bool ends = word == p.row_words;
        if (ends) {
            at += block > Shape::in_blocks ? 2 : 1;
            block = 0;
            word = 0;
            column++;
            if (column == p.columns) {
                column = 0;
                loaded++;
                at = at == p.buffer_words ? decltype(at)(0) : at;
            }
        } else if (block >= Shape::in_blocks) {
            block -= Shape::in_blocks;
            at++;
        }
    }
};

// The tap that is multiplied: its row and column in the source and their places in the row buffer, counted up.
template <class Shape>
struct TapWalk {
    typedef decltype(Convolve::first_row) signed_t;
    typedef decltype(Convolve::buffer_words) place_t;
    decltype(Convolve::kernel_rows) kernel_row, kernel_column;
    decltype(Convolve::blocks) block;
    signed_t output_row, output_column, row, column;         // of the window's first tap, of this one
    place_t output_row_at, row_at;                           // where these rows begin
    decltype(Convolve::first_offset) output_offset, offset;  // from there to these columns

    void begin(const Convolve& p) {
#pragma HLS INLINE
        output_row = p.first_row;
        output_row_at = p.first_row_at;
        begin_row(p);
    }

    void begin_row(const Convolve& p) {
#pragma HLS INLINE
        output_column = p.first_column;
        output_offset = p.first_offset;
        begin_window();
    }

    void begin_window() {
#pragma HLS INLINE
        kernel_row = 0;
        row = output_row;
        row_at = output_row_at;
        begin_kernel_row();
    }

    void begin_kernel_row() {
#pragma HLS INLINE
        kernel_column = 0;
        block = 0;
        column = output_column;
        offset = output_offset;
    }

    bool inside(const Convolve& p) const {
#pragma HLS INLINE
        return row >= 0 && row < p.rows && column >= 0 && column < p.columns;
    }

    // The next block of inputs, tap, row of taps, or the first one of the next part of the weights.
    void next(const Convolve& p) {
#pragma HLS INLINE
        block++;
        if (block < p.blocks) {
            offset++;
            return;
        }
        block = 0;
        kernel_column++;
        column += p.dilation_columns;
        offset += p.kernel_column_step;
        if (kernel_column < p.kernel_columns) {
            return;
        }
        begin_kernel_row();
        kernel_row++;
        row += p.dilation_rows;
        row_at = after(p, row_at, p.kernel_row_step);
        if (kernel_row == p.kernel_rows) {
            begin_window();
        }
    }

    void next_column(const Convolve& p) {
#pragma HLS INLINE
        output_column += p.stride_columns;
        output_offset += p.output_column_step;
        begin_window();
    }

    void next_row(const Convolve& p) {
#pragma HLS INLINE
        output_row += p.stride_rows;
        output_row_at = after(p, output_row_at, p.output_row_step);
        begin_row(p);
    }

    static place_t after(const Convolve& p, place_t at, place_t step) {
#pragma HLS INLINE
        const Index<2 * Shape::row_words> moved = at + step;
        return static_cast<place_t>(moved >= p.buffer_words ? int(moved - p.buffer_words) : int(moved));
    }
};

// Sums that wait to be sent, a word a cycle.
template <class Shape>
struct Outgoing {
    Sum<Shape> sums[Shape::outputs];
    Index<Shape::out_blocks> pending, next;

    void send(hls::stream<Sums<Shape>>& out) {
#pragma HLS INLINE
        Sums<Shape> word = {};
        for (int b = 0; b < Shape::out_blocks; b++) {
#pragma HLS UNROLL
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                word.v[l] = b == next ? sums[b * Shape::lanes + l] : word.v[l];
            }
        }
        out.write(word);
        next++;
        pending--;
    }
};

// One iteration is one clock cycle: a beat of the next tile's weights, a beat of an input row, inputs x outputs
// products and a word of sums, whichever there are. A tile reads one half of the weight memory, the next one's weights
// go to the other. Nothing that a pass is told is multiplied or divided here: addresses are counted up.
template <class Shape>
void convolve(const Convolve p, hls::stream<Group<Shape>>& in, hls::stream<word128>& weights,
              hls::stream<Sums<Shape>>& out, RowBuffer<Shape>& rows, StoredWeights<typename Shape::main>& main,
              StoredWeights<typename Shape::extra>& extra) {
    typedef WeightStore<Shape> Store;
    typename Store::weight_t stage[Store::beats_a_word * Store::codes_a_beat];
#pragma HLS ARRAY_PARTITION variable=stage complete dim=1
    constexpr int packed = words_a_beat<Shape>();
    Group<Shape> group = {};
    Sum<Shape> sums[Shape::outputs];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1
    Outgoing<Shape> outgoing;
#pragma HLS ARRAY_PARTITION variable=outgoing.sums complete dim=1
    bool half = p.half;

convolve_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        const TilePlan plan = plan_tile(p, tile);
        Index<Store::beats_a_word> beat = 0;  // of the next tile's weights
        Index<Shape::tile_depth> filled = 0;
        RowsIn<Shape> arriving;
        arriving.begin(p, plan.loads);
        TapWalk<Shape> tap;
        tap.begin(p);
        auto reach = p.reach;  // rows that may come while an output row is computed: those of the next one's windows
        decltype(p.out_rows) y = 0;
        decltype(p.out_columns) x = 0;
        decltype(p.row_step) in_step = 0;
        decltype(p.groups) group_at = 0;
        decltype(p.steps) step = 0;
        Index<Shape::tile_depth> weight_at = 0;
        auto words_left = plan.words;
        outgoing.pending = 0;
    convolve_cycles:
        for (decltype(plan.total) cycle = 0; cycle < plan.total; cycle++) {
#pragma HLS PIPELINE II=1 style=flp
            FPGAFLOW_CYCLE(convolve_unit);
            if (outgoing.pending > 0) {
                outgoing.send(out);
            }
            if (cycle < plan.beats) {
                Store::fill(weights.read(), beat, stage);
                beat++;
                if (beat == Store::beats_a_word) {
                    const int word = (half ? 0 : Shape::tile_depth) + int(filled);
                    FPGAFLOW_STORED(convolve_unit, "main", word, 1);
                    FPGAFLOW_STORED(convolve_unit, "extra", word, 1);
                    Store::store(stage, word, main, extra);
                    filled++;
                    beat = 0;
                }
            }
            if (p.bypass) {
                if (cycle < p.first_busy) {
                    const int at = cycle % packed;
                    if (at == 0) {
                        group = in.read();
                    }
                    Sums<Shape> word = {};
                    for (int w = 0; w < packed; w++) {
#pragma HLS UNROLL
                        for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                            word.v[l] = w == at ? Sum<Shape>(group.v[w * Shape::lanes + l]) : word.v[l];
                        }
                    }
                    out.write(word);
                }
                continue;
            }
            if (plan.loads && arriving.loaded < arriving.limit) {
                arriving.store(p, in.read(), rows);
            }
            if (cycle < plan.head || y == p.out_rows) {
                continue;
            }
            if (in_step == 0) {
                const bool all = y == p.out_rows - 1 || reach > p.rows;
                arriving.limit = all ? int(p.rows) : reach < 0 ? 0 : int(reach);
            }
            const bool computes = x < p.out_columns;
            if (computes && step < p.fold) {
                const bool inside = tap.inside(p);
                const int at = inside ? int(tap.row_at + tap.offset) : 0;
                const int word = (half ? Shape::tile_depth : 0) + int(weight_at);
                if (inside) {
                    FPGAFLOW_LOADED(convolve_unit, "rows", at, 1);
                }
                FPGAFLOW_LOADED(convolve_unit, "main", word, 1);
                FPGAFLOW_LOADED(convolve_unit, "extra", word, 1);
                Code<Shape> block[Shape::inputs];
#pragma HLS ARRAY_PARTITION variable=block complete dim=1
                for (int b = 0; b < Shape::in_blocks; b++) {
#pragma HLS UNROLL
                    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                        block[b * Shape::lanes + l] = inside ? rows[at][b][l] : p.pad;
                    }
                }
                Sum<Shape> dots[Shape::outputs];
#pragma HLS ARRAY_PARTITION variable=dots complete dim=1
                dot_products<Shape>(main, extra, word, block, dots);
                const bool next_part = step > 0 && tap.kernel_row == 0 && tap.kernel_column == 0 && tap.block == 0;
                for (int o = 0; o < Shape::outputs; o++) {
#pragma HLS UNROLL
                    const Sum<Shape> before = next_part ? raised<Shape>(sums[o]) : sums[o];
                    sums[o] = step == 0 ? dots[o] : static_cast<Sum<Shape>>(before + dots[o]);
                }
                if (step == p.fold - 1) {
                    for (int o = 0; o < Shape::outputs; o++) {
#pragma HLS UNROLL
                        outgoing.sums[o] = sums[o];
                    }
                    outgoing.next = 0;
                    outgoing.pending = words_left < Shape::out_blocks ? int(words_left) : Shape::out_blocks;
                }
                tap.next(p);
                weight_at++;
            }
            step++;
            if (step == p.steps) {
                step = 0;
                group_at++;
                words_left -= Shape::out_blocks;
                tap.begin_window();
                if (group_at == plan.groups) {
                    group_at = 0;
                    words_left = plan.words;
                    weight_at = 0;
                    x = computes ? decltype(x)(x + 1) : x;  // behind the last column a row may wait for any time
                    tap.next_column(p);
                }
            }
            in_step++;
            if (in_step == plan.row_step) {
                in_step = 0;
                step = 0;
                group_at = 0;
                words_left = plan.words;
                weight_at = 0;
                x = 0;
                y++;
                reach += p.stride_rows;
                tap.next_row(p);
            }
        }
        half = !half;
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
