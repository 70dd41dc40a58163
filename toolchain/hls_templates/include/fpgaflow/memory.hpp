// Bursts between DDR memory and streams; every frame starts at a new 128-bit word.
#ifndef FPGAFLOW_MEMORY_HPP
#define FPGAFLOW_MEMORY_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

typedef ap_uint<128> word128;

// A 128-bit word holds `groups` stream words of lanes * bits bits each, the first one lowest.
template <class Config>
struct Packing {
    static constexpr int group_bits = Config::lanes * Config::bits;
    static constexpr int groups = 128 / group_bits;
    static constexpr int words = (Config::groups + groups - 1) / groups;
};

// `words` words a frame, one a clock cycle, in bursts.
template <class Config>
void load(const word128* memory, hls::stream<word128>& out, int frames) {
    const int words = frames * Packing<Config>::words;
    for (int i = 0; i < words; i++) {
#pragma HLS PIPELINE II=1
        out.write(memory[i]);
    }
}

template <class Config>
void store(hls::stream<word128>& in, word128* memory, int frames) {
    const int words = frames * Packing<Config>::words;
    for (int i = 0; i < words; i++) {
#pragma HLS PIPELINE II=1
        memory[i] = in.read();
    }
}

// Config: id, groups (stream words a frame), lanes, bits; type. Cycles a frame: groups.
template <class Config>
void unpack(hls::stream<word128>& in, hls::stream<Lanes<typename Config::type, Config::lanes>>& out, int frames) {
    constexpr int group_bits = Packing<Config>::group_bits;
    word128 word = 0;
    Index<Packing<Config>::groups> held = 0;
    for (int frame = 0; frame < frames; frame++) {
        for (int i = 0; i < Config::groups; i++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(Config::id);
            if (held == 0) {
                word = in.read();
            }
            const ap_uint<group_bits> group = word;
            Lanes<typename Config::type, Config::lanes> result;
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                result.v[l].range(Config::bits - 1, 0) = group.range((l + 1) * Config::bits - 1, l * Config::bits);
            }
            out.write(result);
            word >>= group_bits % 128;
            held = held == Packing<Config>::groups - 1 || i == Config::groups - 1 ? 0 : int(held) + 1;
        }
    }
}

// Config as for unpack. Cycles a frame: groups.
template <class Config>
void pack(hls::stream<Lanes<typename Config::type, Config::lanes>>& in, hls::stream<word128>& out, int frames) {
    constexpr int group_bits = Packing<Config>::group_bits;
    word128 word = 0;
    Index<Packing<Config>::groups> held = 0;
    for (int frame = 0; frame < frames; frame++) {
        for (int i = 0; i < Config::groups; i++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(Config::id);
            const Lanes<typename Config::type, Config::lanes> value = in.read();
            ap_uint<group_bits> group;
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                group.range((l + 1) * Config::bits - 1, l * Config::bits) = value.v[l].range(Config::bits - 1, 0);
            }
            word.range(held * group_bits + group_bits - 1, held * group_bits) = group;
            if (held == Packing<Config>::groups - 1 || i == Config::groups - 1) {
                out.write(word);
                word = 0;
                held = 0;
            } else {
                held++;
            }
        }
    }
}

}  // namespace fpgaflow

#endif
