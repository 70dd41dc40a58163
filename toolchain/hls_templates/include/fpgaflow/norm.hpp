// The channels of each position, less their mean, over their standard deviation, or over the root of their mean square.
#ifndef FPGAFLOW_NORM_HPP
#define FPGAFLOW_NORM_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// The channels of one position, kept until its root and quotient are known.
template <class Config>
using NormVector = Exact<typename Config::in_t>[Config::channels / Config::lanes][Config::lanes];

// floor(sqrt(W)), a bit a step, from the pairs of bits of W.
template <class Config>
struct NormRoot {
    Exact<typename Config::pairs_t> pairs;
    Exact<typename Config::rest_t> rest;
    Exact<typename Config::root_t> root;

    NormRoot() : pairs(0), rest(0), root(0) {}

    void start(Exact<typename Config::pairs_t> number) {
#pragma HLS INLINE
        pairs = number;
        rest = 0;
        root = 0;
    }

    void step() {
#pragma HLS INLINE
        typedef Exact<typename Config::pairs_t> pairs_t;
        typedef Exact<typename Config::rest_t> rest_t;
        constexpr int top = Bits<typename Config::pairs_t>::width - 2;
        const rest_t next = static_cast<rest_t>(shifted<2>(rest) + static_cast<rest_t>((pairs >> top) & 3));
        const rest_t trial = static_cast<rest_t>(shifted<2>(static_cast<rest_t>(root)) + 1);
        const bool fits = next >= trial;
        rest = fits ? static_cast<rest_t>(next - trial) : next;
        root = static_cast<Exact<typename Config::root_t>>(shifted<1>(root) + (fits ? 1 : 0));
        // The pair that is used up is cut off, so that nothing is shifted out of a native integer.
        const pairs_t below = static_cast<pairs_t>(shifted<top>(static_cast<pairs_t>(1)) - 1);
        pairs = shifted<2>(static_cast<pairs_t>(pairs & below));
    }
};

// floor(2**(start + divide_steps) / divisor), a bit a step; divisor > 2**start.
template <class Config>
struct NormQuotient {
    Exact<typename Config::rest_t> rest;
    Exact<typename Config::factor_t> quotient;

    NormQuotient() : rest(0), quotient(0) {}

    void begin() {
#pragma HLS INLINE
        rest = shifted<Config::start>(static_cast<Exact<typename Config::rest_t>>(1));
        quotient = 0;
    }

    void step(Exact<typename Config::root_t> divisor) {
#pragma HLS INLINE
        typedef Exact<typename Config::rest_t> rest_t;
        const rest_t next = shifted<1>(rest);
        const bool fits = next >= static_cast<rest_t>(divisor);
        rest = fits ? static_cast<rest_t>(next - static_cast<rest_t>(divisor)) : next;
        quotient = static_cast<Exact<typename Config::factor_t>>(shifted<1>(quotient) + (fits ? 1 : 0));
    }
};

// Config of norm:
//   id                        of the unit
//   positions                 of a frame
//   channels, lanes           of a position, of a word
//   root_steps, divide_steps  bits of the root and of the quotient
//   fraction                  W = 2**fraction * (V + whole) + part for V = channels * (sum of squares) - sum * sum
//   whole, part               see there
//   start                     the quotient is that of 2**(start + divide_steps)
//   shift                     bits that the products lose
//   centred                   whether the mean is taken away; else the sum counts as 0 everywhere
//   square_dsp                whether squares are on DSP slices
//   in_t, out_t               of an element, of a result
//   sum_t, square_t           of the sum, of a square
//   squares_t, spread_t       of the sum of squares, of V
//   pairs_t, root_t, rest_t   of W, of its root, of what the root leaves of W
//   factor_t, apart_t         of the quotient, of a channel's distance from the mean
//   product_t                 of a product
// Cycles a frame: positions * (2 * channels / lanes + root_steps + divide_steps).
template <class Config>
void norm(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
          hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, NormVector<Config>& vector, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::sum_t> sum_t;
    typedef Exact<typename Config::square_t> square_t;
    typedef Exact<typename Config::squares_t> squares_t;
    typedef Exact<typename Config::spread_t> spread_t;
    typedef Exact<typename Config::pairs_t> pairs_t;
    typedef Exact<typename Config::apart_t> apart_t;
    typedef Exact<typename Config::product_t> product_t;
    constexpr int words = Config::channels / Config::lanes;
    constexpr int divides = words + Config::root_steps;
    constexpr int leaves = divides + Config::divide_steps;

    sum_t sum = 0;
    squares_t squares = 0;
    NormRoot<Config> root;
    NormQuotient<Config> factor;
    Counter<words> word;
    Counter<leaves + words> cycle;
    Counter<Config::positions> position;
    int frame = 0;
norm_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        if (cycle < words) {
            FPGAFLOW_STORED(Config::id, "vector", word, words);
            const Lanes<typename Config::in_t, Config::lanes> next = in.read();
            sum_t partial = 0;
            squares_t partial_squares = 0;
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                const value_t value = static_cast<value_t>(next.v[l]);
                vector[word][l] = value;
                partial += static_cast<sum_t>(value);
                partial_squares +=
                    static_cast<squares_t>(Multiplier<Config::square_dsp>::template product<square_t>(value, value));
            }
            sum = word == 0 ? partial : static_cast<sum_t>(sum + partial);
            squares = word == 0 ? partial_squares : static_cast<squares_t>(squares + partial_squares);
            word.next();
        } else if (cycle < divides) {
            if (cycle == words) {
                const spread_t whole_squares =
                    static_cast<spread_t>(static_cast<spread_t>(squares) * static_cast<spread_t>(Config::channels));
                const spread_t spread =
                    Config::centred
                        ? static_cast<spread_t>(whole_squares - Multiplier<true>::template product<spread_t>(sum, sum))
                        : whole_squares;
                // Channels that are all 0 apart are so whatever the quotient.
                const spread_t some =
                    spread == 0 ? static_cast<spread_t>(Config::channels - (Config::centred ? 1 : 0)) : spread;
                const pairs_t whole =
                    static_cast<pairs_t>(static_cast<pairs_t>(some) + static_cast<pairs_t>(Config::whole));
                root.start(static_cast<pairs_t>(shifted<Config::fraction>(whole) + static_cast<pairs_t>(Config::part)));
            }
            root.step();
        } else if (cycle < leaves) {
            if (cycle == divides) {
                factor.begin();
            }
            factor.step(root.root);
        } else {
            FPGAFLOW_LOADED(Config::id, "vector", word, words);
            Lanes<typename Config::out_t, Config::lanes> result;
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                const apart_t many = static_cast<apart_t>(static_cast<apart_t>(vector[word][l]) *
                                                          static_cast<apart_t>(Config::channels));
                const apart_t apart = Config::centred ? static_cast<apart_t>(many - static_cast<apart_t>(sum)) : many;
                const product_t product = Multiplier<true>::template product<product_t>(apart, factor.quotient);
                const product_t half = shifted<Config::shift - 1>(static_cast<product_t>(1));
                result.v[l] = typename Config::out_t(static_cast<product_t>(product + half) >> Config::shift);
            }
            out.write(result);
            word.next();
        }
        if (cycle.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
