// Positions and channels exchanged.
#ifndef FPGAFLOW_TRANSPOSE_HPP
#define FPGAFLOW_TRANSPOSE_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of transpose:
//   id                   of the unit
//   positions, channels  of a frame that is read, of each of its positions
//   lanes_in             channels of a word that is read
//   lanes_out            positions of a word that is written
//   type                 of an element
template <class Config>
struct TransposeShape {
    static constexpr int in_blocks = Config::channels / Config::lanes_in;
    static constexpr int out_blocks = Config::positions / Config::lanes_out;
    static constexpr int frame_depth = in_blocks * out_blocks;
    static constexpr int read_cycles = Config::positions * in_blocks;
    static constexpr int cycles = larger(read_cycles, Config::channels* out_blocks);
    // Element (p, c) comes in cycle p * in_blocks + c / lanes_in of a period and leaves in cycle
    // c * out_blocks + p / lanes_out of the next. Nearest are a load and a store of the last position's first channels,
    // and of the first position's last ones.
    static constexpr int apart = in_blocks + out_blocks - 1;
};

// Element (p, c) of a frame at [slot * frame_depth + p / lanes_out * in_blocks + c / lanes_in][p % lanes_out][c % lanes_in].
template <class Config>
using TransposeFrames =
    typename Config::type[2 * TransposeShape<Config>::frame_depth][Config::lanes_out][Config::lanes_in];

// The state of a unit, stepped once a clock cycle: the first frame is read, then each one leaves while the next comes in.
template <class Config>
struct TransposeState {
    typedef TransposeShape<Config> Shape;
    bool filling;        // the first frame
    int unread;          // frames that are not read to their end
    int left;            // frames that are not written to their end
    bool reads, writes;  // the frame that comes in, the one that leaves, has more words
    Index<1> slot;       // the frame that leaves
    // Words of the position that is read, its place in a word of the output, words of the output in front of it; and of
    // the channel that leaves the same.
    Counter<Shape::in_blocks> in_block;
    Counter<Config::lanes_out> in_lane;
    Counter<Shape::out_blocks> in_row;
    Counter<Shape::out_blocks> out_block;
    Counter<Config::lanes_in> out_lane;
    Counter<Shape::in_blocks> out_row;
    Counter<Shape::cycles> cycle;

    explicit TransposeState(int frames)
        : filling(true), unread(frames), left(frames), reads(true), writes(true), slot(1) {
#pragma HLS INLINE
    }

    void step(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in, TransposeFrames<Config>& held,
              hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out) {
#pragma HLS INLINE
        if (!filling && writes) {
            write(held, out);
        }
        if (reads && unread > 0) {
            read(in, held);
        }
        if (filling ? !reads : cycle.next()) {
            if (!filling) {
                left--;
            }
            filling = false;
            slot = int(1 - slot);
            reads = true;
            writes = true;
        }
    }

    void read(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in, TransposeFrames<Config>& held) {
#pragma HLS INLINE
        const Lanes<typename Config::type, Config::lanes_in> word = in.read();
        const int address = (1 - slot) * Shape::frame_depth + in_row * Shape::in_blocks + in_block;
        FPGAFLOW_STORED(Config::id, "held", address * Config::lanes_out + in_lane, Shape::apart);
        for (int l = 0; l < Config::lanes_in; l++) {
#pragma HLS UNROLL
            held[address][in_lane][l] = word.v[l];
        }
        if (in_block.next() && in_lane.next() && in_row.next()) {
            reads = false;
            unread--;
        }
    }

    void write(const TransposeFrames<Config>& held, hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out) {
#pragma HLS INLINE
        const int address = slot * Shape::frame_depth + out_block * Shape::in_blocks + out_row;
        Lanes<typename Config::type, Config::lanes_out> result;
        for (int l = 0; l < Config::lanes_out; l++) {
#pragma HLS UNROLL
            FPGAFLOW_LOADED(Config::id, "held", address * Config::lanes_out + l, Shape::apart);
            result.v[l] = held[address][l][out_lane];
        }
        out.write(result);
        if (out_block.next() && out_lane.next() && out_row.next()) {
            writes = false;
        }
    }
};

// Cycles a frame: the words that are read or those that are written, whichever are more; the first frame's reads come
// once a call.
template <class Config>
void transpose(hls::stream<Lanes<typename Config::type, Config::lanes_in>>& in,
               hls::stream<Lanes<typename Config::type, Config::lanes_out>>& out, TransposeFrames<Config>& held,
               int frames) {
    static_assert(Config::channels % Config::lanes_in == 0, "the words of a position have all channels");
    static_assert(Config::positions % Config::lanes_out == 0, "the words of a channel have all positions");
    TransposeState<Config> state(frames);
    if (TransposeShape<Config>::apart >= far_apart) {
    transpose_loop:
        while (state.left > 0) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=held type=intra false
#pragma HLS DEPENDENCE variable=held type=inter false
            FPGAFLOW_CYCLE(Config::id);
            state.step(in, held, out);
        }
    } else {
    transpose_near_loop:
        while (state.left > 0) {
#pragma HLS PIPELINE II=1 style=flp
#pragma HLS DEPENDENCE variable=held type=intra false
            FPGAFLOW_CYCLE(Config::id);
            state.step(in, held, out);
        }
    }
}

}  // namespace fpgaflow

#endif
