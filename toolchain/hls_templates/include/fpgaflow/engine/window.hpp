// Depthwise filter, pool or global sum behind the convolution; rows stream through a line buffer.
#ifndef FPGAFLOW_ENGINE_WINDOW_HPP
#define FPGAFLOW_ENGINE_WINDOW_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

// The least cycles from storing a word to loading it again. Neighbouring iterations work on different words of channels;
// a position of a single word waits a cycle. So what one iteration loads, changes and stores is not the next one's, and
// II=1 holds for a load and a store of a cycle each.
constexpr int apart = 2;

template <class Words>
int waits(Words words) {
#pragma HLS INLINE
    return words == 1 ? apart - 1 : 0;
}

// The last kernel - 1 rows, the last kernel - 1 columns of every channel word, its filters and its running sums.
template <class Shape>
struct WindowMemory {
    static constexpr int kernel_taps = Shape::kernel * Shape::kernel;
    static constexpr int steps = (kernel_taps + Shape::taps - 1) / Shape::taps;
    Code<Shape> lines[Shape::kernel - 1][Shape::line_words][Shape::lanes];
    Code<Shape> columns[Shape::channel_words][Shape::kernel][Shape::kernel - 1][Shape::lanes];
    Exact<typename Shape::filter_t> filters[Shape::channel_words * steps][Shape::taps][Shape::lanes];
    WindowSum<Shape> totals[Shape::channel_words][Shape::lanes];
};

// The codes under the largest kernel. Taps are numbered from the last row and column outwards, so that those of a smaller
// kernel are the first ones, wherever it is.
template <class Shape>
using Taps = Code<Shape>[Shape::kernel * Shape::kernel][Shape::lanes];

template <class Shape>
int tap_at(int row, int column) {
#pragma HLS INLINE
    const int up = Shape::kernel - 1 - row, back = Shape::kernel - 1 - column, shell = up < back ? back : up;
    return shell * shell + (up == shell ? back : shell + 1 + up);
}

// The filters of `words` words of channels, tap by tap: as many taps as the unit multiplies in a cycle stand side by side,
// those that the last ones lack are zeros.
template <class Shape>
void load_filters(const Window& p, decltype(Window::words) words, hls::stream<word128>& constants,
                  WindowMemory<Shape>& memory) {
#pragma HLS INLINE
    decltype(p.words) w = 0;
    decltype(p.taps) tap = 0;
    Index<Shape::taps> place = 0;  // of the tap among those of a cycle
    Index<Shape::channel_words * WindowMemory<Shape>::steps> at = 0;
load_filters_loop:
    while (w < words) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(constants_unit);
        const Beat word = constants.read();
        const bool ends = tap == p.taps - 1;
        for (int t = 0; t < Shape::taps; t++) {
#pragma HLS UNROLL
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const ap_int<Shape::filter_bits> code = bits_of<Shape::filter_bits>(word, l * Shape::filter_bits);
                if (t == place || (ends && t > place)) {
                    memory.filters[at][t][l] = t == place ? static_cast<Exact<typename Shape::filter_t>>(code)
                                                          : Exact<typename Shape::filter_t>(0);
                }
            }
        }
        tap++;
        place++;
        if (place == Shape::taps || ends) {
            place = 0;
            at++;
        }
        if (ends) {
            tap = 0;
            w++;
        }
    }
}

// A new column of the window of one channel word: the line buffer's and `code` below; everything moves on by one.
template <class Shape>
void shift_in(const Codes<Shape>& code, int at, int channel, WindowMemory<Shape>& memory, Taps<Shape>& window) {
#pragma HLS INLINE
    constexpr int k = Shape::kernel;
    FPGAFLOW_LOADED(window_unit, "lines", at, apart);
    FPGAFLOW_LOADED(window_unit, "columns", channel, apart);
    for (int r = 0; r < k; r++) {
#pragma HLS UNROLL
        for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
            const Code<Shape> newest = r == k - 1 ? code.v[l] : memory.lines[r == k - 1 ? 0 : r][at][l];
            if (r > 0) {
                memory.lines[r > 0 ? r - 1 : 0][at][l] = newest;
            }
            for (int c = 0; c < k - 1; c++) {
#pragma HLS UNROLL
                window[tap_at<Shape>(r, c)][l] = memory.columns[channel][r][c][l];
            }
            window[tap_at<Shape>(r, k - 1)][l] = newest;
            for (int c = 0; c < k - 1; c++) {
#pragma HLS UNROLL
                memory.columns[channel][r][c][l] = window[tap_at<Shape>(r, c + 1)][l];
            }
        }
    }
    FPGAFLOW_STORED(window_unit, "lines", at, apart);
    FPGAFLOW_STORED(window_unit, "columns", channel, apart);
}

// The taps of one step, added to `sums`; filters stand at `at`.
template <class Shape>
void add_taps(const Window& p, int step, int at, const WindowMemory<Shape>& memory, const Taps<Shape>& window,
              WindowSums<Shape>& sums) {
#pragma HLS INLINE
    constexpr int steps = WindowMemory<Shape>::steps, taps = WindowMemory<Shape>::kernel_taps;
    for (int t = 0; t < Shape::taps; t++) {
#pragma HLS UNROLL
        Codes<Shape> codes = {};
        bool used = false;
        FPGAFLOW_UNROLL
        for (int s = 0; s < steps; s++) {
#pragma HLS UNROLL
            const int tap = s * Shape::taps + t;
            if (s == step && tap < taps) {
                used = tap < p.taps;
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    codes.v[l] = window[tap < taps ? tap : 0][l];
                }
            }
        }
        for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
            const Code<Shape> code = codes.v[l];
            const WindowSum<Shape> sum = code;
            if (Shape::pools && p.mode == largest) {
                sums.v[l] = used && sum > sums.v[l] ? sum : sums.v[l];
            } else if (Shape::filters && p.mode == filter) {
                const Exact<typename Shape::filter_t> factor = memory.filters[at][t][l];
                sums.v[l] += l < Shape::filter_dsp_lanes
                                 ? Multiplier<true>::template product<WindowSum<Shape>>(factor, code)
                                 : Multiplier<false>::template product<WindowSum<Shape>>(factor, code);
            } else {
                sums.v[l] += used ? sum : WindowSum<Shape>(0);
            }
        }
    }
}

// The sum over all positions; the last position sends it.
template <class Shape>
void add_globally(const Window& p, decltype(Window::words) words, decltype(Window::count) count,
                  hls::stream<Codes<Shape>>& in, hls::stream<WindowSums<Shape>>& out, WindowMemory<Shape>& memory) {
#pragma HLS INLINE
    decltype(p.positions) position = 0;
    decltype(p.words) channel = 0;
    Exact<ap_uint<2>> step = 0;
    const int least = 1 + waits(words);
global_words:
    for (decltype(p.count) n = 0; n < count; n++) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=memory.totals inter RAW distance=2 true
        FPGAFLOW_CYCLE(window_unit);
        if (step == 0) {
            const Codes<Shape> codes = in.read();
            WindowSums<Shape> sums;
            FPGAFLOW_LOADED(window_unit, "totals", channel, apart);
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const WindowSum<Shape> before = position == 0 ? WindowSum<Shape>(0) : memory.totals[channel][l];
                sums.v[l] = static_cast<WindowSum<Shape>>(before + WindowSum<Shape>(codes.v[l]));
                memory.totals[channel][l] = sums.v[l];
            }
            FPGAFLOW_STORED(window_unit, "totals", channel, apart);
            if (position == p.positions - 1) {
                out.write(sums);
            }
        }
        step++;
        if (step == least) {
            step = 0;
            channel++;
            if (channel == words) {
                channel = 0;
                position++;
            }
        }
    }
}

// A position of the padded map takes a cycle a word of channels, and as many as its taps need where a window is complete.
template <class Shape>
void slide(const Window& p, decltype(Window::words) words, decltype(Window::count) count, hls::stream<Codes<Shape>>& in,
           hls::stream<WindowSums<Shape>>& out, WindowMemory<Shape>& memory) {
#pragma HLS INLINE
    Taps<Shape> window;
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
    WindowSums<Shape> sums = {};
    auto row = p.first_row, column = p.first_column;
    auto row_phase = p.first_row_phase, column_phase = p.first_column_phase;  // 0 where an output's window is complete
    decltype(p.width) x = 0;
    decltype(p.words) channel = 0;
    decltype(p.steps) step = 0;
    const int wait = waits(words);
    Index<Shape::line_words> at = 0;                                         // in a line
    Index<Shape::channel_words * WindowMemory<Shape>::steps> filter_at = 0;  // among the filters
slide_words:
    for (decltype(p.count) n = 0; n < count; n++) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=memory.lines inter RAW distance=2 true
#pragma HLS DEPENDENCE variable=memory.columns inter RAW distance=2 true
        FPGAFLOW_CYCLE(window_unit);
        const bool emits = row_phase == 0 && column_phase == 0;
        if (step == 0) {
            const bool inside = row >= 0 && row < p.rows && column >= 0 && column < p.columns;
            Codes<Shape> codes;
            if (inside) {
                codes = in.read();
            } else {
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    codes.v[l] = p.pad;
                }
            }
            shift_in<Shape>(codes, at, channel, memory, window);
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                sums.v[l] = 0;
            }
        }
        if (emits && step < p.steps) {
            add_taps<Shape>(p, step, filter_at + step, memory, window, sums);
            if (step == p.steps - 1) {
                out.write(sums);
            }
        }
        step++;
        if (step == (emits ? int(p.steps) : 1) + wait) {
            step = 0;
            channel++;
            at++;
            filter_at += p.steps;
            if (channel == words) {
                channel = 0;
                filter_at = 0;
                x++;
                column++;
                column_phase = column_phase == p.stride_columns - 1 ? decltype(column_phase)(0)
                                                                    : decltype(column_phase)(column_phase + 1);
                if (x == p.width) {
                    x = 0;
                    at = 0;
                    column = p.first_column;
                    column_phase = p.first_column_phase;
                    row++;
                    row_phase =
                        row_phase == p.stride_rows - 1 ? decltype(row_phase)(0) : decltype(row_phase)(row_phase + 1);
                }
            }
        }
    }
}

template <class Shape>
void window(const Window p, hls::stream<Codes<Shape>>& in, hls::stream<word128>& constants,
            hls::stream<WindowSums<Shape>>& out, WindowMemory<Shape>& memory) {
window_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        const bool last = tile == p.tiles - 1;
        const auto words = last ? p.last_words : p.words;
        const auto count = last ? p.last_count : p.count;
        if (p.mode == pass_on) {
        pass_on_words:
            for (decltype(p.count) n = 0; n < count; n++) {
#pragma HLS PIPELINE II=1 style=flp
                FPGAFLOW_CYCLE(window_unit);
                const Codes<Shape> codes = in.read();
                WindowSums<Shape> sums;
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    sums.v[l] = codes.v[l];
                }
                out.write(sums);
            }
        } else if (p.mode == global_sum) {
            add_globally<Shape>(p, words, count, in, out, memory);
        } else {
            if (p.mode == filter) {
                load_filters<Shape>(p, words, constants, memory);
            }
            slide<Shape>(p, words, count, in, out, memory);
        }
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
