// Sums to codes by multiply, add and shift, the constants a channel, loaded before each tile.
#ifndef FPGAFLOW_ENGINE_REQUANTIZE_HPP
#define FPGAFLOW_ENGINE_REQUANTIZE_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

// How one of the two requantizers works in a pass.
struct Scaling {
    bool identity, raw;
    int positions, low, high;
};

template <class Shape>
void load_entries(int words, hls::stream<word128>& constants, Entries<Shape>& entries) {
    constexpr int a_beat = 128 / Shape::entry_bits, beats = Shape::lanes / a_beat;
    for (int w = 0; w < words; w++) {
        for (int beat = 0; beat < beats; beat++) {
#pragma HLS PIPELINE II=1
            const Beat word = constants.read();
            for (int e = 0; e < a_beat; e++) {
#pragma HLS UNROLL
                const ap_uint<Shape::entry_bits> entry = bits_of<Shape::entry_bits>(word, e * Shape::entry_bits);
                const ap_int<Shape::mul_bits> mul = entry;
                const ap_int<Shape::add_bits> add = entry >> Shape::mul_bits;
                entries.mul[w][beat * a_beat + e] = static_cast<Exact<ap_int<Shape::mul_bits>>>(mul);
                entries.add[w][beat * a_beat + e] = static_cast<Exact<ap_int<Shape::add_bits>>>(add);
            }
        }
    }
}

// A raw sum leaves as the codes of its digits, the lowest first, half its range added: the host puts them together.
template <class Shape, class Word>
void requantize(const int (&p)[fields], const Scaling& scaling, Counter unit, hls::stream<Word>& in,
                hls::stream<word128>& constants, hls::stream<Codes<Shape>>& out, Entries<Shape>& entries) {
    constexpr int digits = 32 / Shape::act_bits;
    const int turns = scaling.raw ? digits : 1;
    const Code<Shape> low = static_cast<Code<Shape>>(scaling.low), high = static_cast<Code<Shape>>(scaling.high);
    for (int tile = 0; tile < p[f_tiles]; tile++) {
        const int words = tile == p[f_tiles] - 1 ? p[f_last_words] : p[f_tile_words];
        if (!scaling.identity) {
            load_entries<Shape>(words, constants, entries);
        }
        const int total = scaling.positions * words * turns;
        int channel = 0, turn = 0;
        Word sums = {};
        for (int n = 0; n < total; n++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(unit);
            if (turn == 0) {
                sums = in.read();
            }
            Codes<Shape> codes;
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const std::int64_t sum = static_cast<std::int64_t>(sums.v[l]);
                if (scaling.raw) {
                    const std::uint32_t raised = static_cast<std::uint32_t>(sum) + (1u << 31);
                    codes.v[l] = static_cast<Code<Shape>>((raised >> (turn * Shape::act_bits)) & Shape::largest_code);
                } else if (scaling.identity) {
                    codes.v[l] = static_cast<Code<Shape>>(sum);
                } else {
                    const std::int64_t line = sum * static_cast<std::int64_t>(entries.mul[channel][l]) +
                                              static_cast<std::int64_t>(entries.add[channel][l]);
                    codes.v[l] = static_cast<Code<Shape>>(scaled<Shape::shift>(line, low, high));
                }
            }
            out.write(codes);
            turn++;
            if (turn == turns) {
                turn = 0;
                channel = channel == words - 1 ? 0 : channel + 1;
            }
        }
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
