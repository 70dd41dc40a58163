// Units that change values or their routing one word at a time: addition of two streams, copies, word width.
#ifndef FPGAFLOW_ELEMENTWISE_HPP
#define FPGAFLOW_ELEMENTWISE_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// y = first * a + second * b. Config: id, words, lanes, first, second; a_t, b_t, out_t. Cycles a frame: words.
template <class Config>
void add(hls::stream<Lanes<typename Config::a_t, Config::lanes>>& a,
         hls::stream<Lanes<typename Config::b_t, Config::lanes>>& b,
         hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames) {
    typedef Exact<typename Config::out_t> sum_t;
    for (int frame = 0; frame < frames; frame++) {
        for (int i = 0; i < Config::words; i++) {
#pragma HLS PIPELINE II=1
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

// The same words to every output. Config: id, words, lanes; in_t. Cycles a frame: words.
template <class Config, class... Outputs>
void fork(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in, int frames, Outputs&... outputs) {
    for (int frame = 0; frame < frames; frame++) {
        for (int i = 0; i < Config::words; i++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(Config::id);
            const Lanes<typename Config::in_t, Config::lanes> word = in.read();
            write_all(word, outputs...);
        }
    }
}

// The same elements in wider words. Config: id, words (of the input), lanes_in, lanes_out; in_t.
// Cycles a frame: words.
template <class Config>
void widen(hls::stream<Lanes<typename Config::in_t, Config::lanes_in>>& in,
           hls::stream<Lanes<typename Config::in_t, Config::lanes_out>>& out, int frames) {
    constexpr int ratio = Config::lanes_out / Config::lanes_in;
    Lanes<typename Config::in_t, Config::lanes_out> wide;
#pragma HLS ARRAY_PARTITION variable=wide.v complete dim=1
    for (int frame = 0; frame < frames; frame++) {
        for (int i = 0; i < Config::words / ratio; i++) {
            for (int part = 0; part < ratio; part++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(Config::id);
                const Lanes<typename Config::in_t, Config::lanes_in> word = in.read();
                for (int l = 0; l < Config::lanes_in; l++) {
#pragma HLS UNROLL
                    wide.v[part * Config::lanes_in + l] = word.v[l];
                }
                if (part == ratio - 1) {
                    out.write(wide);
                }
            }
        }
    }
}

// The same elements in narrower words. Config: id, words (of the output), lanes_in, lanes_out; in_t.
// Cycles a frame: words.
template <class Config>
void narrow(hls::stream<Lanes<typename Config::in_t, Config::lanes_in>>& in,
            hls::stream<Lanes<typename Config::in_t, Config::lanes_out>>& out, int frames) {
    constexpr int ratio = Config::lanes_in / Config::lanes_out;
    Lanes<typename Config::in_t, Config::lanes_in> wide;
#pragma HLS ARRAY_PARTITION variable=wide.v complete dim=1
    for (int frame = 0; frame < frames; frame++) {
        for (int i = 0; i < Config::words / ratio; i++) {
            for (int part = 0; part < ratio; part++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(Config::id);
                if (part == 0) {
                    wide = in.read();
                }
                Lanes<typename Config::in_t, Config::lanes_out> word;
                for (int l = 0; l < Config::lanes_out; l++) {
#pragma HLS UNROLL
                    word.v[l] = wide.v[part * Config::lanes_out + l];
                }
                out.write(word);
            }
        }
    }
}

}  // namespace fpgaflow

#endif
