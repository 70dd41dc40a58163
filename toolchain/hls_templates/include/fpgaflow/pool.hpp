// Maximum or sum over the taps of a window's stream; `parallel` taps of `lanes` channels a clock cycle.
#ifndef FPGAFLOW_POOL_HPP
#define FPGAFLOW_POOL_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config: id, positions, channels, lanes, taps, parallel, maximum; in_t, out_t.
// Cycles a frame: positions * (channels / lanes) * (taps / parallel).
template <class Config>
void pool(hls::stream<Lanes<typename Config::in_t, Config::lanes * Config::parallel>>& in,
          hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames) {
    typedef Exact<typename Config::out_t> value_t;
    constexpr int blocks = Config::positions * (Config::channels / Config::lanes);
    constexpr int tap_blocks = Config::taps / Config::parallel;

    value_t best[Config::lanes];
#pragma HLS ARRAY_PARTITION variable=best complete dim=1

    for (int frame = 0; frame < frames; frame++) {
        for (int block = 0; block < blocks; block++) {
            for (int t = 0; t < tap_blocks; t++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(Config::id);
                const Lanes<typename Config::in_t, Config::lanes * Config::parallel> word = in.read();
                Lanes<typename Config::out_t, Config::lanes> result;
                for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                    value_t value = best[l];
                    for (int p = 0; p < Config::parallel; p++) {
#pragma HLS UNROLL
                        const value_t tap = static_cast<value_t>(word.v[p * Config::lanes + l]);
                        if (t == 0 && p == 0) {
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
                if (t == tap_blocks - 1) {
                    out.write(result);
                }
            }
        }
    }
}

}  // namespace fpgaflow

#endif
