// Convolution along the rows of a map; a DSP slice multiplies all taps of a filter by several columns at once.
#ifndef FPGAFLOW_ROW_CONV_HPP
#define FPGAFLOW_ROW_CONV_HPP

#include "fpgaflow/chain.hpp"
#include "fpgaflow/delay.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config: id, height, width, columns, taps, pad, inputs, outputs, simd, pe, spacing, chain;
// in_t, out_t, digit_t; word_t and value_t, which hold every packed filter and every pack of inputs.
//
// A step takes the next `columns` columns of a row. Its products are sums in `taps + columns - 1` fields, each of one
// output column; the upper `taps - 1` of them wait for the next step. Padded rows (`pad` columns on either side) run
// into each other: the first step of a row also ends the last `pad` columns of the row before. In a row without padding
// the first `silent` steps end columns that reach past its edge.
template <class Config>
struct RowShape {
    static constexpr int fields = Config::taps + Config::columns - 1;
    static constexpr int groups = Config::width / Config::columns;
    static constexpr int input_blocks = Config::inputs / Config::simd;
    static constexpr int output_blocks = Config::outputs / Config::pe;
    static constexpr int words = output_blocks / Config::columns;  // of an output column
    static constexpr int silent = Config::pad > 0 ? 0 : (Config::taps - 1) / Config::columns;
    static constexpr int ring = 4;  // steps whose columns are kept: one is written, two wait, one leaves
};

// weight[fold][pe][simd][field], a fold being (output block, input block): the digits of a packed word.
template <class Config>
using RowWeights =
    Exact<typename Config::digit_t>[RowShape<Config>::output_blocks * RowShape<Config>::input_blocks][Config::pe]
                                   [Config::simd][Config::taps];

// Columns of this step and of the next one.
template <class Config>
using RowColumns = Exact<typename Config::in_t>[2][Config::columns][RowShape<Config>::input_blocks][Config::simd];

// Output columns until they leave, in words of `columns` blocks.
template <class Config>
using RowResults = Exact<typename Config::out_t>[RowShape<Config>::ring][Config::columns][RowShape<Config>::words]
                                                [Config::columns][Config::pe];

// The products of a fold, summed field by field on chains of slices.
template <class Config>
struct RowProducts {
    typedef RowShape<Config> Shape;
    typedef Chain<Config, Shape::fields> Slices;
    typedef typename Slices::value_t value_t;
    typedef typename Slices::wide_t wide_t;
    typedef Exact<typename Config::out_t> sum_t;

    // Wires too where inputs are unsigned, else an adder that all outputs share.
    static value_t packed(const RowColumns<Config>& columns, int step, int block, int lane) {
#pragma HLS INLINE
        value_t joined = columns[step & 1][Config::columns - 1][block][lane];
        for (int m = Config::columns - 2; m >= 0; m--) {
#pragma HLS UNROLL
            joined = static_cast<value_t>(shifted<Config::spacing>(joined) +
                                          value_t(columns[step & 1][m][block][lane]));
        }
        return joined;
    }

    static void compute(const RowWeights<Config>& weight, int fold, const value_t (&values)[Config::simd],
                        sum_t (&sums)[Config::pe][Shape::fields]) {
#pragma HLS INLINE
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            for (int f = 0; f < Shape::fields; f++) {
#pragma HLS UNROLL
                sums[p][f] = 0;
            }
            FPGAFLOW_UNROLL
            for (int first = 0; first < Config::simd; first += Config::chain) {
#pragma HLS UNROLL
                const int end = first + Config::chain < Config::simd ? first + Config::chain : Config::simd;
                wide_t wide = Slices::halves;
                FPGAFLOW_UNROLL
                for (int l = first; l < end; l++) {
#pragma HLS UNROLL
                    wide = static_cast<wide_t>(wide + Slices::product(Slices::word(weight[fold][p][l]), values[l]));
                }
                Slices::add(wide, sums[p]);
            }
        }
    }
};

// The sums of a block of outputs over the blocks of inputs, those of the step before included.
template <class Config>
struct RowSums {
    typedef RowShape<Config> Shape;
    typedef Exact<typename Config::out_t> sum_t;
    static constexpr int waiting = Config::taps - 1;
    typedef Lanes<typename Config::out_t, waiting == 0 ? 1 : Config::pe * waiting> carry_t;

    sum_t sums[Config::pe][Shape::fields];
    Delay<carry_t, Shape::output_blocks> carries;

    RowSums() {
#pragma HLS ARRAY_PARTITION variable=sums complete dim=0
    }

    // `first` of a row: the lowest `pad` fields only end the row before, the others begin this one.
    void add(const sum_t (&products)[Config::pe][Shape::fields], bool begins, bool first) {
#pragma HLS INLINE
        const carry_t carry = carries.oldest();
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            for (int f = 0; f < Shape::fields; f++) {
#pragma HLS UNROLL
                sum_t before = begins ? sum_t(0) : sums[p][f];
                if (begins && f < waiting && !(first && f >= Config::pad)) {
                    before = static_cast<sum_t>(carry.v[p * waiting + f]);
                }
                const sum_t after = first && f < Config::pad ? sum_t(0) : products[p][f];
                sums[p][f] = static_cast<sum_t>(before + after);
            }
        }
    }

    // Behind the last block of inputs: columns that are complete go to the ring, the others wait.
    void finish(RowResults<Config>& results, int step, int word, int part) {
#pragma HLS INLINE
        carry_t carry;
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            for (int f = 0; f < Config::columns; f++) {
#pragma HLS UNROLL
                const int slot = (f < Config::pad ? step + Shape::ring - 1 : step) % Shape::ring;
                const int column = f < Config::pad ? f - Config::pad + Config::columns : f - Config::pad;
                results[slot][column][word][part][p] = sums[p][f];
            }
            for (int f = 0; f < waiting; f++) {
#pragma HLS UNROLL
                carry.v[p * waiting + f] = typename Config::out_t(sums[p][Config::columns + f]);
            }
        }
        carries.push(carry);
    }
};

template <class Config>
void read_column(hls::stream<Lanes<typename Config::in_t, Config::simd>>& in, RowColumns<Config>& columns, int step,
                 int column, int block) {
#pragma HLS INLINE
    const Lanes<typename Config::in_t, Config::simd> word = in.read();
    for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
        columns[step & 1][column][block][l] = static_cast<Exact<typename Config::in_t>>(word.v[l]);
    }
}

template <class Config>
void write_column(hls::stream<Lanes<typename Config::out_t, Config::columns * Config::pe>>& out,
                  const RowResults<Config>& results, int step, int column, int word) {
#pragma HLS INLINE
    Lanes<typename Config::out_t, Config::columns * Config::pe> result;
    for (int part = 0; part < Config::columns; part++) {
#pragma HLS UNROLL
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            result.v[part * Config::pe + p] =
                typename Config::out_t(results[step % RowShape<Config>::ring][column][word][part][p]);
        }
    }
    out.write(result);
}

// Lanes in: simd inputs of a column. Lanes out: columns * pe outputs of a column.
// Cycles a frame: height * (width / columns) * (outputs / pe) * (inputs / simd).
template <class Config>
void row_conv(hls::stream<Lanes<typename Config::in_t, Config::simd>>& in,
              hls::stream<Lanes<typename Config::out_t, Config::columns * Config::pe>>& out,
              const RowWeights<Config>& weight, RowColumns<Config>& columns, RowResults<Config>& results, int frames) {
    typedef RowShape<Config> Shape;
    typedef RowProducts<Config> Products;
    typedef typename RowSums<Config>::sum_t sum_t;
    const int steps = frames * Config::height * Shape::groups;

    RowSums<Config> sums;
    Index<Shape::groups> group = 0;                                          // of the row
    Index<Shape::groups> leaving = (2 * Shape::groups - 2) % Shape::groups;  // that of two steps ago
    Index<Shape::output_blocks * Shape::input_blocks> fold = 0;
    Index<Config::columns> column = 0;  // of the word that leaves
    Index<Shape::words> place = 0;

    for (int c = 0; c < Config::columns; c++) {
        for (int i = 0; i < Shape::input_blocks; i++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(Config::id);
            read_column<Config>(in, columns, 0, c, i);
        }
    }
    // Nothing stands between the loops, so that they flatten into one pipeline.
    for (int step = 0; step < steps + 2; step++) {
        for (int w = 0; w < Shape::words; w++) {
            for (int part = 0; part < Config::columns; part++) {
                for (int i = 0; i < Shape::input_blocks; i++) {
#pragma HLS PIPELINE II=1
                    FPGAFLOW_CYCLE(Config::id);
                    if (w == 0 && step < steps - 1) {
                        read_column<Config>(in, columns, step + 1, part, i);
                    }
                    typename Products::value_t values[Config::simd];
#pragma HLS ARRAY_PARTITION variable=values complete dim=1
                    for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                        values[l] = Products::packed(columns, step, i, l);
                    }
                    sum_t products[Config::pe][Shape::fields];
#pragma HLS ARRAY_PARTITION variable=products complete dim=0
                    Products::compute(weight, fold, values, products);
                    sums.add(products, i == 0, group == 0);
                    if (i == Shape::input_blocks - 1) {
                        sums.finish(results, step, w, part);
                        if (step >= 2 && leaving >= Shape::silent) {
                            write_column<Config>(out, results, step - 2, column, place);
                        }
                        const bool column_ends = place == Shape::words - 1;
                        place = column_ends ? 0 : int(place) + 1;
                        if (column_ends) {
                            column = column == Config::columns - 1 ? 0 : int(column) + 1;
                        }
                    }
                    const bool step_ends = fold == Shape::output_blocks * Shape::input_blocks - 1;
                    fold = step_ends ? 0 : int(fold) + 1;
                    if (step_ends) {
                        group = group == Shape::groups - 1 ? 0 : int(group) + 1;
                        leaving = leaving == Shape::groups - 1 ? 0 : int(leaving) + 1;
                    }
                }
            }
        }
    }
}

}  // namespace fpgaflow

#endif
