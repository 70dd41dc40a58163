// Several positions from each one: the position repeated, or its channels spread over a block of positions.
#ifndef FPGAFLOW_SPREAD_HPP
#define FPGAFLOW_SPREAD_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config: id; height, width, in_words and out_words a position; factor_h x factor_w positions from each one; the words
// of position (dy, dx) of a block begin at dy * step_h + dx * step_w, and lane l of theirs is lane
// l * lanes_in / lanes_out + dy * lane_h + dx * lane_w of the stored one; lanes_in, lanes_out; type.
template <class Config>
struct SpreadShape {
    static constexpr int row_words = Config::width * Config::in_words;
    static constexpr int line_words = Config::width * Config::factor_w * Config::out_words;
    static constexpr int row_cycles = Config::factor_h * line_words;
};

// Two rows: one is written while lines are made from the other.
template <class Config>
using SpreadRows = Lanes<typename Config::type, Config::lanes_in>[2][SpreadShape<Config>::row_words];

// The state of a unit, stepped once a clock cycle. `left`: rows of all frames not yet read.
template <class Config>
struct SpreadState {
    typedef SpreadShape<Config> Shape;
    Index<1> slot;  // the row that lines are made from
    Index<Shape::row_words> stored;
    Index<Config::factor_h> dy;
    Index<Config::width> x;
    Index<Config::factor_w> dx;
    Index<Config::out_words> word;
    int left;

    explicit SpreadState(int frames)
        : slot(0), stored(0), dy(0), x(0), dx(0), word(0), left(frames * Config::height) {}

    void read(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in, SpreadRows<Config>& rows, int to) {
#pragma HLS INLINE
        rows[to][stored] = in.read();
        stored++;
    }

    // The next row becomes the one that lines are made from.
    void turn(int next) {
#pragma HLS INLINE
        slot = next;
        stored = 0;
        left--;
    }

    void step(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in, SpreadRows<Config>& rows,
              hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out) {
#pragma HLS INLINE
        const int address = x * Config::in_words + dy * Config::step_h + dx * Config::step_w + word;
        const Lanes<typename Config::type, Config::lanes_in> held = rows[slot][address];
        constexpr int stride = Config::lanes_in / Config::lanes_out;
        const int first = stride > 1 ? int(dy * Config::lane_h + dx * Config::lane_w) : 0;
        Lanes<typename Config::type, Config::lanes_out> result;
        for (int l = 0; l < Config::lanes_out; l++) {
#pragma HLS UNROLL
            result.v[l] = held.v[l * stride + first];
        }
        out.write(result);
        if (stored < Shape::row_words && left > 1) {
            read(in, rows, int(1 - slot));
        }
        next();
    }

    void next() {
#pragma HLS INLINE
        const bool words_end = word == Config::out_words - 1;
        const bool pixel_ends = words_end && dx == Config::factor_w - 1;
        const bool line_ends = pixel_ends && x == Config::width - 1;
        const bool row_ends = line_ends && dy == Config::factor_h - 1;
        word = words_end ? 0 : int(word) + 1;
        if (words_end) {
            dx = pixel_ends ? 0 : int(dx) + 1;
        }
        if (pixel_ends) {
            x = line_ends ? 0 : int(x) + 1;
        }
        if (line_ends) {
            dy = row_ends ? 0 : int(dy) + 1;
        }
        if (row_ends) {
            turn(int(1 - slot));
        }
    }
};

// Cycles a frame: height * factor_h * width * factor_w * out_words; the first row's reads come once a call.
template <class Config>
void spread(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in,
            hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out, SpreadRows<Config>& rows, int frames) {
    typedef SpreadShape<Config> Shape;
    // A word is written at least about a line before it is read, so in longer lines the two never meet.
    constexpr bool far = Shape::line_words >= 16;

    SpreadState<Config> state(frames);
    const int first = frames > 0 ? Shape::row_words : 0;
    for (int i = 0; i < first; i++) {
#pragma HLS PIPELINE II=1
        FPGAFLOW_CYCLE(Config::id);
        state.read(in, rows, 0);
    }
    state.stored = 0;
    if (far) {
        for (int frame = 0; frame < frames; frame++) {
            for (int i = 0; i < Config::height * Shape::row_cycles; i++) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=rows type=inter false
                FPGAFLOW_CYCLE(Config::id);
                state.step(in, rows, out);
            }
        }
    } else {
        for (int frame = 0; frame < frames; frame++) {
            for (int i = 0; i < Config::height * Shape::row_cycles; i++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(Config::id);
                state.step(in, rows, out);
            }
        }
    }
}

}  // namespace fpgaflow

#endif
