// Maximum over all positions of a frame, a channel at a time.
#ifndef FPGAFLOW_GLOBAL_MAX_HPP
#define FPGAFLOW_GLOBAL_MAX_HPP

#include "fpgaflow/delay.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of global_max:
//   id               of the unit
//   positions        of a frame
//   channels, lanes  of a position, of a word
//   type             of a channel
// Cycles a frame: positions * channels / lanes.
// The running maxima stand in a delay line one position long: each returns when its channel does.
template <class Config>
void global_max(hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
                hls::stream<Lanes<typename Config::type, Config::lanes>>& out, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    typedef Lanes<typename Config::type, Config::lanes> word_t;
    constexpr int blocks = Config::channels / Config::lanes;

    Delay<typename Config::type, Config::lanes, blocks> maxima;
    Counter<blocks> block;
    Counter<Config::positions> position;
    int frame = 0;
global_max_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const word_t word = in.read();
        const word_t before = maxima.oldest();
        word_t after;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            after.v[l] = position == 0 || word.v[l] > before.v[l] ? word.v[l] : before.v[l];
        }
        maxima.push(after);
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
