// Host side of the memory interface: codes of one frame to 128-bit words and back. No vendor headers needed.
#ifndef FPGAFLOW_HOST_HPP
#define FPGAFLOW_HOST_HPP

#include <cmath>
#include <cstdint>

namespace fpgaflow {

// Words are pairs of 64 bits, the low half first. Layout: bits, is_signed, lanes, groups (stream words a frame), size,
// words. A word holds 128 / (lanes * bits) groups of `lanes` codes, little end first; no code straddles two words.
template <class Layout>
struct Place {
    static constexpr int groups_a_word = 128 / (Layout::lanes * Layout::bits);
    static constexpr int codes_a_word = groups_a_word * Layout::lanes;
    std::int64_t word;
    int bit;
    explicit Place(std::int64_t index)
        : word(index / codes_a_word), bit(static_cast<int>(index % codes_a_word) * Layout::bits) {}
};

template <class Layout>
void pack_frame(const std::int64_t* codes, std::uint64_t* words) {
    constexpr std::uint64_t mask = ~std::uint64_t(0) >> (64 - Layout::bits);
    for (int i = 0; i < 2 * Layout::words; i++) {
        words[i] = 0;
    }
    for (std::int64_t i = 0; i < Layout::size; i++) {
        const Place<Layout> place(i);
        const std::uint64_t code = static_cast<std::uint64_t>(codes[i]) & mask;
        std::uint64_t* half = words + 2 * place.word + place.bit / 64;
        const int shift = place.bit % 64;
        half[0] |= code << shift;
        if (shift + Layout::bits > 64) {
            half[1] |= code >> (64 - shift);
        }
    }
}

template <class Layout>
void unpack_frame(const std::uint64_t* words, std::int64_t* codes) {
    constexpr std::uint64_t mask = ~std::uint64_t(0) >> (64 - Layout::bits);
    constexpr std::uint64_t sign = std::uint64_t(1) << (Layout::bits - 1);
    for (std::int64_t i = 0; i < Layout::size; i++) {
        const Place<Layout> place(i);
        const std::uint64_t* half = words + 2 * place.word + place.bit / 64;
        const int shift = place.bit % 64;
        std::uint64_t code = half[0] >> shift;
        if (shift + Layout::bits > 64) {
            code |= half[1] << (64 - shift);
        }
        code &= mask;
        codes[i] = static_cast<std::int64_t>(Layout::is_signed ? (code ^ sign) - sign : code);
    }
}

// Rounding of the codes of real numbers; halves go to the even one, away from zero, or towards it.
struct RoundHalfEven {
    static float of(float x) { return std::nearbyint(x); }
};
struct RoundDown {
    static float of(float x) { return std::floor(x); }
};
struct RoundUp {
    static float of(float x) { return std::ceil(x); }
};
struct RoundToZero {
    static float of(float x) { return std::trunc(x); }
};
struct RoundFromZero {
    static float of(float x) { return std::copysign(std::ceil(std::fabs(x)), x); }
};
struct RoundHalfFromZero {
    static float of(float x) { return std::copysign(std::floor(std::fabs(x) + 0.5f), x); }
};
struct RoundHalfToZero {
    static float of(float x) { return std::copysign(std::ceil(std::fabs(x) - 0.5f), x); }
};

// The code that is sent for `code`: a bit for a sign where Rule says so.
template <class Rule>
std::int64_t sent(std::int64_t code) {
    return Rule::signs_as_bits ? (code + 1) / 2 : code;
}

// Code of a real number: the nearest of the codes low..high, or its sign. What is no number gives `low`.
template <class Rule>
std::int64_t encode_real(float x, float scale, float zero) {
    if (Rule::bipolar) {
        return sent<Rule>(x >= 0 ? 1 : -1);
    }
    const float low = static_cast<float>(Rule::low), high = static_cast<float>(Rule::high);
    const float position = x / scale + zero;
    return sent<Rule>(static_cast<std::int64_t>(Rule::Round::of(!(position > low) ? low
                                                                : position < high ? position
                                                                                  : high)));
}

// Codes (H, W, C) of a frame of numbers (C, H, W), each worth `unit`; `scale` and `zero` are of every channel or of all.
template <class Rule, int Positions, int Channels, int Scales, class Number>
void encode_reals(const Number* numbers, float unit, const float (&scale)[Scales], const float (&zero)[Scales],
                  std::int64_t* codes) {
    for (int position = 0; position < Positions; position++) {
        for (int c = 0; c < Channels; c++) {
            const int s = Scales == 1 ? 0 : c;
            const float x = static_cast<float>(numbers[c * Positions + position]) * unit;
            codes[position * Channels + c] = encode_real<Rule>(x, scale[s], zero[s]);
        }
    }
}

// Codes (H, W, C) of a frame of numbers (C, H, W) whose values are (number - mean) / deviation; all four tables are of
// every channel or of all.
template <class Rule, int Positions, int Channels, int Entries, int Scales>
void encode_measured(const float* numbers, const float (&mean)[Entries], const float (&deviation)[Entries],
                     const float (&scale)[Scales], const float (&zero)[Scales], std::int64_t* codes) {
    for (int position = 0; position < Positions; position++) {
        for (int c = 0; c < Channels; c++) {
            const int m = Entries == 1 ? 0 : c, s = Scales == 1 ? 0 : c;
            const float value = (numbers[c * Positions + position] - mean[m]) / deviation[m];
            codes[position * Channels + c] = encode_real<Rule>(value, scale[s], zero[s]);
        }
    }
}

// Codes (H, W, C) of a frame of integers (C, H, W): code of each by `table`, of every channel or of all.
template <int Positions, int Channels, class Integer, class Code, int Entries, int TableChannels>
void encode_pixels(const Integer* pixels, const Code (&table)[Entries][TableChannels], std::int64_t* codes) {
    for (int position = 0; position < Positions; position++) {
        for (int c = 0; c < Channels; c++) {
            codes[position * Channels + c] = table[pixels[c * Positions + position]][TableChannels == 1 ? 0 : c];
        }
    }
}

// Codes (H, W, C) of a frame of integers (C, H, W) that are the codes themselves.
template <class Rule, int Positions, int Channels, class Integer>
void encode_integers(const Integer* integers, std::int64_t* codes) {
    for (int position = 0; position < Positions; position++) {
        for (int c = 0; c < Channels; c++) {
            codes[position * Channels + c] = sent<Rule>(integers[c * Positions + position]);
        }
    }
}

// The codes (H, W, Channels) of a frame become (H, W, Padded): zeros in the lanes that no channel fills.
template <int Positions, int Channels, int Padded>
void pad_channels(std::int64_t* codes) {
    for (int position = Positions - 1; position >= 0; position--) {
        for (int c = Padded - 1; c >= 0; c--) {
            codes[position * Padded + c] = c < Channels ? codes[position * Channels + c] : 0;
        }
    }
}

// The codes (H, W, Padded) of a frame become (H, W, Channels): the others mean nothing.
template <int Positions, int Channels, int Padded>
void drop_padding(std::int64_t* codes) {
    for (int position = 0; position < Positions; position++) {
        for (int c = 0; c < Channels; c++) {
            codes[position * Channels + c] = codes[position * Padded + c];
        }
    }
}

}  // namespace fpgaflow

#endif
