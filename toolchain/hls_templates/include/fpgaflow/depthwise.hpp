// One filter a channel over the stream of a window; `parallel` taps of `lanes` channels a clock cycle.
#ifndef FPGAFLOW_DEPTHWISE_HPP
#define FPGAFLOW_DEPTHWISE_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of depthwise:
//   id                    of the unit
//   positions             of a frame
//   channels, lanes       of a position, of those that are computed at once
//   taps, parallel        of a filter, of those that come at once
//   dsp                   whether products are on DSP slices
//   in_t, out_t           of an input, of every sum
//   weight_t, product_t   of a weight, of every product
// weight[fold][parallel][lanes], a fold being (channel block, tap block).
// Cycles a frame: positions * (channels / lanes) * (taps / parallel).
template <class Config>
void depthwise(hls::stream<Lanes<typename Config::in_t, Config::lanes * Config::parallel>>& in,
               hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
               const Exact<typename Config::weight_t> (
                   &weight)[(Config::channels / Config::lanes) * (Config::taps / Config::parallel)][Config::parallel]
                           [Config::lanes],
               int frames) {
    static_assert(Config::channels % Config::lanes == 0, "blocks of channels have all lanes");
    static_assert(Config::taps % Config::parallel == 0, "the taps of a filter come in whole words");
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::product_t> product_t;
    typedef Exact<typename Config::out_t> sum_t;
    constexpr int channel_blocks = Config::channels / Config::lanes;
    constexpr int tap_blocks = Config::taps / Config::parallel;

    sum_t sums[Config::lanes];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1

    Counter<tap_blocks> taps;
    Counter<channel_blocks * tap_blocks> fold;
    Counter<Config::positions> position;
    int frame = 0;
depthwise_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
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
            const sum_t sum = taps == 0 ? dot : static_cast<sum_t>(sums[l] + dot);
            sums[l] = sum;
            result.v[l] = typename Config::out_t(sum);
        }
        if (taps.last()) {
            out.write(result);
        }
        taps.next();
        if (fold.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
