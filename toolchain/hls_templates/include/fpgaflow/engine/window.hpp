// Depthwise filter, pool or global sum behind the convolution; rows stream through a line buffer.
#ifndef FPGAFLOW_ENGINE_WINDOW_HPP
#define FPGAFLOW_ENGINE_WINDOW_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

// The last kernel - 1 rows, the last kernel - 1 columns of every channel word, its filters and its running sums.
template <class Shape>
struct WindowMemory {
    Code<Shape> lines[Shape::kernel - 1][Shape::line_words][Shape::lanes];
    Code<Shape> columns[Shape::channel_words][Shape::kernel][Shape::kernel - 1][Shape::lanes];
    Exact<typename Shape::filter_t> filters[Shape::channel_words][Shape::kernel * Shape::kernel][Shape::lanes];
    WindowSum<Shape> totals[Shape::channel_words][Shape::lanes];
};

template <class Shape>
void load_filters(int words, int taps, hls::stream<word128>& constants, WindowMemory<Shape>& memory) {
    for (int w = 0; w < words; w++) {
        for (int t = 0; t < taps; t++) {
#pragma HLS PIPELINE II=1
            const Beat word = constants.read();
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const ap_int<Shape::filter_bits> code = bits_of<Shape::filter_bits>(word, l * Shape::filter_bits);
                memory.filters[w][t][l] = static_cast<Exact<typename Shape::filter_t>>(code);
            }
        }
    }
}

// A new column of the window of one channel word: the line buffer's and `code` below; everything moves on by one.
template <class Shape>
void shift_in(const Codes<Shape>& code, int at, int channel, WindowMemory<Shape>& memory,
              Code<Shape> (&window)[Shape::kernel][Shape::kernel][Shape::lanes]) {
#pragma HLS INLINE
    constexpr int k = Shape::kernel;
    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
        for (int r = 0; r < k; r++) {
#pragma HLS UNROLL
            const Code<Shape> newest = r == k - 1 ? code.v[l] : memory.lines[r][at][l];
            if (r > 0) {
                memory.lines[r - 1][at][l] = newest;
            }
            for (int c = 0; c < k - 1; c++) {
#pragma HLS UNROLL
                window[r][c][l] = memory.columns[channel][r][c][l];
            }
            window[r][k - 1][l] = newest;
            for (int c = 0; c < k - 1; c++) {
#pragma HLS UNROLL
                memory.columns[channel][r][c][l] = window[r][c + 1][l];
            }
        }
    }
}

// Taps [first, first + taps) of the kernel, which is the last rows and columns of the window, added to `sums`.
template <class Shape>
void add_taps(const int (&p)[fields], int first, int channel, const WindowMemory<Shape>& memory,
              const Code<Shape> (&window)[Shape::kernel][Shape::kernel][Shape::lanes], WindowSums<Shape>& sums) {
#pragma HLS INLINE
    const int k = p[f_w_kernel], skip = Shape::kernel - k;
    for (int t = 0; t < Shape::taps; t++) {
#pragma HLS UNROLL
        const int tap = first + t;
        if (tap < k * k) {
            const int r = skip + tap / k, c = skip + tap % k;
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const Code<Shape> code = window[r][c][l];
                const WindowSum<Shape> sum = code;
                if (Shape::pools && p[f_mode] == largest) {
                    sums.v[l] = sum > sums.v[l] ? sum : sums.v[l];
                } else if (Shape::filters && p[f_mode] == filter) {
                    const Exact<typename Shape::filter_t> factor = memory.filters[channel][tap][l];
                    sums.v[l] += l < Shape::filter_dsp_lanes
                                     ? Multiplier<true>::template product<WindowSum<Shape>>(factor, code)
                                     : Multiplier<false>::template product<WindowSum<Shape>>(factor, code);
                } else {
                    sums.v[l] += sum;
                }
            }
        }
    }
}

// The sum over all positions; the last position sends it.
template <class Shape>
void add_globally(int words, int positions, hls::stream<Codes<Shape>>& in, hls::stream<WindowSums<Shape>>& out,
                  WindowMemory<Shape>& memory) {
    for (int n = 0; n < positions; n++) {
        for (int channel = 0; channel < words; channel++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(window_unit);
            const Codes<Shape> codes = in.read();
            WindowSums<Shape> sums;
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                sums.v[l] = (n == 0 ? WindowSum<Shape>(0) : memory.totals[channel][l]) + WindowSum<Shape>(codes.v[l]);
                memory.totals[channel][l] = sums.v[l];
            }
            if (n == positions - 1) {
                out.write(sums);
            }
        }
    }
}

// One iteration takes a position of the padded map, and as many cycles as its taps need where a window is complete.
template <class Shape>
void slide(const int (&p)[fields], int words, hls::stream<Codes<Shape>>& in, hls::stream<WindowSums<Shape>>& out,
           WindowMemory<Shape>& memory) {
    const int height = p[f_out_rows] + p[f_w_top] + p[f_w_bottom];
    const int width = p[f_out_columns] + p[f_w_left] + p[f_w_right];
    const int complete = p[f_w_out_rows] * p[f_w_out_columns] * (p[f_w_steps] - 1);
    const int total = (height * width + complete) * words;
    Code<Shape> window[Shape::kernel][Shape::kernel][Shape::lanes];
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
    WindowSums<Shape> sums = {};
    int y = 0, x = 0, channel = 0, step = 0;
    int row_phase = 1 - p[f_w_kernel], column_phase = 1 - p[f_w_kernel];  // 0 where an output row or column is complete
    for (int n = 0; n < total; n++) {
#pragma HLS PIPELINE II=1
        FPGAFLOW_CYCLE(window_unit);
        const bool emits = row_phase == 0 && column_phase == 0;
        if (step == 0) {
            const int row = y - p[f_w_top], column = x - p[f_w_left];
            const bool inside = row >= 0 && row < p[f_out_rows] && column >= 0 && column < p[f_out_columns];
            Codes<Shape> codes;
            if (inside) {
                codes = in.read();
            } else {
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    codes.v[l] = static_cast<Code<Shape>>(p[f_w_pad]);
                }
            }
            shift_in<Shape>(codes, x * words + channel, channel, memory, window);
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                sums.v[l] = 0;
            }
        }
        if (emits) {
            add_taps<Shape>(p, step * Shape::taps, channel, memory, window, sums);
            if (step == p[f_w_steps] - 1) {
                out.write(sums);
            }
        }
        step++;
        if (!emits || step == p[f_w_steps]) {
            step = 0;
            channel++;
            if (channel == words) {
                channel = 0;
                x++;
                column_phase = column_phase == p[f_w_stride] - 1 ? 0 : column_phase + 1;
                if (x == width) {
                    x = 0;
                    column_phase = 1 - p[f_w_kernel];
                    y++;
                    row_phase = row_phase == p[f_w_stride] - 1 ? 0 : row_phase + 1;
                }
            }
        }
    }
}

template <class Shape>
void window(const int (&p)[fields], hls::stream<Codes<Shape>>& in, hls::stream<word128>& constants,
            hls::stream<WindowSums<Shape>>& out, WindowMemory<Shape>& memory) {
    const int positions = p[f_out_rows] * p[f_out_columns];
    for (int tile = 0; tile < p[f_tiles]; tile++) {
        const int words = tile == p[f_tiles] - 1 ? p[f_last_words] : p[f_tile_words];
        if (p[f_mode] == pass_on) {
            const int turns = p[f_raw] ? 32 / Shape::act_bits : 1;
            for (int n = 0; n < positions * words * turns; n++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(window_unit);
                const Codes<Shape> codes = in.read();
                WindowSums<Shape> sums;
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    sums.v[l] = codes.v[l];
                }
                out.write(sums);
            }
        } else if (p[f_mode] == global_sum) {
            add_globally<Shape>(words, positions, in, out, memory);
        } else {
            if (p[f_mode] == filter) {
                load_filters<Shape>(words, p[f_w_kernel] * p[f_w_kernel], constants, memory);
            }
            slide<Shape>(p, words, in, out, memory);
        }
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
