// Maximum or sum over the taps of a window's stream; `parallel` taps of `lanes` channels a clock cycle.
#ifndef FPGAFLOW_POOL_HPP
#define FPGAFLOW_POOL_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of pool:
//   id               of the unit
//   positions        of a frame
//   channels, lanes  of a position, of those that are pooled at once
//   taps, parallel   of a window, of those that come at once
//   maximum          whether to take the maximum, else the sum
//   in_t, out_t      of a tap, of a result
// Cycles a frame: positions * (channels / lanes) * (taps / parallel).
template <class Config>
void pool(hls::stream<Lanes<typename Config::in_t, Config::lanes * Config::parallel>>& in,
          hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames) {
    typedef Exact<typename Config::out_t> value_t;
    static_assert(Config::channels % Config::lanes == 0, "blocks of channels have all lanes");
    static_assert(Config::taps % Config::parallel == 0, "the taps of a window come in whole words");

    value_t best[Config::lanes];
#pragma HLS ARRAY_PARTITION variable=best complete dim=1

    Counter<Config::taps / Config::parallel> taps;
    Counter<Config::positions*(Config::channels / Config::lanes)> block;
    int frame = 0;
pool_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes * Config::parallel> word = in.read();
        Lanes<typename Config::out_t, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            value_t value = best[l];
            for (int p = 0; p < Config::parallel; p++) {
#pragma HLS UNROLL
                const value_t tap = static_cast<value_t>(word.v[p * Config::lanes + l]);
                if (taps == 0 && p == 0) {
                    value = tap;
                } else if (Config::maximum) {
                    value = tap > value ? tap : value;
                } else {
                    value = static_cast<value_t>(value + tap);
                }
            }
            best[l] = value;
            result.v[l] = typename Config::out_t(value);
        }
        if (taps.last()) {
            out.write(result);
        }
        if (taps.next() && block.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
