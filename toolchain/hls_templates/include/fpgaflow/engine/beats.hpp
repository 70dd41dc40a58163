// 128-bit words of memory and the numbers in them.
#ifndef FPGAFLOW_ENGINE_BEATS_HPP
#define FPGAFLOW_ENGINE_BEATS_HPP

#include "fpgaflow/types.hpp"

// A 128-bit word that crosses the memory interface `port`. The C simulation defines it to count; hardware drops it.
#ifndef FPGAFLOW_BEAT
#define FPGAFLOW_BEAT(port) ((void)0)
#endif

namespace fpgaflow {
namespace engine {

typedef ap_uint<128> word128;

// Bits [low, low + Width) of a 128-bit word. The C simulation shifts the halves of a word, which it reads once.
#ifdef FPGAFLOW_HARDWARE
typedef word128 Beat;
template <int Width>
ap_uint<Width> bits_of(const Beat& beat, int low) {
#pragma HLS INLINE
    return beat >> low;
}
#else
struct Beat {
    std::uint64_t lower, upper;
    Beat(const word128& word) : lower(word.to_uint64()), upper((word >> 64).to_uint64()) {}
};
template <int Width>
typename std::enable_if<(Width <= 64), ap_uint<Width>>::type bits_of(const Beat& beat, int low) {
    return low >= 64 ? beat.upper >> (low - 64) : low == 0 ? beat.lower : beat.lower >> low | beat.upper << (64 - low);
}
template <int Width>
typename std::enable_if<(Width > 64), ap_uint<Width>>::type bits_of(const Beat& beat, int low) {
    return ((word128(beat.upper) << 64) | word128(beat.lower)) >> low;
}
#endif

// The number of type T from bit Low of a word on: wires.
template <class T, int Low>
Exact<T> field_of(const word128& word) {
#pragma HLS INLINE
    const T field = bits_of<Bits<T>::width>(Beat(word), Low);
    return static_cast<Exact<T>>(field);
}

}  // namespace engine
}  // namespace fpgaflow

#endif
