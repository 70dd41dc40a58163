// Units that change values or their routing one word at a time: addition of two streams, copies, word width.
#ifndef FPGAFLOW_ELEMENTWISE_HPP
#define FPGAFLOW_ELEMENTWISE_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// y = first * a + second * b. Config of add:
//   id               of the unit
//   words            of a frame
//   lanes            of a word
//   first, second    the factors
//   a_t, b_t, out_t  of the operands, of the sum and both products
// Cycles a frame: words.
template <class Config>
void add(hls::stream<Lanes<typename Config::a_t, Config::lanes>>& a,
         hls::stream<Lanes<typename Config::b_t, Config::lanes>>& b,
         hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames) {
    typedef Exact<typename Config::out_t> sum_t;
    Counter<Config::words> word;
    int frame = 0;
add_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::a_t, Config::lanes> left = a.read();
        const Lanes<typename Config::b_t, Config::lanes> right = b.read();
        Lanes<typename Config::out_t, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const sum_t scaled_left = static_cast<sum_t>(static_cast<sum_t>(left.v[l]) * sum_t(Config::first));
            const sum_t scaled_right = static_cast<sum_t>(static_cast<sum_t>(right.v[l]) * sum_t(Config::second));
            result.v[l] = typename Config::out_t(scaled_left + scaled_right);
        }
        out.write(result);
        if (word.next()) {
            frame++;
        }
    }
}

template <class Word>
void write_all(const Word&) {
#pragma HLS INLINE
}

template <class Word, class... Rest>
void write_all(const Word& word, hls::stream<Word>& first, Rest&... rest) {
#pragma HLS INLINE
    first.write(word);
    write_all(word, rest...);
}

// The same words to every output. Config of fork:
//   id     of the unit
//   words  of a frame
//   lanes  of a word
//   in_t   of a channel
// Cycles a frame: words.
template <class Config, class... Outputs>
void fork(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in, int frames, Outputs&... outputs) {
    Counter<Config::words> word;
    int frame = 0;
fork_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> copied = in.read();
        write_all(copied, outputs...);
        if (word.next()) {
            frame++;
        }
    }
}

// The same elements in wider words. Config of widen:
//   id                   of the unit
//   words                of a frame of the input
//   lanes_in, lanes_out  of the words
//   in_t                 of a channel
// Cycles a frame: words.
template <class Config>
void widen(hls::stream<Lanes<typename Config::in_t, Config::lanes_in>>& in,
           hls::stream<Lanes<typename Config::in_t, Config::lanes_out>>& out, int frames) {
    static_assert(Config::lanes_out % Config::lanes_in == 0, "whole words make a wider one");
    constexpr int ratio = Config::lanes_out / Config::lanes_in;
    static_assert(Config::words % ratio == 0, "the last word of a frame is full");
    typename Config::in_t held[Config::lanes_out];  // no stream's word: that is packed, this is split
#pragma HLS ARRAY_PARTITION variable=held complete dim=1
    Counter<ratio> part;
    Counter<Config::words / ratio> word;
    int frame = 0;
widen_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes_in> narrow = in.read();
        for (int l = 0; l < Config::lanes_in; l++) {
#pragma HLS UNROLL
            held[part * Config::lanes_in + l] = narrow.v[l];
        }
        if (part.last()) {
            Lanes<typename Config::in_t, Config::lanes_out> wide;
            for (int l = 0; l < Config::lanes_out; l++) {
#pragma HLS UNROLL
                wide.v[l] = held[l];
            }
            out.write(wide);
        }
        if (part.next() && word.next()) {
            frame++;
        }
    }
}

// The same elements in narrower words. Config of narrow:
//   id                   of the unit
//   words                of a frame of the output
//   lanes_in, lanes_out  of the words
//   in_t                 of a channel
// Cycles a frame: words.
template <class Config>
void narrow(hls::stream<Lanes<typename Config::in_t, Config::lanes_in>>& in,
            hls::stream<Lanes<typename Config::in_t, Config::lanes_out>>& out, int frames) {
    static_assert(Config::lanes_in % Config::lanes_out == 0, "a word makes whole narrower ones");
    constexpr int ratio = Config::lanes_in / Config::lanes_out;
    static_assert(Config::words % ratio == 0, "a frame begins with a word");
    typename Config::in_t held[Config::lanes_in];
#pragma HLS ARRAY_PARTITION variable=held complete dim=1
    Counter<ratio> part;
    Counter<Config::words / ratio> word;
    int frame = 0;
narrow_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        if (part == 0) {
            const Lanes<typename Config::in_t, Config::lanes_in> wide = in.read();
            for (int l = 0; l < Config::lanes_in; l++) {
#pragma HLS UNROLL
                held[l] = wide.v[l];
            }
        }
        Lanes<typename Config::in_t, Config::lanes_out> result;
        for (int l = 0; l < Config::lanes_out; l++) {
#pragma HLS UNROLL
            result.v[l] = held[part * Config::lanes_out + l];
        }
        out.write(result);
        if (part.next() && word.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
