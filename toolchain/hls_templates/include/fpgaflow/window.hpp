// Sliding window over rows held in a circular buffer that runs on across frames.
#ifndef FPGAFLOW_WINDOW_HPP
#define FPGAFLOW_WINDOW_HPP

#include "fpgaflow/delay.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

constexpr int wrapped(int a, int b) { return ((a % b) + b) % b; }

// Config of window_serial and window_parallel:
//   id                      of the unit
//   height, width           of the map that is read
//   channels, lanes         of a position, of a word
//   out_height, out_width   of the windows
//   kernel_h, kernel_w      taps
//   stride_h, stride_w      of the windows
//   dilation_h, dilation_w  of the taps
//   pad_top, pad_left       rows above and columns left of the map
//   pad_value               there and below and right of it
//   type                    of a channel
//
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

// Cycles at least between the store of a word and its load, and between its last load and the next store there, where a
// row is emitted in `cycles` cycles, a block of a column `step` cycles behind the other and `taps` cycles for one:
// the rows of a phase are loaded in the next phase, the last one by the kernel's last row; the rows under the kernel are
// others than those that are written, so a word is stored again a phase after its last load.
template <class Config>
struct SerialApart {
    typedef WindowShape<Config> Shape;
    static constexpr bool slow = Shape::taps >= Config::stride_w;  // than the reads
    // Column x * stride_w - pad_left + kw * dilation_w is stored in cycle column * blocks of its row.
    static constexpr int load = Shape::row_words + Shape::taps - 1 +
                                (Config::pad_left - (Config::kernel_w - 1) * Config::dilation_w) * Shape::blocks -
                                (slow ? 0 : (Config::out_width - 1) * Shape::blocks * (Config::stride_w - Shape::taps));
    static constexpr int last = larger(0, (Config::out_width - 1) * Config::stride_w - Config::pad_left);
    static constexpr int store = slow ? Shape::taps - Config::kernel_w + Shape::blocks + last * Shape::blocks
                                      : (Config::out_width - 1) * Shape::taps * Shape::blocks - Config::kernel_w + 1;
    // A row above the kernel's last one is stored a row of words earlier and loaded `kernel_w` cycles earlier.
    static constexpr int rows = (Config::kernel_h - 1) * larger(0, Config::kernel_w - Shape::row_words);
    static constexpr int value = larger(1, smaller(load, store) - rows);
};

template <class Config>
struct ParallelApart {
    typedef WindowShape<Config> Shape;
    static constexpr int columns = (Config::out_width - 1) * Config::stride_w + Shape::span_w;
    static constexpr int load = Shape::row_words + Config::pad_left * Shape::blocks;
    static constexpr int store = (columns - Config::pad_left) * Shape::blocks;
    static constexpr int value = larger(1, smaller(load, store));
};

// The buffer: one memory where one tap leaves a cycle, one memory a row where all taps do.
template <class Config>
using WindowRows =
    Lanes<typename Config::type, Config::lanes>[WindowShape<Config>::rows][WindowShape<Config>::row_words];

// Slot of the row `offset` rows behind the one in `slot`; offset < rows.
template <class Shape>
int slot_of(int slot, int offset) {
#pragma HLS INLINE
    const int sum = slot + offset;
    return sum >= Shape::rows ? sum - Shape::rows : sum;
}

// Fills the buffer row by row.
template <class Config, int Apart>
struct RowWriter {
    typedef WindowShape<Config> Shape;
    Counter<Shape::rows> slot;
    Counter<Shape::row_words> word;
    Counter<Config::height> row;
    int unread;  // frames that are not read to their end

    explicit RowWriter(int frames) : unread(frames) {
#pragma HLS INLINE
    }

    // Reads one word; true behind the last one of a row.
    bool read(hls::stream<Lanes<typename Config::type, Config::lanes>>& in, WindowRows<Config>& buffer) {
#pragma HLS INLINE
        FPGAFLOW_STORED(Config::id, "rows", slot * Shape::row_words + word, Apart);
        buffer[slot][word] = in.read();
        const bool row_ends = word.next();
        if (row_ends) {
            slot.next();
            if (row.next()) {
                unread--;
            }
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
    static constexpr int apart = SerialApart<Config>::value;
    Counter<Config::out_width> x;
    Counter<Shape::blocks> block;
    Counter<Config::kernel_h> kh;
    Counter<Config::kernel_w> kw;

    // All counters begin anew behind the last word of a row.
    void restart() {}

    void emit(const WindowRows<Config>& buffer, int slot, int top,
              hls::stream<Lanes<typename Config::type, lanes_out>>& out) {
#pragma HLS INLINE
        const int row = top + kh * Config::dilation_h;
        const int column = x * Config::stride_w - Config::pad_left + kw * Config::dilation_w;
        const bool inside = row >= 0 && row < Config::height && column >= 0 && column < Config::width;
        const int address = inside ? int(column * Shape::blocks + block) : 0;
        const int from = slot_of<Shape>(slot, kh * Config::dilation_h);
        if (inside) {
            FPGAFLOW_LOADED(Config::id, "rows", from * Shape::row_words + address, apart);
        }
        const Lanes<typename Config::type, lanes_out> held = buffer[from][address];
        Lanes<typename Config::type, lanes_out> word;
        for (int l = 0; l < lanes_out; l++) {
#pragma HLS UNROLL
            word.v[l] = inside ? held.v[l] : typename Config::type(Config::pad_value);
        }
        out.write(word);
        if (kw.next() && kh.next() && block.next()) {
            x.next();
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
    static constexpr int apart = ParallelApart<Config>::value;
    static constexpr int waiting = larger(1, Shape::span_w - 1);
    Index<columns> column;
    Counter<Shape::blocks> block;
    Index<Shape::span_w + Config::stride_w> until;  // columns until the next word
    Delay<typename Config::type, Config::lanes, Shape::blocks, Config::kernel_h * waiting> line;

    ParallelEmitter() {
#pragma HLS INLINE
        restart();
    }

    void restart() {
#pragma HLS INLINE
        column = -Config::pad_left;
        until = Shape::span_w - 1;
    }

    void emit(const WindowRows<Config>& buffer, int slot, int top,
              hls::stream<Lanes<typename Config::type, lanes_out>>& out) {
#pragma HLS INLINE
        const bool inside = column >= 0 && column < Config::width;
        const int address = inside ? int(column * Shape::blocks + block) : 0;
        // One read of every bank; the kernel's rows are chosen behind it.
        typename Config::type held[Shape::rows][Config::lanes];
#pragma HLS ARRAY_PARTITION variable=held complete dim=0
        for (int r = 0; r < Shape::rows; r++) {
#pragma HLS UNROLL
            const word_t word = buffer[r][address];
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                held[r][l] = word.v[l];
            }
        }
        typename Config::type window[Config::kernel_h][Shape::span_w][Config::lanes];
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
        for (int kh = 0; kh < Config::kernel_h; kh++) {
#pragma HLS UNROLL
            const int row = top + kh * Config::dilation_h;
            const bool valid = inside && row >= 0 && row < Config::height;
            const int from = slot_of<Shape>(slot, kh * Config::dilation_h);
            if (valid) {
                FPGAFLOW_LOADED(Config::id, "rows", from * Shape::row_words + address, apart);
            }
            word_t newest;
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                newest.v[l] = valid ? held[from][l] : typename Config::type(Config::pad_value);
            }
            for (int w = Shape::span_w - 1; w >= 0; w--) {
#pragma HLS UNROLL
                for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                    window[kh][w][l] = newest.v[l];
                }
                if (w > 0) {
                    const word_t older = line.oldest(kh * waiting + w - 1);
                    line.push(newest, kh * waiting + w - 1);
                    newest = older;
                }
            }
        }
        if (until == 0) {
            write(window, out);
        }
        if (block.next()) {
            column++;
            until = until == 0 ? Config::stride_w - 1 : int(until) - 1;
        }
    }

    void write(const typename Config::type (&window)[Config::kernel_h][Shape::span_w][Config::lanes],
               hls::stream<Lanes<typename Config::type, lanes_out>>& out) {
#pragma HLS INLINE
        Lanes<typename Config::type, lanes_out> word;
        for (int kh = 0; kh < Config::kernel_h; kh++) {
#pragma HLS UNROLL
            for (int kw = 0; kw < Config::kernel_w; kw++) {
#pragma HLS UNROLL
                for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                    word.v[(kh * Config::kernel_w + kw) * Config::lanes + l] = window[kh][kw * Config::dilation_w][l];
                }
            }
        }
        out.write(word);
    }
};

// The state of a window unit, stepped once a clock cycle: the rows of the first window are read, then phases follow.
template <class Config, class Emitter>
struct WindowState {
    typedef WindowShape<Config> Shape;
    static constexpr int phase_cycles = larger(Emitter::cycles, Shape::phase_reads);
    static constexpr int last_cycles = larger(Emitter::cycles, Shape::last_reads);

    RowWriter<Config, Emitter::apart> writer;
    Emitter emitter;
    int left;                             // frames that are not emitted to their end
    Index<Shape::prologue_rows> filling;  // rows until the first phase
    Counter<Config::out_height> phase;
    Index<larger(phase_cycles, last_cycles)> cycle;
    Index<Config::height> rows_due;                               // rows still to be read in this frame
    Index<Shape::rows> slot;                                      // where row `top` is, or would be
    Index<Config::height + Shape::span_h + Config::pad_top> top;  // first row under the kernel

    explicit WindowState(int frames)
        : writer(frames),
          left(frames),
          filling(Shape::prologue_rows),
          cycle(0),
          rows_due(Config::height),
          slot(wrapped(-Config::pad_top, Shape::rows)),
          top(-Config::pad_top) {
#pragma HLS INLINE
    }

    void step(hls::stream<Lanes<typename Config::type, Config::lanes>>& in, WindowRows<Config>& buffer,
              hls::stream<Lanes<typename Config::type, Emitter::lanes_out>>& out) {
#pragma HLS INLINE
        const bool running = filling == 0, last = phase.last();
        if (running && cycle < Emitter::cycles) {
            emitter.emit(buffer, slot, top, out);
        }
        const bool due = cycle < (last ? Shape::last_reads : Shape::phase_reads) && rows_due > 0;
        bool row_ends = false;
        if ((!running || due) && writer.unread > 0) {
            row_ends = writer.read(in, buffer);
        }
        if (!running) {
            if (row_ends) {
                filling = writer.unread > 0 ? int(filling) - 1 : 0;
            }
            return;
        }
        if (row_ends) {
            rows_due--;
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
        rows_due = last ? Config::height : int(rows_due);
        cycle = 0;
        emitter.restart();
        if (phase.next()) {
            left--;
        }
    }
};

template <class Config, class Emitter>
void run_window(hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
                hls::stream<Lanes<typename Config::type, Emitter::lanes_out>>& out, WindowRows<Config>& buffer,
                int frames) {
#pragma HLS INLINE
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    WindowState<Config, Emitter> state(frames);
    if (Emitter::apart >= far_apart) {
    window_loop:
        while (state.left > 0) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=buffer type=intra false
#pragma HLS DEPENDENCE variable=buffer type=inter false
            FPGAFLOW_CYCLE(Config::id);
            state.step(in, buffer, out);
        }
    } else {
    window_near_loop:
        while (state.left > 0) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=buffer type=intra false
            FPGAFLOW_CYCLE(Config::id);
            state.step(in, buffer, out);
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
void window_parallel(hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
                     hls::stream<Lanes<typename Config::type, Config::lanes * WindowShape<Config>::taps>>& out,
                     WindowRows<Config>& buffer, int frames) {
    run_window<Config, ParallelEmitter<Config>>(in, out, buffer, frames);
}

}  // namespace fpgaflow

#endif
