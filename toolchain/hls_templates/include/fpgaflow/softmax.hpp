// The softmax of each head's channels at every position.
#ifndef FPGAFLOW_SOFTMAX_HPP
#define FPGAFLOW_SOFTMAX_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// The channels of a head, and their entries in the table, kept until the sum is known.
template <class Config>
using SoftmaxVector = Exact<typename Config::in_t>[Config::channels / Config::lanes][Config::lanes];
template <class Config>
using SoftmaxEntries = Exact<typename Config::table_t>[Config::channels / Config::lanes][Config::lanes];

// Config of softmax:
//   id                    of the unit
//   positions             of a frame, times its heads
//   channels, lanes       of a head, of a word
//   entries               of the table
//   divide_steps, start   bits of the quotient, which is that of 2**(start + divide_steps)
//   shift                 bits that the products lose
//   in_t, out_t           of a channel, of a result
//   table_t, sum_t        of an entry, of their sum
//   rest_t, factor_t      of what a division leaves, of the quotient
//   product_t             of a product
// Cycles a frame: positions * (3 * channels / lanes + divide_steps).
template <class Config>
void softmax(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
             hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
             const Exact<typename Config::table_t> (&table)[Config::lanes][Config::entries],
             SoftmaxVector<Config>& vector, SoftmaxEntries<Config>& kept, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a head have all lanes");
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::table_t> entry_t;
    typedef Exact<typename Config::sum_t> sum_t;
    typedef Exact<typename Config::rest_t> rest_t;
    typedef Exact<typename Config::factor_t> factor_t;
    typedef Exact<typename Config::product_t> product_t;
    constexpr int words = Config::channels / Config::lanes;
    constexpr int leaves = 2 * words + Config::divide_steps;

    value_t most = 0;
    sum_t sum = 0;
    rest_t rest = 0;
    factor_t factor = 0;
    Counter<words> word;
    Counter<leaves + words> cycle;
    Counter<Config::positions> position;
    int frame = 0;
softmax_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        if (cycle < words) {
            FPGAFLOW_STORED(Config::id, "vector", word, words);
            const Lanes<typename Config::in_t, Config::lanes> next = in.read();
            value_t largest = static_cast<value_t>(next.v[0]);
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                const value_t value = static_cast<value_t>(next.v[l]);
                vector[word][l] = value;
                largest = value > largest ? value : largest;
            }
            most = word == 0 || largest > most ? largest : most;
            word.next();
        } else if (cycle < 2 * words) {
            FPGAFLOW_LOADED(Config::id, "vector", word, words);
            FPGAFLOW_STORED(Config::id, "kept", word, words);
            sum_t partial = 0;
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                const entry_t entry = table[l][int(most) - int(vector[word][l])];
                kept[word][l] = entry;
                partial += static_cast<sum_t>(entry);
            }
            sum = word == 0 ? partial : static_cast<sum_t>(sum + partial);
            word.next();
        } else if (cycle < leaves) {
            const rest_t before = cycle == 2 * words ? shifted<Config::start>(static_cast<rest_t>(1)) : rest;
            const factor_t bits = cycle == 2 * words ? static_cast<factor_t>(0) : factor;
            const rest_t next = shifted<1>(before);
            const bool fits = next >= static_cast<rest_t>(sum);
            rest = fits ? static_cast<rest_t>(next - static_cast<rest_t>(sum)) : next;
            factor = static_cast<factor_t>(shifted<1>(bits) + (fits ? 1 : 0));
        } else {
            FPGAFLOW_LOADED(Config::id, "kept", word, words);
            Lanes<typename Config::out_t, Config::lanes> result;
            for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
                const product_t product = Multiplier<true>::template product<product_t>(kept[word][l], factor);
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
