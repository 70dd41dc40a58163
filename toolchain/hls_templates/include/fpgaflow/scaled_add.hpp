// Addition of two streams of unlike scales.
#ifndef FPGAFLOW_SCALED_ADD_HPP
#define FPGAFLOW_SCALED_ADD_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// y = ((first * a) << first_shift) + ((second * b) << second_shift). Config of scaled_add:
//   id                                 of the unit
//   positions                          of a frame
//   channels, lanes                    of a position, of a word
//   first_dsp, second_dsp              whether products are on DSP slices
//   first_shift, second_shift          of the products
//   first_blocks, first_lanes          of the table first: one entry a channel, [channels / lanes][lanes], or one, [1][1]
//   second_blocks, second_lanes        of the table second
//   a_t, b_t, out_t                    of the operands, of the sum
//   first_t, second_t                  of the tables
//   first_product_t, second_product_t  of every product
// Cycles a frame: positions * channels / lanes.
template <class Config>
void scaled_add(hls::stream<Lanes<typename Config::a_t, Config::lanes>>& a,
                hls::stream<Lanes<typename Config::b_t, Config::lanes>>& b,
                hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
                const Exact<typename Config::first_t> (&first)[Config::first_blocks][Config::first_lanes],
                const Exact<typename Config::second_t> (&second)[Config::second_blocks][Config::second_lanes],
                int frames) {
    typedef Exact<typename Config::a_t> left_t;
    typedef Exact<typename Config::b_t> right_t;
    typedef Exact<typename Config::first_t> first_t;
    typedef Exact<typename Config::second_t> second_t;
    typedef Exact<typename Config::first_product_t> first_product_t;
    typedef Exact<typename Config::second_product_t> second_product_t;
    typedef Exact<typename Config::out_t> sum_t;
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    constexpr int blocks = Config::channels / Config::lanes;
    static_assert(table_fits(Config::first_blocks, Config::first_lanes, blocks, Config::lanes),
                  "a first factor a channel, or one");
    static_assert(table_fits(Config::second_blocks, Config::second_lanes, blocks, Config::lanes),
                  "a second factor a channel, or one");

    Counter<blocks> c;
    Counter<Config::positions> position;
    int frame = 0;
scaled_add_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::a_t, Config::lanes> left = a.read();
        const Lanes<typename Config::b_t, Config::lanes> right = b.read();
        Lanes<typename Config::out_t, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const first_t m = first[entry(c, Config::first_blocks)][entry(l, Config::first_lanes)];
            const second_t n = second[entry(c, Config::second_blocks)][entry(l, Config::second_lanes)];
            const first_product_t p =
                Multiplier<Config::first_dsp>::template product<first_product_t>(m, left_t(left.v[l]));
            const second_product_t q =
                Multiplier<Config::second_dsp>::template product<second_product_t>(n, right_t(right.v[l]));
            const sum_t scaled_left = shifted<Config::first_shift>(sum_t(p));
            const sum_t scaled_right = shifted<Config::second_shift>(sum_t(q));
            result.v[l] = typename Config::out_t(static_cast<sum_t>(scaled_left + scaled_right));
        }
        out.write(result);
        if (c.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
