// Several positions from each one: the position repeated, or its channels spread over a block of positions.
#ifndef FPGAFLOW_SPREAD_HPP
#define FPGAFLOW_SPREAD_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of spread:
//   id                   of the unit
//   height, width        of the map that is read
//   in_words, out_words  of a position that is read, of one that is written
//   factor_h, factor_w   positions from each one
//   top, bottom          lines that the first and the last row make besides
//   left, right          positions that the first and the last one of a row make besides
//   step_h, step_w       the words of position (dy, dx) of a block begin at dy * step_h + dx * step_w
//   lane_h, lane_w       its lane l is lane l * lanes_in / lanes_out + dy * lane_h + dx * lane_w of the stored one
//   lanes_in, lanes_out  of the words
//   type                 of a channel
template <class Config>
struct SpreadShape {
    static constexpr int row_words = Config::width * Config::in_words;
    static constexpr int line_words =
        (Config::width * Config::factor_w + Config::left + Config::right) * Config::out_words;
    static constexpr int row_cycles = Config::factor_h * line_words;
    // A row is written while lines are made from the one before: word k in cycle k of row_cycles. A word is loaded about
    // where it was stored or, in blocks of channels, at most a line earlier; it is stored again as much later.
    static constexpr int apart = smaller(line_words, row_words);
};

// Counts how often a row or position is made: Times, Before more of the first one and After more of the last.
template <int Times, int Before, int After>
struct Again {
    Index<Times + Before + After> at;

    Again() : at(0) {}
    operator int() const { return int(at); }

    // Counts on; true where it begins anew.
    bool next(bool first, bool last) {
#pragma HLS INLINE
        const bool ends = at == Times - 1 + (first ? Before : 0) + (last ? After : 0);
        at = ends ? 0 : int(at) + 1;
        return ends;
    }
};

// Two rows: one is written while lines are made from the other.
template <class Config>
using SpreadRows = Lanes<typename Config::type, Config::lanes_in>[2][SpreadShape<Config>::row_words];

// The state of a unit, stepped once a clock cycle: the first row is read, then lines are made from each row while the
// next one is read.
template <class Config>
struct SpreadState {
    typedef SpreadShape<Config> Shape;
    bool filling;  // the first row
    int unread;    // frames that are not read to their end
    int left;      // frames that are not written to their end
    Counter<Config::height> row_in, row_out;
    Index<1> slot;  // the row that lines are made from
    Index<Shape::row_words> stored;
    Again<Config::factor_h, Config::top, Config::bottom> dy;
    Counter<Config::width> x;
    Again<Config::factor_w, Config::left, Config::right> dx;
    Counter<Config::out_words> word;

    explicit SpreadState(int frames) : filling(true), unread(frames), left(frames), slot(1), stored(0) {
#pragma HLS INLINE
    }

    void step(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in, SpreadRows<Config>& rows,
              hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out) {
#pragma HLS INLINE
        if (!filling) {
            write(rows, out);
        }
        if (stored < Shape::row_words && unread > 0) {
            FPGAFLOW_STORED(Config::id, "rows", int(1 - slot) * Shape::row_words + stored, Shape::apart);
            rows[int(1 - slot)][stored] = in.read();
            stored++;
            if (stored == Shape::row_words && row_in.next()) {
                unread--;
            }
        }
        if (filling ? stored == Shape::row_words : next()) {
            if (!filling && row_out.next()) {
                left--;
            }
            filling = false;
            slot = int(1 - slot);
            stored = 0;
        }
    }

    void write(const SpreadRows<Config>& rows, hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out) {
#pragma HLS INLINE
        const int address = x * Config::in_words + dy * Config::step_h + dx * Config::step_w + word;
        FPGAFLOW_LOADED(Config::id, "rows", slot * Shape::row_words + address, Shape::apart);
        const Lanes<typename Config::type, Config::lanes_in> held = rows[slot][address];
        constexpr int stride = Config::lanes_in / Config::lanes_out;
        const int first = stride > 1 ? int(dy * Config::lane_h + dx * Config::lane_w) : 0;
        Lanes<typename Config::type, Config::lanes_out> result;
        for (int l = 0; l < Config::lanes_out; l++) {
#pragma HLS UNROLL
            result.v[l] = held.v[l * stride + first];
        }
        out.write(result);
    }

    // True behind the last word that is made from a row.
    bool next() {
#pragma HLS INLINE
        return word.next() && dx.next(x == 0, x.last()) && x.next() && dy.next(row_out == 0, row_out.last());
    }
};

// Cycles a frame: (height * factor_h + top + bottom) lines of line_words; the first row's reads come once a call.
template <class Config>
void spread(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in,
            hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out, SpreadRows<Config>& rows, int frames) {
    typedef SpreadShape<Config> Shape;
    static_assert(Config::lanes_in % Config::lanes_out == 0, "a stored word has whole words of the output");
    static_assert(Shape::row_words <= Shape::row_cycles, "the next row is read while lines are made from this one");

    SpreadState<Config> state(frames);
    if (Shape::apart >= far_apart) {
    spread_loop:
        while (state.left > 0) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=rows type=intra false
#pragma HLS DEPENDENCE variable=rows type=inter false
            FPGAFLOW_CYCLE(Config::id);
            state.step(in, rows, out);
        }
    } else {
    spread_near_loop:
        while (state.left > 0) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=rows type=intra false
            FPGAFLOW_CYCLE(Config::id);
            state.step(in, rows, out);
        }
    }
}

}  // namespace fpgaflow

#endif
