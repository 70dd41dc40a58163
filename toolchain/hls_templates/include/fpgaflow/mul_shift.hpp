// Quantization by multiply, add and shift, rounding half to even, then clipping.
#ifndef FPGAFLOW_MUL_SHIFT_HPP
#define FPGAFLOW_MUL_SHIFT_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// y = clip(base + round((x * mul + add) / 2**shift)), the bases even: they may as well be added before.
// Config of mul_shift:
//   id                             of the unit
//   positions                      of a frame
//   channels, lanes                of a position, of a word
//   dsp                            whether products are on DSP slices
//   mul_blocks, mul_lanes          of the table mul: one entry a channel, [channels / lanes][lanes], or one, [1][1]
//   add_blocks, add_lanes          of the table add
//   base_blocks, base_lanes        of the table base
//   shift                          0 to 62
//   low, high                      of the clip
//   in_t, out_t                    of a channel, of a code
//   mul_t, add_t, base_t           of the tables
//   product_t                      of every product
//   sum_t                          holds the numerator, bases included, and half a unit more
// Cycles a frame: positions * channels / lanes.
template <class Config>
void mul_shift(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
               hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
               const Exact<typename Config::mul_t> (&mul)[Config::mul_blocks][Config::mul_lanes],
               const Exact<typename Config::add_t> (&add)[Config::add_blocks][Config::add_lanes],
               const Exact<typename Config::base_t> (&base)[Config::base_blocks][Config::base_lanes], int frames) {
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::mul_t> mul_t;
    typedef Exact<typename Config::product_t> product_t;
    typedef Exact<typename Config::sum_t> sum_t;
    typedef Exact<typename Config::out_t> code_t;
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    constexpr int blocks = Config::channels / Config::lanes;
    static_assert(table_fits(Config::mul_blocks, Config::mul_lanes, blocks, Config::lanes),
                  "a factor a channel, or one");
    static_assert(table_fits(Config::add_blocks, Config::add_lanes, blocks, Config::lanes),
                  "an offset a channel, or one");
    static_assert(table_fits(Config::base_blocks, Config::base_lanes, blocks, Config::lanes),
                  "a base a channel, or one");
    static_assert(Config::shift >= 0 && Config::shift < Bits<typename Config::sum_t>::width, "sum_t holds half a unit");
    constexpr bool exact = Config::shift == 0;
    const sum_t below_half = exact ? sum_t(0) : static_cast<sum_t>((sum_t(1) << (Config::shift - !exact)) - 1);

    Counter<blocks> c;
    Counter<Config::positions> position;
    int frame = 0;
mul_shift_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> word = in.read();
        Lanes<typename Config::out_t, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const mul_t factor = mul[entry(c, Config::mul_blocks)][entry(l, Config::mul_lanes)];
            const value_t value = static_cast<value_t>(word.v[l]);
            const product_t product = Multiplier<Config::dsp>::template product<product_t>(factor, value);
            const sum_t below = sum_t(add[entry(c, Config::add_blocks)][entry(l, Config::add_lanes)]);
            const sum_t above = sum_t(base[entry(c, Config::base_blocks)][entry(l, Config::base_lanes)]);
            const sum_t offset = static_cast<sum_t>(shifted<Config::shift>(above) + below);
            const sum_t sum = static_cast<sum_t>(sum_t(product) + offset);
            // Adding just below half rounds half down; one more where the quotient is odd makes it even.
            const sum_t odd = exact ? sum_t(0) : static_cast<sum_t>((sum >> Config::shift) & sum_t(1));
            const sum_t rounded = static_cast<sum_t>((sum + below_half + odd) >> Config::shift);
            const sum_t low = Config::low, high = Config::high;
            const sum_t clipped = rounded < low ? low : rounded > high ? high : rounded;
            result.v[l] = typename Config::out_t(static_cast<code_t>(clipped));
        }
        out.write(result);
        if (c.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
