// Bursts between DDR memory and streams; every frame starts at a new 128-bit word.
#ifndef FPGAFLOW_MEMORY_HPP
#define FPGAFLOW_MEMORY_HPP

#include "fpgaflow/types.hpp"

// Every word that passes a memory port; the C simulation may count them. They take no more cycles than the unit beside.
#ifndef FPGAFLOW_BEAT
#define FPGAFLOW_BEAT(port) ((void)0)
#endif

namespace fpgaflow {

typedef ap_uint<128> word128;

// A 128-bit word holds `groups` stream words of lanes * bits bits each, the first one lowest.
template <class Config>
struct Packing {
    static_assert(Config::lanes * Config::bits <= 128, "a word of the memory holds a stream's word");
    static constexpr int group_bits = Config::lanes * Config::bits;
    static constexpr int groups = 128 / group_bits;
    static constexpr int words = (Config::groups + groups - 1) / groups;
    static constexpr int last_groups = Config::groups - (words - 1) * groups;  // of a frame's last word
};

// `words` words a frame, one a clock cycle, in bursts. Of the number of words, the one product of run-time numbers, no
// DSP slice is spent: none is planned for it. Config as for unpack.
template <class Config>
void load(const word128* memory, hls::stream<word128>& out, int frames) {
    const int words = frames * Packing<Config>::words;
#pragma HLS BIND_OP variable=words op=mul impl=fabric
load_loop:
    for (int i = 0; i < words; i++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_BEAT(Config::id);
        out.write(memory[i]);
    }
}

template <class Config>
void store(hls::stream<word128>& in, word128* memory, int frames) {
    const int words = frames * Packing<Config>::words;
#pragma HLS BIND_OP variable=words op=mul impl=fabric
store_loop:
    for (int i = 0; i < words; i++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_BEAT(Config::id);
        memory[i] = in.read();
    }
}

// Config of unpack and pack:
//   id           of the unit
//   groups       stream words of a frame
//   lanes, bits  of a stream word, of a lane
//   type         of a lane
// Cycles a frame: groups.
template <class Config>
void unpack(hls::stream<word128>& in, hls::stream<Lanes<typename Config::type, Config::lanes>>& out, int frames) {
    constexpr int group_bits = Packing<Config>::group_bits;
    word128 word = 0;
    Counter<Packing<Config>::groups> held;
    Counter<Config::groups> group;
    int frame = 0;
unpack_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        if (held == 0) {
            word = in.read();
        }
        const ap_uint<group_bits> lowest = word;
        Lanes<typename Config::type, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            result.v[l].range(Config::bits - 1, 0) = lowest.range((l + 1) * Config::bits - 1, l * Config::bits);
        }
        out.write(result);
        word >>= group_bits % 128;
        held.next();
        if (group.next()) {
            held.at = 0;
            frame++;
        }
    }
}

// Words fill from the top, by a shift of constant distance: what is written does not depend on a position within the
// word. Cycles a frame: groups.
template <class Config>
void pack(hls::stream<Lanes<typename Config::type, Config::lanes>>& in, hls::stream<word128>& out, int frames) {
    typedef Packing<Config> Shape;
    constexpr int group_bits = Shape::group_bits;
    constexpr int used = Shape::groups * group_bits;
    ap_uint<used> word = 0;
    Counter<Shape::groups> held;
    Counter<Config::groups> group;
    int frame = 0;
pack_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::type, Config::lanes> value = in.read();
        ap_uint<group_bits> newest;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            newest.range((l + 1) * Config::bits - 1, l * Config::bits) = value.v[l].range(Config::bits - 1, 0);
        }
        word >>= group_bits % used;
        word.range(used - 1, used - group_bits) = newest;
        if (group.last()) {
            out.write(word128(word >> (Shape::groups - Shape::last_groups) * group_bits));
        } else if (held.last()) {
            out.write(word128(word));
        }
        held.next();
        if (group.next()) {
            held.at = 0;
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
