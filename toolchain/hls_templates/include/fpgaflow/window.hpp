// Sliding window over rows held in a circular buffer that runs on across frames.
#ifndef FPGAFLOW_WINDOW_HPP
#define FPGAFLOW_WINDOW_HPP

#include "fpgaflow/delay.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int smaller(int a, int b) { return a < b ? a : b; }
constexpr int wrapped(int a, int b) { return ((a % b) + b) % b; }

// What follows from a window's shape. Config: id; height, width, channels, lanes; out_height, out_width; kernel_h,
// kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, pad_value; type.
// While output row p is emitted, the input rows that row p + 1 needs in addition are read: a phase. Behind the last
// row of a frame come the rows that the next frame's first output row needs.
template <class Config>
struct WindowShape {
    static constexpr int span_h = (Config::kernel_h - 1) * Config::dilation_h + 1;
    static constexpr int span_w = (Config::kernel_w - 1) * Config::dilation_w + 1;
    static constexpr int taps = Config::kernel_h * Config::kernel_w;
    static constexpr int blocks = Config::channels / Config::lanes;
    static constexpr int row_words = Config::width * blocks;
    static constexpr int rows =
        span_h + Config::stride_h + larger(0, Config::height - Config::stride_h * Config::out_height);
    static constexpr int prologue_rows = larger(0, span_h - Config::pad_top);
    // From the first row of the last window to that of the next frame's first window.
    static constexpr int last_step = Config::height - Config::stride_h * (Config::out_height - 1);
    static constexpr int phase_reads = Config::stride_h * row_words;
    static constexpr int last_reads = larger(0, last_step) * row_words;
};

// The buffer: one memory where one tap leaves a cycle, one memory a row where all taps do.
template <class Config>
using WindowRows = Lanes<typename Config::type, Config::lanes>[WindowShape<Config>::rows][WindowShape<Config>::row_words];

// Slot of the row `offset` rows behind the one in `slot`; offset < rows.
template <class Shape>
int slot_of(int slot, int offset) {
#pragma HLS INLINE
    const int sum = slot + offset;
    return sum >= Shape::rows ? sum - Shape::rows : sum;
}

// Fills the buffer row by row. `left`: rows of all frames not yet read.
template <class Config>
struct RowWriter {
    typedef WindowShape<Config> Shape;
    Index<Shape::rows> slot;
    Index<Shape::row_words> word;
    int left;

    explicit RowWriter(int frames) : slot(0), word(0), left(frames * Config::height) {}

    // Reads one word; true behind the last one of a row.
    bool read(hls::stream<Lanes<typename Config::type, Config::lanes>>& in, WindowRows<Config>& buffer) {
#pragma HLS INLINE
        buffer[slot][word] = in.read();
        const bool row_ends = word == Shape::row_words - 1;
        word = row_ends ? 0 : int(word) + 1;
        if (row_ends) {
            slot = slot == Shape::rows - 1 ? 0 : int(slot) + 1;
            left--;
        }
        return row_ends;
    }
};

// One tap of `lanes` channels a clock cycle.
template <class Config>
struct SerialEmitter {
    typedef WindowShape<Config> Shape;
    static constexpr int lanes_out = Config::lanes;
    static constexpr int cycles = Config::out_width * Shape::blocks * Shape::taps;
    Index<Config::out_width> x;
    Index<Shape::blocks> block;
    Index<Config::kernel_h> kh;
    Index<Config::kernel_w> kw;

    SerialEmitter() { restart(); }

    void restart() {
#pragma HLS INLINE
        x = 0;
        block = 0;
        kh = 0;
        kw = 0;
    }

    void emit(const WindowRows<Config>& buffer, int slot, int top,
              hls::stream<Lanes<typename Config::type, lanes_out>>& out) {
#pragma HLS INLINE
        const int row = top + kh * Config::dilation_h;
        const int column = x * Config::stride_w - Config::pad_left + kw * Config::dilation_w;
        const bool inside = row >= 0 && row < Config::height && column >= 0 && column < Config::width;
        const int address = inside ? int(column * Shape::blocks + block) : 0;
        const Lanes<typename Config::type, lanes_out> held =
            buffer[slot_of<Shape>(slot, kh * Config::dilation_h)][address];
        Lanes<typename Config::type, lanes_out> word;
        for (int l = 0; l < lanes_out; l++) {
#pragma HLS UNROLL
            word.v[l] = inside ? held.v[l] : typename Config::type(Config::pad_value);
        }
        out.write(word);
        step();
    }

    void step() {
#pragma HLS INLINE
        const bool row_ends = kw == Config::kernel_w - 1;
        const bool taps_end = row_ends && kh == Config::kernel_h - 1;
        const bool pixel_ends = taps_end && block == Shape::blocks - 1;
        kw = row_ends ? 0 : int(kw) + 1;
        if (row_ends) {
            kh = taps_end ? 0 : int(kh) + 1;
        }
        if (taps_end) {
            block = pixel_ends ? 0 : int(block) + 1;
        }
        if (pixel_ends) {
            x++;
        }
    }
};

// All taps of `lanes` channels at once: columns of the padded map are shifted in, one a clock cycle, and a word leaves
// where the window is aligned with the stride.
template <class Config>
struct ParallelEmitter {
    typedef WindowShape<Config> Shape;
    typedef Lanes<typename Config::type, Config::lanes> word_t;
    static constexpr int lanes_out = Config::lanes * Shape::taps;
    static constexpr int columns = (Config::out_width - 1) * Config::stride_w + Shape::span_w;
    static constexpr int cycles = columns * Shape::blocks;
    Index<columns> column;
    Index<Shape::blocks> block;
    Index<Shape::span_w + Config::stride_w> until;  // columns until the next word
    Delay<word_t, Shape::blocks> line[Config::kernel_h][larger(1, Shape::span_w - 1)];

    ParallelEmitter() {
#pragma HLS ARRAY_PARTITION variable=line complete dim=0
        restart();
    }

    void restart() {
#pragma HLS INLINE
        column = -Config::pad_left;
        block = 0;
        until = Shape::span_w - 1;
    }

    void emit(const WindowRows<Config>& buffer, int slot, int top,
              hls::stream<Lanes<typename Config::type, lanes_out>>& out) {
#pragma HLS INLINE
        const bool inside = column >= 0 && column < Config::width;
        const int address = inside ? int(column * Shape::blocks + block) : 0;
        word_t held[Shape::rows];  // one read of every bank; the kernel's rows are chosen behind it
#pragma HLS ARRAY_PARTITION variable=held complete dim=0
        for (int r = 0; r < Shape::rows; r++) {
#pragma HLS UNROLL
            held[r] = buffer[r][address];
        }
        word_t window[Config::kernel_h][Shape::span_w];
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
        for (int kh = 0; kh < Config::kernel_h; kh++) {
#pragma HLS UNROLL
            const int row = top + kh * Config::dilation_h;
            const bool valid = inside && row >= 0 && row < Config::height;
            const int from = slot_of<Shape>(slot, kh * Config::dilation_h);
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                window[kh][Shape::span_w - 1].v[l] = valid ? held[from].v[l] : typename Config::type(Config::pad_value);
            }
            for (int w = Shape::span_w - 2; w >= 0; w--) {
#pragma HLS UNROLL
                window[kh][w] = line[kh][w].oldest();
                line[kh][w].push(window[kh][w + 1]);
            }
        }
        if (until == 0) {
            write(window, out);
        }
        step();
    }

    void write(const word_t (&window)[Config::kernel_h][Shape::span_w],
               hls::stream<Lanes<typename Config::type, lanes_out>>& out) {
#pragma HLS INLINE
        Lanes<typename Config::type, lanes_out> word;
        for (int kh = 0; kh < Config::kernel_h; kh++) {
#pragma HLS UNROLL
            for (int kw = 0; kw < Config::kernel_w; kw++) {
#pragma HLS UNROLL
                for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                    word.v[(kh * Config::kernel_w + kw) * Config::lanes + l] = window[kh][kw * Config::dilation_w].v[l];
                }
            }
        }
        out.write(word);
    }

    void step() {
#pragma HLS INLINE
        const bool pixel_ends = block == Shape::blocks - 1;
        block = pixel_ends ? 0 : int(block) + 1;
        if (pixel_ends) {
            column++;
            until = until == 0 ? Config::stride_w - 1 : int(until) - 1;
        }
    }
};

// The state of a window unit, stepped once a clock cycle.
template <class Config, class Emitter>
struct WindowState {
    typedef WindowShape<Config> Shape;
    static constexpr int phase_cycles = larger(Emitter::cycles, Shape::phase_reads);
    static constexpr int last_cycles = larger(Emitter::cycles, Shape::last_reads);
    static constexpr int frame_cycles = (Config::out_height - 1) * phase_cycles + last_cycles;

    RowWriter<Config> writer;
    Emitter emitter;
    Index<Config::out_height> phase;
    Index<larger(phase_cycles, last_cycles)> cycle;
    Index<Config::height> rows_due;                              // rows still to be read in this frame
    Index<Shape::rows> slot;                                     // where row `top` is, or would be
    Index<Config::height + Shape::span_h + Config::pad_top> top;  // first row under the kernel

    explicit WindowState(int frames)
        : writer(frames),
          phase(0),
          cycle(0),
          rows_due(Config::height),
          slot(wrapped(-Config::pad_top, Shape::rows)),
          top(-Config::pad_top) {}

    void step(hls::stream<Lanes<typename Config::type, Config::lanes>>& in, WindowRows<Config>& buffer,
              hls::stream<Lanes<typename Config::type, Emitter::lanes_out>>& out) {
#pragma HLS INLINE
        const bool last = phase == Config::out_height - 1;
        if (cycle < Emitter::cycles) {
            emitter.emit(buffer, slot, top, out);
        }
        if (cycle < (last ? Shape::last_reads : Shape::phase_reads) && rows_due > 0 && writer.left > 0) {
            if (writer.read(in, buffer)) {
                rows_due--;
            }
        }
        if (cycle < (last ? last_cycles : phase_cycles) - 1) {
            cycle++;
        } else {
            next_phase(last);
        }
    }

    void next_phase(bool last) {
#pragma HLS INLINE
        constexpr int step_slots = Config::stride_h % Shape::rows;
        constexpr int last_slots = wrapped(Shape::last_step, Shape::rows);
        slot = slot_of<Shape>(slot, last ? last_slots : step_slots);
        top = last ? -Config::pad_top : int(top) + Config::stride_h;
        phase = last ? 0 : int(phase) + 1;
        rows_due = last ? Config::height : int(rows_due);
        cycle = 0;
        emitter.restart();
    }
};

template <class Config, class Emitter>
void run_window(hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
                hls::stream<Lanes<typename Config::type, Emitter::lanes_out>>& out, WindowRows<Config>& buffer,
                int frames) {
#pragma HLS INLINE
    typedef WindowShape<Config> Shape;
    typedef WindowState<Config, Emitter> State;
    // A word is written at least about half a row before it is read, so in longer rows the two never meet.
    constexpr bool far = Shape::row_words >= 16;

    State state(frames);
    const int prologue = smaller(Shape::prologue_rows, frames * Config::height) * Shape::row_words;
    for (int i = 0; i < prologue; i++) {
#pragma HLS PIPELINE II=1
        FPGAFLOW_CYCLE(Config::id);
        state.writer.read(in, buffer);
    }
    if (far) {
        for (int frame = 0; frame < frames; frame++) {
            for (int i = 0; i < State::frame_cycles; i++) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=buffer type=inter false
                FPGAFLOW_CYCLE(Config::id);
                state.step(in, buffer, out);
            }
        }
    } else {
        for (int frame = 0; frame < frames; frame++) {
            for (int i = 0; i < State::frame_cycles; i++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(Config::id);
                state.step(in, buffer, out);
            }
        }
    }
}

// Lanes out: `lanes`. Cycles a frame: sum over output rows of max(out_width * blocks * taps, words read meanwhile).
template <class Config>
void window_serial(hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
                   hls::stream<Lanes<typename Config::type, Config::lanes>>& out, WindowRows<Config>& buffer,
                   int frames) {
    run_window<Config, SerialEmitter<Config>>(in, out, buffer, frames);
}

// Lanes out: `lanes` * taps. Cycles a frame: as above, with padded columns * blocks for the first term.
template <class Config>
void window_parallel(
    hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
    hls::stream<Lanes<typename Config::type, Config::lanes * WindowShape<Config>::taps>>& out,
    WindowRows<Config>& buffer, int frames) {
    run_window<Config, ParallelEmitter<Config>>(in, out, buffer, frames);
}

}  // namespace fpgaflow

#endif
