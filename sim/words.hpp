// Words of the memory: 128 bits, which the host keeps as pairs of 64, the low half first.
#ifndef FPGAFLOW_SIM_WORDS_HPP
#define FPGAFLOW_SIM_WORDS_HPP

#include <ap_int.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fpgaflow {
namespace simulation {

typedef std::vector<ap_uint<128>> Memory;

// `count` words out of pairs of 64 bits.
inline Memory to_words(const std::uint64_t* halves, std::size_t count) {
    Memory words(count);
    for (std::size_t i = 0; i < count; i++) {
        words[i] = (ap_uint<128>(halves[2 * i + 1]) << 64) | ap_uint<128>(halves[2 * i]);
    }
    return words;
}

inline void from_words(const Memory& words, std::uint64_t* halves) {
    for (std::size_t i = 0; i < words.size(); i++) {
        halves[2 * i] = words[i].range(63, 0).to_uint64();
        halves[2 * i + 1] = words[i].range(127, 64).to_uint64();
    }
}

}  // namespace simulation
}  // namespace fpgaflow

#endif
