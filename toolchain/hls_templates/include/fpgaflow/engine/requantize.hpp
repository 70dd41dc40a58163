// Sums to codes by multiply, add and shift, the constants a channel, loaded before each tile.
#ifndef FPGAFLOW_ENGINE_REQUANTIZE_HPP
#define FPGAFLOW_ENGINE_REQUANTIZE_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

// A requantizer's constants of one word of channels.
template <class Shape>
struct Entries {
    Exact<ap_int<Shape::mul_bits>> mul[Shape::channel_words][Shape::lanes];
    Exact<ap_int<Shape::add_bits>> add[Shape::channel_words][Shape::lanes];
};

template <class Shape>
void load_entries(decltype(Requantize::words) words, hls::stream<word128>& constants, Entries<Shape>& entries) {
#pragma HLS INLINE
    constexpr int a_beat = 128 / Shape::entry_bits, beats = Shape::lanes / a_beat;
    decltype(Requantize::words) w = 0;
    Index<beats> beat = 0;  // of the word
load_entries_loop:
    while (w < words) {
#pragma HLS PIPELINE II=1
        FPGAFLOW_CYCLE(constants_unit);
        const Beat word = constants.read();
        for (int b = 0; b < beats; b++) {
#pragma HLS UNROLL
            for (int e = 0; e < a_beat; e++) {
#pragma HLS UNROLL
                const ap_uint<Shape::entry_bits> entry = bits_of<Shape::entry_bits>(word, e * Shape::entry_bits);
                const ap_int<Shape::mul_bits> mul = entry;
                const ap_int<Shape::add_bits> add = entry >> Shape::mul_bits;
                if (b == beat) {
                    entries.mul[w][b * a_beat + e] = static_cast<Exact<ap_int<Shape::mul_bits>>>(mul);
                    entries.add[w][b * a_beat + e] = static_cast<Exact<ap_int<Shape::add_bits>>>(add);
                }
            }
        }
        beat++;
        if (beat == beats) {
            beat = 0;
            w++;
        }
    }
}

// Digit `turn` of a sum that leaves without a quantizer, half its range added: one of constant parts.
template <class Shape, class Value>
Code<Shape> digit_of(Value sum, int turn) {
#pragma HLS INLINE
    const ap_uint<32> raised = ap_uint<32>(static_cast<std::uint32_t>(static_cast<std::int32_t>(sum)) + (1u << 31));
    ap_uint<Shape::act_bits> digit = raised;
    for (int d = 1; d < 32 / Shape::act_bits; d++) {
#pragma HLS UNROLL
        digit = turn == d ? ap_uint<Shape::act_bits>(raised >> (d * Shape::act_bits)) : digit;
    }
    return static_cast<Code<Shape>>(digit);
}

// A raw sum leaves as the codes of its digits, the lowest first: the host puts them together. Value: an element of `in`,
// a number of SumBits bits.
template <class Shape, Counted Unit, int SumBits>
void requantize(const Requantize p, hls::stream<Lanes<Exact<ap_int<SumBits>>, Shape::lanes>>& in,
                hls::stream<word128>& constants, hls::stream<Codes<Shape>>& out, Entries<Shape>& entries) {
    typedef Lanes<Exact<ap_int<SumBits>>, Shape::lanes> Word;
    typedef Exact<ap_int<SumBits + Shape::mul_bits>> product_t;
    typedef Exact<ap_int<larger(larger(SumBits + Shape::mul_bits, Shape::add_bits) + 1, Shape::shift + 2)>> line_t;
    constexpr int digits = 32 / Shape::act_bits;
    typedef Exact<ap_uint<4>> turn_t;
    const turn_t turns = p.raw ? digits : 1;
    const Code<Shape> low = p.lowest, high = p.highest;
requantize_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        const bool last = tile == p.tiles - 1;
        const auto words = last ? p.last_words : p.words;
        const auto count = last ? p.last_count : p.count;
        if (!p.identity) {
            load_entries<Shape>(words, constants, entries);
        }
        decltype(p.words) channel = 0;
        turn_t turn = 0;
        Word sums = {};
    requantize_words:
        for (decltype(p.count) n = 0; n < count; n++) {
#pragma HLS PIPELINE II=1
            FPGAFLOW_CYCLE(Unit);
            if (turn == 0) {
                sums = in.read();
            }
            Codes<Shape> codes;
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const Exact<ap_int<SumBits>> sum = sums.v[l];
                if (p.raw) {
                    codes.v[l] = digit_of<Shape>(sum, turn);
                } else if (p.identity) {
                    codes.v[l] = static_cast<Code<Shape>>(sum);
                } else {
                    const product_t product =
                        Factor<product_t, Exact<ap_int<SumBits>>>(sum) *
                        Factor<product_t, Exact<ap_int<Shape::mul_bits>>>(entries.mul[channel][l]);
                    line_t offset = entries.add[channel][l];
                    if (Shape::mul_shift > 0) {  // what every factor lacks
                        offset += line_t(sum) * (line_t(1) << Shape::mul_shift);
                    }
                    const line_t line = static_cast<line_t>(line_t(product) + offset);
                    codes.v[l] = scaled<Shape::shift>(line, low, high);
                }
            }
            out.write(codes);
            turn++;
            if (turn == turns) {
                turn = 0;
                channel++;
                if (channel == words) {
                    channel = 0;
                }
            }
        }
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
