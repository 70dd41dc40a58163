// Host side of the memory interface: codes of one frame to 128-bit words and back. No vendor headers needed.
#ifndef FPGAFLOW_HOST_HPP
#define FPGAFLOW_HOST_HPP

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

// Codes (H, W, C) of an image of pixels (C, H, W): code of a pixel by `table`, of every channel or of all.
template <int Positions, int Channels, class Code, int TableChannels>
void encode_planes(const std::uint8_t* pixels, const Code (&table)[256][TableChannels], std::int64_t* codes) {
    for (int position = 0; position < Positions; position++) {
        for (int c = 0; c < Channels; c++) {
            codes[position * Channels + c] = table[pixels[c * Positions + position]][TableChannels == 1 ? 0 : c];
        }
    }
}

}  // namespace fpgaflow

#endif
