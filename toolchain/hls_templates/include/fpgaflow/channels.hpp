// Units that join the channels of streams, keep some of a stream's, and put them into another order.
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

// The channels of every input in turn. Config of concat:
//   id             of the unit
//   positions      of a frame
//   blocks, total  words a position of each input, their sum
//   lanes          of a word
//   out_t          of a channel
// Cycles a frame: positions * total.
template <class Config, class... Inputs>
void concat(hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out, int frames, Inputs&... inputs) {
    static_assert(Config::blocks::count == sizeof...(Inputs), "every input has its number of words");
    static_assert(sum_of(typename Config::blocks()) == Config::total, "the words of all inputs make a position");
    typedef Lanes<typename Config::out_t, Config::lanes> word_t;
    Counter<Config::total> block;
    Counter<Config::positions> position;
    int frame = 0;
concat_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        out.write(read_one<word_t>(Turn<typename Config::blocks>::of(block), inputs...));
        if (block.next() && position.next()) {
            frame++;
        }
    }
}

// Some words of every position. Config of slice:
//   id               of the unit
//   positions        of a frame
//   channels, lanes  of a position, of a word
//   first, last      the words that are kept, the last one not
//   in_t             of a channel
// Cycles a frame: positions * channels / lanes.
template <class Config>
void slice(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
           hls::stream<Lanes<typename Config::in_t, Config::lanes>>& out, int frames) {
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    static_assert(
        0 <= Config::first && Config::first < Config::last && Config::last <= Config::channels / Config::lanes,
        "the words that are kept are some of a position");
    Counter<Config::channels / Config::lanes> block;
    Counter<Config::positions> position;
    int frame = 0;
slice_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> word = in.read();
        if (block >= Config::first && block < Config::last) {
            out.write(word);
        }
        if (block.next() && position.next()) {
            frame++;
        }
    }
}

// The channels of every position in another order. Config of permute:
//   id               of the unit
//   positions        of a frame
//   channels, lanes  of a position, of a word: all at once
//   order            the channel that stands at each place
//   type             of a channel
// Cycles a frame: positions.
template <class Config>
void permute(hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
             hls::stream<Lanes<typename Config::type, Config::lanes>>& out, int frames) {
    static_assert(Config::channels == Config::lanes, "a word is a position");
    static_assert(Config::order::count == Config::lanes, "every place has its channel");
    Counter<Config::positions> position;
    int frame = 0;
permute_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::type, Config::lanes> word = in.read();
        Lanes<typename Config::type, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            result.v[l] = word.v[Config::order::at(l)];
        }
        out.write(result);
        if (position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
