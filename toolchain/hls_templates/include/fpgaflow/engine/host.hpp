// Host side of the engine's memory: where the codes of a frame and of its answer lie. No vendor headers needed.
#ifndef FPGAFLOW_ENGINE_HOST_HPP
#define FPGAFLOW_ENGINE_HOST_HPP

#include <cstdint>

namespace fpgaflow {
namespace engine {

// A stored code of Bits bits, which divide 64, in a memory of 64-bit words from 128-bit word `address` on.
template <int Bits>
struct StoredCode {
    std::int64_t word;
    int bit;
    StoredCode(std::int64_t address, std::int64_t index)
        : word(2 * address + index / (64 / Bits)), bit(static_cast<int>(index % (64 / Bits)) * Bits) {}

    void put(std::uint64_t code, std::uint64_t* memory) const {
        constexpr std::uint64_t mask = (std::uint64_t(1) << Bits) - 1;
        memory[word] = (memory[word] & ~(mask << bit)) | (code & mask) << bit;
    }
    std::int64_t get(const std::uint64_t* memory) const {
        return static_cast<std::int64_t>(memory[word] >> bit & ((std::uint64_t(1) << Bits) - 1));
    }
};

// Puts a frame's codes (H, W, C) where the first pass reads them. Its map has a position for each place of a kernel, the
// codes under the kernel row by row as channels: a kernel of one code where the engine itself slides it. Input: height,
// width, channels of the frame; kernel_rows, kernel_columns, stride_rows, stride_columns, dilation_rows, dilation_columns,
// top, left; rows, columns of the map, position_codes from a position to the next one; pad, the stored code outside; zero,
// the stored code of 0; bits; address.
template <class Input>
void put_frame(const std::int64_t* codes, std::uint64_t* memory) {
    for (std::int64_t row = 0; row < Input::rows; row++) {
        for (std::int64_t column = 0; column < Input::columns; column++) {
            std::int64_t index = (row * Input::columns + column) * Input::position_codes;
            for (std::int64_t r = 0; r < Input::kernel_rows; r++) {
                for (std::int64_t c = 0; c < Input::kernel_columns; c++) {
                    const std::int64_t y = row * Input::stride_rows - Input::top + r * Input::dilation_rows;
                    const std::int64_t x = column * Input::stride_columns - Input::left + c * Input::dilation_columns;
                    const bool inside = y >= 0 && y < Input::height && x >= 0 && x < Input::width;
                    for (std::int64_t channel = 0; channel < Input::channels; channel++) {
                        const std::int64_t code =
                            inside ? codes[(y * Input::width + x) * Input::channels + channel] + Input::zero
                                   : Input::pad;
                        StoredCode<Input::bits>(Input::address, index++).put(static_cast<std::uint64_t>(code), memory);
                    }
                }
            }
        }
    }
}

// Takes the answer's codes (H, W, C). Answer: height, width, channels; lanes of a word, position_words; bits, zero;
// digits: in how many words of codes a word of sums leaves, the lowest digits first, half of their range added, or 1 where
// codes leave; address. `corrections` are added to sums, one a channel.
template <class Answer, class Correction>
void take_answer(const std::uint64_t* memory, const Correction* corrections, std::int64_t* codes) {
    for (std::int64_t position = 0; position < Answer::height * Answer::width; position++) {
        for (std::int64_t channel = 0; channel < Answer::channels; channel++) {
            const std::int64_t word = position * Answer::position_words + channel / Answer::lanes * Answer::digits;
            std::int64_t code = 0;
            for (int digit = 0; digit < Answer::digits; digit++) {
                const std::int64_t index = (word + digit) * Answer::lanes + channel % Answer::lanes;
                code += StoredCode<Answer::bits>(Answer::address, index).get(memory) *
                        (std::int64_t(1) << digit * Answer::bits);
            }
            code -= Answer::digits > 1 ? std::int64_t(1) << 31 : Answer::zero;
            codes[position * Answer::channels + channel] = code + (Answer::digits > 1 ? corrections[channel] : 0);
        }
    }
}

// The index of the largest code, of equal ones the first or the last.
template <class Answer>
std::int64_t largest_index(const std::int64_t* codes) {
    std::int64_t best = 0;
    for (std::int64_t i = 1; i < Answer::channels; i++) {
        if (codes[i] > codes[best] || (Answer::last_of_equals && codes[i] == codes[best])) {
            best = i;
        }
    }
    return best;
}

}  // namespace engine
}  // namespace fpgaflow

#endif
