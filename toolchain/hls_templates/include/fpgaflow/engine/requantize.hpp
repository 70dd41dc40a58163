// Sums to codes by multiply, add and shift, the constants a channel, loaded before each tile. Behind a leaky ReLU, sums
// below a knee have constants of their own. A table may follow: a function of the code, such as SiLU.
#ifndef FPGAFLOW_ENGINE_REQUANTIZE_HPP
#define FPGAFLOW_ENGINE_REQUANTIZE_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

template <class Shape>
using Mul = Exact<ap_int<Shape::mul_bits>>;
template <class Shape>
using Add = Exact<ap_int<Shape::add_bits>>;
template <class Shape>
constexpr int knee_bits() {
    return larger(Shape::sum_bits, Shape::window_sum_bits) + 1;
}
template <class Shape>
using Knee = Exact<ap_int<knee_bits<Shape>()>>;

// Codes in a word of a table: a LUT chooses one of four.
constexpr int curve_codes = 4;

// A function of a code, for every lane. The engine that needs none has a bit that nobody uses.
template <class Shape, bool Curves = Shape::curves>
struct Curve {
    ap_uint<1> unused;
};

template <class Shape>
struct Curve<Shape, true> {
    Code<Shape> codes[Shape::lanes][(1 << Shape::act_bits) / curve_codes][curve_codes];
};

// A requantizer's constants, word by word of channels, and its function of a code.
template <class Shape, bool Bends = Shape::bends>
struct Entries {
    Mul<Shape> mul[Shape::channel_words][Shape::lanes];
    Add<Shape> add[Shape::channel_words][Shape::lanes];
    Curve<Shape> curve;
};

// With the line of sums below a knee.
template <class Shape>
struct Entries<Shape, true> {
    Mul<Shape> mul[Shape::channel_words][Shape::lanes], mul_below[Shape::channel_words][Shape::lanes];
    Add<Shape> add[Shape::channel_words][Shape::lanes], add_below[Shape::channel_words][Shape::lanes];
    Knee<Shape> knee[Shape::channel_words][Shape::lanes];
    Curve<Shape> curve;
};

// In how many parts the constants of a word come in: a line, the one below the knee, the knee.
typedef Exact<ap_uint<2>> part_t;

template <class Shape>
part_t parts_of(const Requantize&, const Entries<Shape, false>&) {
#pragma HLS INLINE
    return 1;
}

template <class Shape, class Facts>
part_t parts_of(const Facts& p, const Entries<Shape, true>&) {
#pragma HLS INLINE
    return p.bent ? 3 : 1;
}

template <class Shape>
Mul<Shape> mul_of(const ap_uint<Shape::entry_bits>& entry) {
#pragma HLS INLINE
    const ap_int<Shape::mul_bits> mul = entry;
    return static_cast<Mul<Shape>>(mul);
}

template <class Shape>
Add<Shape> add_of(const ap_uint<Shape::entry_bits>& entry) {
#pragma HLS INLINE
    const ap_int<Shape::add_bits> add = entry >> Shape::mul_bits;
    return static_cast<Add<Shape>>(add);
}

template <class Shape, class Word>
void store_entry(Entries<Shape, false>& entries, part_t, Word w, int l, const ap_uint<Shape::entry_bits>& entry) {
#pragma HLS INLINE
    entries.mul[w][l] = mul_of<Shape>(entry);
    entries.add[w][l] = add_of<Shape>(entry);
}

template <class Shape, class Word>
void store_entry(Entries<Shape, true>& entries, part_t part, Word w, int l, const ap_uint<Shape::entry_bits>& entry) {
#pragma HLS INLINE
    if (part == 0) {
        entries.mul[w][l] = mul_of<Shape>(entry);
        entries.add[w][l] = add_of<Shape>(entry);
    } else if (part == 1) {
        entries.mul_below[w][l] = mul_of<Shape>(entry);
        entries.add_below[w][l] = add_of<Shape>(entry);
    } else {
        const ap_int<knee_bits<Shape>()> knee = entry;
        entries.knee[w][l] = static_cast<Knee<Shape>>(knee);
    }
}

// The factor and the offset of a sum.
template <class Shape>
struct Line {
    Mul<Shape> mul;
    Add<Shape> add;
};

template <class Shape, class Word, class Sum>
Line<Shape> line_of(const Entries<Shape, false>& entries, bool, Word w, int l, Sum) {
#pragma HLS INLINE
    return {entries.mul[w][l], entries.add[w][l]};
}

template <class Shape, class Word, class Sum>
Line<Shape> line_of(const Entries<Shape, true>& entries, bool bent, Word w, int l, Sum sum) {
#pragma HLS INLINE
    const bool below = bent && sum < entries.knee[w][l];
    return {below ? entries.mul_below[w][l] : entries.mul[w][l], below ? entries.add_below[w][l] : entries.add[w][l]};
}

template <class Shape>
void load_entries(decltype(Requantize::words) words, part_t parts, hls::stream<word128>& constants,
                  Entries<Shape>& entries) {
#pragma HLS INLINE
    constexpr int a_beat = 128 / Shape::entry_bits, beats = Shape::lanes / a_beat;
    decltype(Requantize::words) w = 0;
    Index<beats> beat = 0;  // of the word
    part_t part = 0;
load_entries_loop:
    while (w < words) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(constants_unit);
        const Beat word = constants.read();
        for (int b = 0; b < beats; b++) {
#pragma HLS UNROLL
            for (int e = 0; e < a_beat; e++) {
#pragma HLS UNROLL
                const ap_uint<Shape::entry_bits> entry = bits_of<Shape::entry_bits>(word, e * Shape::entry_bits);
                if (b == beat) {
                    store_entry(entries, part, w, b * a_beat + e, entry);
                }
            }
        }
        beat++;
        if (beat == beats) {
            beat = 0;
            part++;
            if (part == parts) {
                part = 0;
                w++;
            }
        }
    }
}

template <class Shape>
bool has_curve(const Requantize&, const Curve<Shape, false>&) {
#pragma HLS INLINE
    return false;
}

template <class Shape, class Facts>
bool has_curve(const Facts& p, const Curve<Shape, true>&) {
#pragma HLS INLINE
    return p.curved;
}

template <class Shape>
void load_curve(hls::stream<word128>&, Curve<Shape, false>&) {
#pragma HLS INLINE
}

// The table comes in once a pass, a word a cycle, the same one for every lane.
template <class Shape>
void load_curve(hls::stream<word128>& constants, Curve<Shape, true>& curve) {
#pragma HLS INLINE
    constexpr int words = (1 << Shape::act_bits) / curve_codes, a_beat = 128 / (curve_codes * Shape::act_bits);
    Beat beat = word128(0);
load_curve_loop:
    for (Index<words> w = 0; w < words; w++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(constants_unit);
        const int place = w % a_beat;
        if (place == 0) {
            beat = constants.read();
        }
        for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
            for (int c = 0; c < curve_codes; c++) {
#pragma HLS UNROLL
                const int low = (place * curve_codes + c) * Shape::act_bits;
                curve.codes[l][w][c] = static_cast<Code<Shape>>(bits_of<Shape::act_bits>(beat, low));
            }
        }
    }
}

template <class Shape>
Code<Shape> curve_of(const Curve<Shape, false>&, bool, int, const Code<Shape>& code) {
#pragma HLS INLINE
    return code;
}

template <class Shape>
Code<Shape> curve_of(const Curve<Shape, true>& curve, bool curved, int l, const Code<Shape>& code) {
#pragma HLS INLINE
    return curved ? curve.codes[l][code / curve_codes][code % curve_codes] : code;
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
    const part_t parts = parts_of(p, entries);
    const bool curved = has_curve(p, entries.curve);
    if (curved) {
        load_curve(constants, entries.curve);
    }
requantize_tiles:
    for (decltype(p.tiles) tile = 0; tile < p.tiles; tile++) {
        const bool last = tile == p.tiles - 1;
        const auto words = last ? p.last_words : p.words;
        const auto count = last ? p.last_count : p.count;
        if (!p.identity) {
            load_entries<Shape>(words, parts, constants, entries);
        }
        decltype(p.words) channel = 0;
        turn_t turn = 0;
        Word sums = {};
    requantize_words:
        for (decltype(p.count) n = 0; n < count; n++) {
#pragma HLS PIPELINE II=1 style=flp
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
                    const Line<Shape> line_at = line_of(entries, parts > 1, channel, l, sum);
                    const product_t product =
                        Factor<product_t, Exact<ap_int<SumBits>>>(sum) * Factor<product_t, Mul<Shape>>(line_at.mul);
                    line_t offset = line_at.add;
                    if (Shape::mul_shift > 0) {  // what every factor lacks
                        offset += line_t(sum) * (line_t(1) << Shape::mul_shift);
                    }
                    const line_t line = static_cast<line_t>(line_t(product) + offset);
                    codes.v[l] = curve_of(entries.curve, curved, l, scaled<Shape::shift>(line, low, high));
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
