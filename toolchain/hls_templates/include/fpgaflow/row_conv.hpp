// Convolution along the rows of a map; a DSP slice multiplies all taps of a filter by several columns at once.
#ifndef FPGAFLOW_ROW_CONV_HPP
#define FPGAFLOW_ROW_CONV_HPP

#include "fpgaflow/chain.hpp"
#include "fpgaflow/delay.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of row_conv:
//   id               of the unit
//   height, width    of the map
//   columns          of a step
//   taps             of a filter
//   pad              columns of zeros on either side: none or (taps - 1) / 2
//   inputs, outputs  of a position
//   simd, pe         of those, how many a cycle
//   spacing          bits of a field of a packed product
//   chain            products whose sum the fields hold
//   in_t, out_t      of an input, of every sum
//   digit_t          of a digit of a packed filter
//   word_t, value_t  hold every packed filter and every pack of inputs
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

    // Numbers of the words that are stored and loaded.
    static int column_word(int step, int column, int block) {
        return ((step & 1) * Config::columns + column) * input_blocks + block;
    }
    static int result_word(int step, int column, int word, int part) {
        return ((step % ring * Config::columns + column) * words + word) * Config::columns + part;
    }
};

// weight[fold][pe][simd][field], a fold being (output block, input block): the digits of a packed word.
template <class Config>
using RowWeights = Exact<typename Config::digit_t>[RowShape<Config>::output_blocks * RowShape<Config>::input_blocks]
                                                  [Config::pe][Config::simd][Config::taps];

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
        FPGAFLOW_LOADED(Config::id, "columns", Shape::column_word(step, Config::columns - 1, block), 1);
        value_t joined = columns[step & 1][Config::columns - 1][block][lane];
        for (int m = Config::columns - 2; m >= 0; m--) {
#pragma HLS UNROLL
            FPGAFLOW_LOADED(Config::id, "columns", Shape::column_word(step, m, block), 1);
            joined =
                static_cast<value_t>(shifted<Config::spacing>(joined) + value_t(columns[step & 1][m][block][lane]));
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
                    wide = Slices::add_product(wide, Slices::word(weight[fold][p][l]), values[l]);
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
    static constexpr int carried = larger(1, Config::pe* waiting);
    typedef Lanes<typename Config::out_t, carried> carry_t;

    sum_t sums[Config::pe][Shape::fields];
    Delay<typename Config::out_t, carried, Shape::output_blocks> carries;

    RowSums() {
#pragma HLS INLINE
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
                FPGAFLOW_STORED(Config::id, "results", Shape::result_word(slot, column, word, part), 1);
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
    FPGAFLOW_STORED(Config::id, "columns", RowShape<Config>::column_word(step, column, block), 1);
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
        FPGAFLOW_LOADED(Config::id, "results", RowShape<Config>::result_word(step, column, word, part), 1);
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            result.v[part * Config::pe + p] =
                typename Config::out_t(results[step % RowShape<Config>::ring][column][word][part][p]);
        }
    }
    out.write(result);
}

// Where a unit stands: the step that is computed, the one that is read and the one that is written.
template <class Config>
struct RowPosition {
    typedef RowShape<Config> Shape;
    Counter<Shape::ring>
        step;  // computed; the columns of the next one are read, those of the one before the last leave
    Counter<Shape::input_blocks> i;
    Counter<Config::columns> part;
    Counter<Shape::words> word;
    Counter<Shape::output_blocks * Shape::input_blocks> fold;
    Counter<Shape::words> place;
    Counter<Config::columns> column;  // of the word that leaves
    Counter<Shape::groups> group, group_in, group_out;
    Counter<Config::height> row_in, row_out;
    bool filling;    // the first columns are read, nothing is computed
    Index<2> ahead;  // steps that are computed and have not left
    int unread;      // frames that are not read to their end
    int left;        // frames that are not written to their end

    explicit RowPosition(int frames) : filling(true), ahead(0), unread(frames), left(frames) {
#pragma HLS INLINE
        step.at = Shape::ring - 1;
    }

    bool reads() const { return word == 0 && unread > 0; }
    bool writes() const { return ahead == 2 && i.last() && group_out >= Shape::silent; }

    void next() {
#pragma HLS INLINE
        const bool block_ends = i.next();
        const bool columns_end = block_ends && part.next();
        if (columns_end && word == 0 && unread > 0 && group_in.next() && row_in.next()) {
            unread--;
        }
        if (filling) {
            if (columns_end) {
                filling = false;
                step.next();
            }
            return;
        }
        if (columns_end) {
            word.next();
        }
        if (block_ends && place.next()) {
            column.next();
        }
        if (fold.next()) {
            step.next();
            group.next();
            if (ahead < 2) {
                ahead++;
            } else if (group_out.next() && row_out.next()) {
                left--;
            }
        }
    }
};

// Lanes in: simd inputs of a column. Lanes out: columns * pe outputs of a column.
// Cycles a frame: height * (width / columns) * (outputs / pe) * (inputs / simd).
// A step reads into other columns than those it computes with, and writes from other results than those it stores.
template <class Config>
void row_conv(hls::stream<Lanes<typename Config::in_t, Config::simd>>& in,
              hls::stream<Lanes<typename Config::out_t, Config::columns * Config::pe>>& out,
              const RowWeights<Config>& weight, RowColumns<Config>& columns, RowResults<Config>& results, int frames) {
    typedef RowShape<Config> Shape;
    typedef RowProducts<Config> Products;
    typedef typename RowSums<Config>::sum_t sum_t;
    static_assert(Config::width % Config::columns == 0, "steps make whole rows");
    static_assert(Config::inputs % Config::simd == 0, "the words of a position have all inputs");
    static_assert(Config::outputs % (Config::pe * Config::columns) == 0, "a step has a word a block of outputs");
    static_assert(Config::pad == 0 || Config::pad == (Config::taps - 1) / 2, "padded rows run into each other");

    RowSums<Config> sums;
    RowPosition<Config> at(frames);
row_conv_loop:
    while (at.left > 0) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=columns type=intra false
#pragma HLS DEPENDENCE variable=results type=intra false
        FPGAFLOW_CYCLE(Config::id);
        if (at.reads()) {
            read_column<Config>(in, columns, at.step + 1, at.part, at.i);
        }
        typename Products::value_t values[Config::simd];
#pragma HLS ARRAY_PARTITION variable=values complete dim=1
        for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
            values[l] = Products::packed(columns, at.step, at.i, l);
        }
        sum_t products[Config::pe][Shape::fields];
#pragma HLS ARRAY_PARTITION variable=products complete dim=0
        Products::compute(weight, at.fold, values, products);
        sums.add(products, at.i == 0, at.group == 0);
        if (at.i.last() && !at.filling) {
            sums.finish(results, at.step, at.word, at.part);
        }
        if (at.writes()) {
            write_column<Config>(out, results, at.step + Shape::ring - 2, at.column, at.place);
        }
        at.next();
    }
}

}  // namespace fpgaflow

#endif
