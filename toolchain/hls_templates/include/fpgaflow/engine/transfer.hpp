// Between memory, the maps on the chip and the units: maps, weights and constants.
#ifndef FPGAFLOW_ENGINE_TRANSFER_HPP
#define FPGAFLOW_ENGINE_TRANSFER_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

// A map on the chip: its words of codes, position by position, as many in a row of it as a beat holds.
template <class Shape, int Words>
using Bank =
    Code<Shape>[(Words + words_a_beat<Shape>() - 1) / words_a_beat<Shape>()][words_a_beat<Shape>()][Shape::lanes];

// The words of codes in a beat.
template <class Shape>
Group<Shape> group_of(const word128& word) {
#pragma HLS INLINE
    Group<Shape> group;
    const Beat beat = word;
    for (int c = 0; c < words_a_beat<Shape>() * Shape::lanes; c++) {
#pragma HLS UNROLL
        group.v[c] = static_cast<Code<Shape>>(bits_of<Shape::act_bits>(beat, c * Shape::act_bits));
    }
    return group;
}

// Word `at` of a group.
template <class Shape>
Codes<Shape> word_of(const Group<Shape>& group, int at) {
#pragma HLS INLINE
    Codes<Shape> codes = {};
    for (int w = 0; w < words_a_beat<Shape>(); w++) {
#pragma HLS UNROLL
        for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
            codes.v[l] = w == at ? group.v[w * Shape::lanes + l] : codes.v[l];
        }
    }
    return codes;
}

// The next word of the bank of that number.
template <class Word>
Word taken(int bank, hls::stream<Word>& from_0, hls::stream<Word>& from_1, hls::stream<Word>& from_2) {
#pragma HLS INLINE
    return bank == 0 ? from_0.read() : bank == 1 ? from_1.read() : from_2.read();
}

// Reads a map on the chip: a source or a residual, or none in a pass that does not read it. A bank has this one process
// that reads it, and a later one that writes it: never in the same pass.
template <class Shape, int Words>
void serve(const Serve p, const Bank<Shape, Words>& bank, hls::stream<Group<Shape>>& source,
           hls::stream<Codes<Shape>>& residual) {
    constexpr int packed = words_a_beat<Shape>();
    Walk<Serve> walk;
serve_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        walk.begin(p, tile == p.tiles - 1);
    serve_words:
        for (decltype(p.count) n = 0; n < walk.count; n++) {
#pragma HLS PIPELINE II=1 style=flp
            FPGAFLOW_CYCLE(bank_unit);
            Group<Shape> group;
            for (int w = 0; w < packed; w++) {
#pragma HLS UNROLL
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    group.v[w * Shape::lanes + l] = bank[walk.at / packed][w][l];
                }
            }
            if (p.residual) {
                residual.write(word_of<Shape>(group, walk.at % packed));
            } else {
                source.write(group);
            }
            walk.next();
        }
    }
}

// The beats of the source one after the other.
template <bool Repeats>
struct Reader {
    decltype(Source::groups) at;

    Reader() : at(0) {}

    void next(const Source&) {
#pragma HLS INLINE
        at++;
    }
};

// Every position of the source `column_copies` times, every row of them `row_copies` times. A map that is read once is one
// position of all its beats.
template <>
struct Reader<true> {
    decltype(Source::groups) at;

    Reader() : at(0), position(0), row(0), beat(0), column(0), row_copy(0), column_copy(0) {}

    template <class Facts>
    void next(const Facts& p) {
#pragma HLS INLINE
        beat++;
        const bool ends = beat == p.span;
        const bool again = ends && column_copy + 1 < p.column_copies;
        const bool row_ends = ends && !again && column + 1 == p.columns;
        const bool row_again = row_ends && row_copy + 1 < p.row_copies;
        at = again ? position : row_again ? row : decltype(at)(at + 1);
        position = ends ? at : position;
        row = row_ends ? at : row;
        beat = ends ? decltype(beat)(0) : beat;
        column_copy = again ? decltype(column_copy)(column_copy + 1) : ends ? decltype(column_copy)(0) : column_copy;
        column = row_ends ? decltype(column)(0) : ends && !again ? decltype(column)(column + 1) : column;
        row_copy = row_again ? decltype(row_copy)(row_copy + 1) : row_ends ? decltype(row_copy)(0) : row_copy;
    }

private:
    decltype(Source::groups) position, row, beat;
    decltype(Convolve::columns) column;
    decltype(Convolve::kernel_rows) row_copy, column_copy;
};

// The source map, once a tile unless its rows stay in the convolution's buffer.
template <class Shape>
void read_source(const Source p, const word128* memory, hls::stream<Group<Shape>>& from_0,
                 hls::stream<Group<Shape>>& from_1, hls::stream<Group<Shape>>& from_2, hls::stream<Group<Shape>>& out) {
source_turns:
    for (decltype(p.turns) turn = 0; turn < p.turns; turn++) {
        if (p.in_memory) {
            Reader<Shape::repeats> reader;
        source_beats_loop:
            for (decltype(p.groups) n = 0; n < p.groups; n++) {
#pragma HLS PIPELINE II=1 style=flp
                FPGAFLOW_CYCLE(source_unit);
                FPGAFLOW_BEAT(source_beats);
                out.write(group_of<Shape>(memory[p.address + reader.at]));
                reader.next(p);
            }
        } else {
        source_groups:
            for (decltype(p.groups) n = 0; n < p.groups; n++) {
#pragma HLS PIPELINE II=1 style=flp
                FPGAFLOW_CYCLE(source_unit);
                out.write(taken(p.bank, from_0, from_1, from_2));
            }
        }
    }
}

// The words of a map of one position, which every position of the result meets. An engine without products keeps none.
template <class Shape, bool Products = Shape::products>
struct Kept {
    ap_uint<1> unused;
};

template <class Shape>
struct Kept<Shape, true> {
    Code<Shape> words[Shape::channel_words][Shape::lanes];
};

template <class Shape>
bool keeps(const Residual&, const Kept<Shape, false>&) {
#pragma HLS INLINE
    return false;
}

template <class Shape, class Facts>
bool keeps(const Facts& p, const Kept<Shape, true>&) {
#pragma HLS INLINE
    return p.once;
}

template <class Shape, class Word>
Codes<Shape> kept_or(const Kept<Shape, false>&, bool, Word, const Codes<Shape>& codes) {
#pragma HLS INLINE
    return codes;
}

// Word `w`: stored codes where it comes again, else those that come in, which are stored. The next iteration may load
// what this one stores, but it stores nothing that was loaded.
template <class Shape, class Word>
Codes<Shape> kept_or(Kept<Shape, true>& kept, bool again, Word w, const Codes<Shape>& codes) {
#pragma HLS INLINE
    Codes<Shape> found = codes;
    if (again) {
        FPGAFLOW_LOADED(residual_unit, "words", w, 1);
    } else {
        FPGAFLOW_STORED(residual_unit, "words", w, 1);
    }
    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
        if (again) {
            found.v[l] = kept.words[w][l];
        } else {
            kept.words[w][l] = codes.v[l];
        }
    }
    return found;
}

// What meets the result, in its order: tile by tile. In memory every run of words fills whole beats.
template <class Shape>
void read_residual(const Residual p, const word128* memory, hls::stream<Codes<Shape>>& from_0,
                   hls::stream<Codes<Shape>>& from_1, hls::stream<Codes<Shape>>& from_2, hls::stream<Codes<Shape>>& out,
                   Kept<Shape>& kept) {
    constexpr int packed = words_a_beat<Shape>();
    Group<Shape> group = {};
    Walk<Residual> walk;
    const bool once = keeps(p, kept);
residual_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        const bool last = tile == p.tiles - 1;
        walk.begin(p, last);
        const auto words = last ? p.last_words : p.words;
        decltype(p.words) word = 0;
        bool again = false;
    residual_words:
        for (decltype(p.count) n = 0; n < walk.count; n++) {
#pragma HLS PIPELINE II=1 style=flp
            FPGAFLOW_CYCLE(residual_unit);
            Codes<Shape> codes = {};
            if (!again && p.in_memory) {
                const int at = walk.at % packed;
                if (at == 0) {
                    group = group_of<Shape>(memory[p.address + walk.at / packed]);
                    FPGAFLOW_BEAT(residual_beats);
                }
                codes = word_of<Shape>(group, at);
            } else if (!again) {
                codes = taken(p.bank, from_0, from_1, from_2);
            }
            out.write(kept_or(kept, again, word, codes));
            walk.next();
            word++;
            if (word == words) {
                word = 0;
                again = once;
            }
        }
    }
}

// The result to its bank or to memory. In memory every run of words that is written fills whole beats.
template <class Shape>
void write_result(const Result p, hls::stream<Codes<Shape>>& in, word128* memory,
                  Bank<Shape, Shape::bank_words>& bank_0, Bank<Shape, Shape::small_words>& bank_1,
                  Bank<Shape, Shape::small_words>& bank_2) {
    constexpr int packed = words_a_beat<Shape>();
    Group<Shape> group = {};
    Walk<Result> walk;
result_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        const bool last = tile == p.tiles - 1;
        walk.begin(p, last);
    result_words:
        for (decltype(p.count) n = 0; n < walk.count; n++) {
#pragma HLS PIPELINE II=1 style=flp
            FPGAFLOW_CYCLE(result_unit);
            const Codes<Shape> codes = in.read();
            const int row = walk.at / packed, at = walk.at % packed;
            for (int w = 0; w < packed; w++) {
#pragma HLS UNROLL
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    const Code<Shape> code = codes.v[l];
                    const int c = w * Shape::lanes + l;
                    group.v[c] = w == at ? code : at == 0 ? Code<Shape>(0) : group.v[c];
                    if (w == at && !p.in_memory) {
                        if (p.bank == 0) {
                            bank_0[row][w][l] = code;
                        } else if (p.bank == 1) {
                            bank_1[row][w][l] = code;
                        } else {
                            bank_2[row][w][l] = code;
                        }
                    }
                }
            }
            if (p.in_memory && (at == packed - 1 || (last && n == walk.count - 1))) {
                word128 beat = 0;
                for (int c = 0; c < packed * Shape::lanes; c++) {
#pragma HLS UNROLL
                    beat |= word128(static_cast<unsigned>(group.v[c])) << (c * Shape::act_bits);
                }
                memory[p.address + row] = beat;
                FPGAFLOW_BEAT(result_beats);
            }
            walk.next();
        }
    }
}

// `count` beats from `at` on, in bursts.
template <class Address, class Count>
void forward(const word128* memory, Address at, Count count, hls::stream<word128>& out) {
#pragma HLS INLINE
forward_beats:
    for (Count n = 0; n < count; n++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_BEAT(weight_beats);
        out.write(memory[at + n]);
    }
}

// The requantizers' tables, where the engine has room for some.
template <bool Curves>
struct Tables {
    template <class Address>
    static Address load(const Load&, const word128*, Address at, hls::stream<word128>&, hls::stream<word128>&) {
#pragma HLS INLINE
        return at;
    }
};

template <>
struct Tables<true> {
    template <class Facts, class Address>
    static Address load(const Facts& p, const word128* memory, Address at, hls::stream<word128>& first,
                        hls::stream<word128>& second) {
#pragma HLS INLINE
        forward(memory, at, p.first_curve, first);
        at += p.first_curve;
        forward(memory, at, p.second_curve, second);
        at += p.second_curve;
        return at;
    }
};

// In front of all the requantizers' tables. For every tile its constants, then the weights of the tile that follows: of this pass, or of the next one.
template <class Shape>
void load(const Load p, const word128* memory, hls::stream<word128>& weights, hls::stream<word128>& first,
          hls::stream<word128>& filters, hls::stream<word128>& second) {
    auto constant = Tables<Shape::curves>::load(p, memory, p.constants, first, second);
    auto weight = p.weights;
load_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        const bool last = tile == p.tiles - 1, next_is_last = tile + 1 == p.tiles - 1;
        const auto firsts = last ? p.last_first : p.first;
        const auto taps = last ? p.last_filters : p.filters;
        const auto seconds = last ? p.last_second : p.second;
        forward(memory, constant, firsts, first);
        constant += firsts;
        forward(memory, constant, taps, filters);
        constant += taps;
        forward(memory, constant, seconds, second);
        constant += seconds;
        const auto beats = last ? p.next_beats : next_is_last ? p.last_beats : p.tile_beats;
        forward(memory, last ? p.next_weights : weight, beats, weights);
        weight += beats;
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
