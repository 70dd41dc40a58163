// Index of the largest channel, of equal ones the first or the last.
#ifndef FPGAFLOW_ARGMAX_HPP
#define FPGAFLOW_ARGMAX_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config: id, channels, lanes, last; in_t, out_t. Cycles a frame: channels / lanes.
template <class Config>
void argmax(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
            hls::stream<Lanes<typename Config::out_t, 1>>& out, int frames) {
    typedef Exact<typename Config::in_t> value_t;
    constexpr int blocks = Config::channels / Config::lanes;
    value_t best = 0;
    int index = 0;
    for (int frame = 0; frame < frames; frame++) {
        for (int c = 0; c < blocks; c++) {
#pragma HLS PIPELINE II=1
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
            if (c == 0 || largest > best || (Config::last && largest == best)) {
                best = largest;
                index = c * Config::lanes + lane;
            }
            if (c == blocks - 1) {
                Lanes<typename Config::out_t, 1> result;
                result.v[0] = typename Config::out_t(index);
                out.write(result);
            }
        }
    }
}

}  // namespace fpgaflow

#endif
