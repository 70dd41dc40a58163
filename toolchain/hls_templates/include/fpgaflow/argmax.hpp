// Index of the largest channel, of equal ones the first or the last.
#ifndef FPGAFLOW_ARGMAX_HPP
#define FPGAFLOW_ARGMAX_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of argmax:
//   id               of the unit
//   channels, lanes  of a frame, of a word
//   last             whether the last of equal channels wins
//   in_t, out_t      of a channel, of the index
// Cycles a frame: channels / lanes.
template <class Config>
void argmax(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
            hls::stream<Lanes<typename Config::out_t, 1>>& out, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a frame have all lanes");
    typedef Exact<typename Config::in_t> value_t;
    value_t best = 0;
    Index<Config::channels> index = 0;
    Counter<Config::channels / Config::lanes> block;
    int frame = 0;
argmax_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> word = in.read();
        value_t largest = static_cast<value_t>(word.v[0]);
        int lane = 0;
        for (int l = 1; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const value_t value = static_cast<value_t>(word.v[l]);
            if (value > largest || (Config::last && value == largest)) {
                largest = value;
                lane = l;
            }
        }
        if (block == 0 || largest > best || (Config::last && largest == best)) {
            best = largest;
            index = block * Config::lanes + lane;
        }
        if (block.last()) {
            Lanes<typename Config::out_t, 1> result;
            result.v[0] = typename Config::out_t(index);
            out.write(result);
        }
        if (block.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
