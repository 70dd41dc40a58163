// Sum over all positions of a frame, a channel at a time.
#ifndef FPGAFLOW_GLOBAL_SUM_HPP
#define FPGAFLOW_GLOBAL_SUM_HPP

#include "fpgaflow/delay.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of global_sum:
//   id               of the unit
//   positions        of a frame
//   channels, lanes  of a position, of a word
//   in_t, out_t      of a channel, of its sum
// Cycles a frame: positions * channels / lanes.
// The running sums stand in a delay line one position long: each returns when its channel does.
template <class Config>
void global_sum(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
                hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    typedef Lanes<typename Config::out_t, Config::lanes> word_t;
    typedef Exact<typename Config::out_t> sum_t;
    constexpr int blocks = Config::channels / Config::lanes;

    Delay<typename Config::out_t, Config::lanes, blocks> sums;
    Counter<blocks> block;
    Counter<Config::positions> position;
    int frame = 0;
global_sum_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> word = in.read();
        const word_t before = sums.oldest();
        word_t after;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const sum_t base = position == 0 ? sum_t(0) : static_cast<sum_t>(before.v[l]);
            after.v[l] = typename Config::out_t(base + static_cast<sum_t>(word.v[l]));
        }
        sums.push(after);
        if (position.last()) {
            out.write(after);
        }
        if (block.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
