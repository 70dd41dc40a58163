// Units that join the channels of streams and that keep some of a stream's.
#ifndef FPGAFLOW_CHANNELS_HPP
#define FPGAFLOW_CHANNELS_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// A word of stream number `index`, its elements in the type of `Word`.
template <class Word>
Word read_one(int) {
#pragma HLS INLINE
    return Word();
}

template <class Word, class T, int N, class... Rest>
Word read_one(int index, hls::stream<Lanes<T, N>>& first, Rest&... rest) {
#pragma HLS INLINE
    if (index > 0) {
        return read_one<Word>(index - 1, rest...);
    }
    const Lanes<T, N> narrow = first.read();
    Word word;
    for (int l = 0; l < N; l++) {
#pragma HLS UNROLL
        word.v[l] = narrow.v[l];
    }
    return word;
}

// Number of the stream that word `word` of a position comes from: each of `blocks` words.
template <class Blocks>
struct Turn;

template <int Last>
struct Turn<Numbers<Last>> {
    static int of(int) {
#pragma HLS INLINE
        return 0;
    }
};

template <int First, int Second, int... Rest>
struct Turn<Numbers<First, Second, Rest...>> {
    static int of(int word) {
#pragma HLS INLINE
        return word < First ? 0 : 1 + Turn<Numbers<Second, Rest...>>::of(word - First);
    }
};

// The channels of every input in turn. Config: id, positions, blocks (words a position of each input), total (their
// sum), lanes; out_t. Cycles a frame: positions * total.
template <class Config, class... Inputs>
void concat(hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames, Inputs&... inputs) {
    typedef Lanes<typename Config::out_t, Config::lanes> word_t;
    for (int frame = 0; frame < frames; frame++) {
        for (int position = 0; position < Config::positions; position++) {
            for (int i = 0; i < Config::total; i++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(Config::id);
                out.write(read_one<word_t>(Turn<typename Config::blocks>::of(i), inputs...));
            }
        }
    }
}

// The words `first` to `last` - 1 of every position. Config: id, positions, channels, lanes, first, last; in_t.
// Cycles a frame: positions * channels / lanes.
template <class Config>
void slice(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
           hls::stream<Lanes<typename Config::in_t, Config::lanes>>& out, int frames) {
    for (int frame = 0; frame < frames; frame++) {
        for (int position = 0; position < Config::positions; position++) {
            for (int i = 0; i < Config::channels / Config::lanes; i++) {
#pragma HLS PIPELINE II=1
                FPGAFLOW_CYCLE(Config::id);
                const Lanes<typename Config::in_t, Config::lanes> word = in.read();
                if (i >= Config::first && i < Config::last) {
                    out.write(word);
                }
            }
        }
    }
}

}  // namespace fpgaflow

#endif
