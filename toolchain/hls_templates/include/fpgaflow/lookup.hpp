// Any function of one integer, by a table.
#ifndef FPGAFLOW_LOOKUP_HPP
#define FPGAFLOW_LOOKUP_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// y = table[x - low]. Config of lookup:
//   id                        of the unit
//   positions                 of a frame
//   channels, lanes           of a position, of a word
//   entries                   of a function
//   table_blocks              of the table [lanes][table_blocks][entries]: channels / lanes functions a lane, or one
//   low                       the input of the first entry
//   in_t, out_t               of a channel, of an entry
//   table_t                   of the table
//   place_t                   holds inputs, low and their differences
// Cycles a frame: positions * channels / lanes. Every lane has a memory of its own: each is read once a cycle.
template <class Config>
void lookup(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
            hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
            const Exact<typename Config::table_t> (&table)[Config::lanes][Config::table_blocks][Config::entries],
            int frames) {
    typedef Exact<typename Config::out_t> code_t;
    typedef Exact<typename Config::place_t> place_t;
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    constexpr int blocks = Config::channels / Config::lanes;
    static_assert(Config::table_blocks == 1 || Config::table_blocks == blocks, "a function a channel, or one");

    Counter<blocks> c;
    Counter<Config::positions> position;
    int frame = 0;
lookup_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> word = in.read();
        Lanes<typename Config::out_t, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const place_t place = static_cast<place_t>(static_cast<place_t>(word.v[l]) - place_t(Config::low));
            const code_t code = static_cast<code_t>(table[l][entry(c, Config::table_blocks)][place]);
            result.v[l] = typename Config::out_t(code);
        }
        out.write(result);
        if (c.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
