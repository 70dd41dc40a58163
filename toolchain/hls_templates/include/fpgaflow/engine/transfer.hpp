// Between memory, the on-chip banks and the units: maps, weights and constants.
#ifndef FPGAFLOW_ENGINE_TRANSFER_HPP
#define FPGAFLOW_ENGINE_TRANSFER_HPP

#include "fpgaflow/engine/convolve.hpp"
#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

// A map on the chip: its words of codes, position by position, as many in a row of it as a beat holds. Banks differ in size; a unit that is handed one in turn
// is declared for the largest.
template <class Shape, int Words = Shape::bank_words>
using Bank = Code<Shape>[(Words + words_a_beat<Shape>() - 1) / words_a_beat<Shape>()][words_a_beat<Shape>()][Shape::lanes];

// Word `at` of a beat that holds several.
template <class Shape>
Codes<Shape> codes_of(const word128& beat, int at) {
#pragma HLS INLINE
    Codes<Shape> codes;
    const Beat word = word128(beat >> (at * Shape::lanes * Shape::act_bits));
    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
        codes.v[l] = static_cast<Code<Shape>>(bits_of<Shape::act_bits>(word, l * Shape::act_bits));
    }
    return codes;
}

template <class Shape>
Codes<Shape> from_bank(const Bank<Shape> bank, int at) {
#pragma HLS INLINE
    Codes<Shape> codes;
    for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
        codes.v[l] = bank[at / words_a_beat<Shape>()][at % words_a_beat<Shape>()][l];
    }
    return codes;
}

// The source map, once a tile unless its rows stay in the convolution's buffer.
template <class Shape>
void read_map(const int (&p)[fields], const word128* memory, const Bank<Shape> bank, hls::stream<Group<Shape>>& out) {
    constexpr int packed = words_a_beat<Shape>();
    const int groups = p[f_rows] * p[f_columns] * p[f_words] / packed, turns = p[f_resident] ? 1 : p[f_tiles];
    for (int turn = 0; turn < turns; turn++) {
        for (int n = 0; n < groups; n++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(read_source);
            word128 beat = 0;
            if (p[f_source_ddr]) {
                beat = memory[p[f_source] + n];
                FPGAFLOW_BEAT(source_beats);
            }
            Group<Shape> group;
            for (int w = 0; w < packed; w++) {
#pragma HLS UNROLL
                const Codes<Shape> codes =
                    p[f_source_ddr] ? codes_of<Shape>(beat, w) : from_bank<Shape>(bank, n * packed + w);
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    group.v[w * Shape::lanes + l] = codes.v[l];
                }
            }
            out.write(group);
        }
    }
}

// What is added to the result, in its order: tile by tile.
template <class Shape>
void read_residual(const int (&p)[fields], const word128* memory, const Bank<Shape> bank,
                   hls::stream<Codes<Shape>>& out) {
    constexpr int packed = words_a_beat<Shape>();
    const int positions = p[f_merge] ? p[f_w_out_rows] * p[f_w_out_columns] : 0;
    word128 beat = 0;
    for (int tile = 0; tile < p[f_tiles]; tile++) {
        const int words = tile == p[f_tiles] - 1 ? p[f_last_words] : p[f_tile_words];
        int channel = 0, at = tile * p[f_tile_words];
        for (int n = 0; n < positions * words; n++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(read_residual_unit);
            if (p[f_residual_ddr]) {
                if (at % packed == 0) {
                    beat = memory[p[f_residual] + at / packed];
                    FPGAFLOW_BEAT(residual_beats);
                }
                out.write(codes_of<Shape>(beat, at % packed));
            } else {
                out.write(from_bank<Shape>(bank, at));
            }
            channel++;
            at++;
            if (channel == words) {
                channel = 0;
                at += p[f_out_words] - words;
            }
        }
    }
}

// The result to its bank or to memory. In memory every run of words that is written fills whole beats.
template <class Shape>
void write_map(const int (&p)[fields], hls::stream<Codes<Shape>>& in, word128* memory, Bank<Shape> bank) {
    constexpr int packed = words_a_beat<Shape>(), word_bits = Shape::lanes * Shape::act_bits;
    const int turns = p[f_raw] ? 32 / Shape::act_bits : 1, positions = p[f_w_out_rows] * p[f_w_out_columns];
    word128 beat = 0;
    for (int tile = 0; tile < p[f_tiles]; tile++) {
        const int words = (tile == p[f_tiles] - 1 ? p[f_last_words] : p[f_tile_words]) * turns;
        int channel = 0, at = tile * p[f_tile_words] * turns;
        for (int n = 0; n < positions * words; n++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(write_unit);
            const Codes<Shape> codes = in.read();
            if (p[f_result_ddr]) {
                word128 word = 0;
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    word |= word128(static_cast<unsigned>(codes.v[l])) << (l * Shape::act_bits);
                }
                beat = at % packed == 0 ? word : word128(beat | word << (at % packed * word_bits));
                const bool ends = n == positions * words - 1 && tile == p[f_tiles] - 1;
                if (at % packed == packed - 1 || ends) {
                    memory[p[f_result] + at / packed] = beat;
                    FPGAFLOW_BEAT(result_beats);
                }
            } else {
                for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                    bank[at / packed][at % packed][l] = codes.v[l];
                }
            }
            channel++;
            at++;
            if (channel == words) {
                channel = 0;
                at += p[f_out_words] * turns - words;
            }
        }
    }
}

// `count` beats from `at` on, in bursts.
inline void forward(const word128* memory, int at, int count, hls::stream<word128>& out) {
    for (int n = 0; n < count; n++) {
#pragma HLS PIPELINE II=1
        FPGAFLOW_BEAT(weight_beats);
        out.write(memory[at + n]);
    }
}

// For every tile its constants, then the weights of the tile that follows: of this pass, or of the next one.
template <class Shape>
void read_weights(const int (&p)[fields], const word128* memory, hls::stream<word128>& weights,
                  hls::stream<word128>& first, hls::stream<word128>& filters, hls::stream<word128>& second) {
    constexpr int entry_beats = Shape::lanes * Shape::entry_bits / 128;
    int constant = p[f_constants], weight = p[f_weights];
    for (int tile = 0; tile < p[f_tiles]; tile++) {
        const bool last = tile == p[f_tiles] - 1;
        const int words = last ? p[f_last_words] : p[f_tile_words];
        const int firsts = p[f_first_identity] ? 0 : words * entry_beats;
        const int taps = p[f_mode] == filter ? words * p[f_w_kernel] * p[f_w_kernel] : 0;
        const int seconds = p[f_second_identity] ? 0 : words * entry_beats;
        forward(memory, constant, firsts, first);
        forward(memory, constant + firsts, taps, filters);
        forward(memory, constant + firsts + taps, seconds, second);
        constant += firsts + taps + seconds;
        const int beats = plan_tile<Shape>(p, tile).beats;
        forward(memory, last ? p[f_next_weights] : weight, beats, weights);
        weight += beats;
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
