// One filter a channel over the stream of a window; `parallel` taps of `lanes` channels a clock cycle.
#ifndef FPGAFLOW_DEPTHWISE_HPP
#define FPGAFLOW_DEPTHWISE_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config: id, positions, channels, lanes, taps, parallel, dsp; in_t, out_t, weight_t, product_t.
// weight[fold][parallel][lanes], a fold being (channel block, tap block).
// Cycles a frame: positions * (channels / lanes) * (taps / parallel).
template <class Config>
void depthwise(hls::stream<Lanes<typename Config::in_t, Config::lanes * Config::parallel>>& in,
               hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
               const Exact<typename Config::weight_t> (&weight)[(Config::channels / Config::lanes) *
                                                                (Config::taps / Config::parallel)]
                                                               [Config::parallel][Config::lanes],
               int frames) {
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::product_t> product_t;
    typedef Exact<typename Config::out_t> sum_t;
    constexpr int channel_blocks = Config::channels / Config::lanes;
    constexpr int tap_blocks = Config::taps / Config::parallel;

    sum_t sums[Config::lanes];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1

    Index<channel_blocks * tap_blocks> fold = 0;

    // Nothing stands between the loops, so that they flatten into one pipeline.
    for (int frame = 0; frame < frames; frame++) {
        for (int position = 0; position < Config::positions; position++) {
            for (int c = 0; c < channel_blocks; c++) {
                for (int t = 0; t < tap_blocks; t++) {
#pragma HLS PIPELINE II=1
                    FPGAFLOW_CYCLE(Config::id);
                    const Lanes<typename Config::in_t, Config::lanes * Config::parallel> word = in.read();
                    Lanes<typename Config::out_t, Config::lanes> result;
                    for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                        sum_t dot = 0;
                        for (int p = 0; p < Config::parallel; p++) {
#pragma HLS UNROLL
                            const value_t value = static_cast<value_t>(word.v[p * Config::lanes + l]);
                            dot += Multiplier<Config::dsp>::template product<product_t>(weight[fold][p][l], value);
                        }
                        const sum_t sum = t == 0 ? dot : static_cast<sum_t>(sums[l] + dot);
                        sums[l] = sum;
                        result.v[l] = typename Config::out_t(sum);
                    }
                    if (t == tap_blocks - 1) {
                        out.write(result);
                    }
                    fold = fold == channel_blocks * tap_blocks - 1 ? 0 : int(fold) + 1;
                }
            }
        }
    }
}

}  // namespace fpgaflow

#endif
