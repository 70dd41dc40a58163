// Products of two streams.
#ifndef FPGAFLOW_MULTIPLY_HPP
#define FPGAFLOW_MULTIPLY_HPP

#include "fpgaflow/delay.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// The products of two words.
template <class Config>
Lanes<typename Config::out_t, Config::lanes> products(const Lanes<typename Config::a_t, Config::lanes>& a,
                                                      const Lanes<typename Config::b_t, Config::lanes>& b) {
#pragma HLS INLINE
    typedef Exact<typename Config::a_t> left_t;
    typedef Exact<typename Config::b_t> right_t;
    typedef Exact<typename Config::product_t> product_t;
    Lanes<typename Config::out_t, Config::lanes> result;
    for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
        const left_t left = static_cast<left_t>(a.v[l]);
        const right_t right = static_cast<right_t>(b.v[l]);
        const product_t product = Multiplier<Config::dsp>::template product<product_t>(left, right);
        result.v[l] = typename Config::out_t(product);
    }
    return result;
}

// y = a * b. Config of multiply and multiply_all:
//   id               of the unit
//   positions        of a frame
//   channels, lanes  of a position, of a word
//   dsp              whether products are on DSP slices
//   a_t, b_t, out_t  of the operands, of the product
//   product_t        of every product
// Cycles a frame: positions * channels / lanes.
template <class Config>
void multiply(hls::stream<Lanes<typename Config::a_t, Config::lanes>>& a,
              hls::stream<Lanes<typename Config::b_t, Config::lanes>>& b,
              hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    Counter<Config::positions*(Config::channels / Config::lanes)> word;
    int frame = 0;
multiply_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::a_t, Config::lanes> left = a.read();
        const Lanes<typename Config::b_t, Config::lanes> right = b.read();
        out.write(products<Config>(left, right));
        if (word.next()) {
            frame++;
        }
    }
}

// The same with one position of b a frame, which multiplies all positions of a: it is read with the first one and comes
// round in a delay line.
template <class Config>
void multiply_all(hls::stream<Lanes<typename Config::a_t, Config::lanes>>& a,
                  hls::stream<Lanes<typename Config::b_t, Config::lanes>>& b,
                  hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    constexpr int blocks = Config::channels / Config::lanes;
    Delay<typename Config::b_t, Config::lanes, blocks> kept;
    Counter<blocks> block;
    Counter<Config::positions> position;
    int frame = 0;
multiply_all_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::a_t, Config::lanes> left = a.read();
        Lanes<typename Config::b_t, Config::lanes> right = kept.oldest();
        if (position == 0) {
            right = b.read();
        }
        kept.push(right);
        out.write(products<Config>(left, right));
        if (block.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
