// Frames of codes in words of the memory, by the host's own code.
#ifndef FPGAFLOW_SIM_FRAMES_HPP
#define FPGAFLOW_SIM_FRAMES_HPP

#include "fpgaflow/host.hpp"
#include "words.hpp"

namespace fpgaflow {
namespace simulation {

template <class Layout>
Memory pack_frames(const std::int64_t* codes, int frames) {
    std::vector<std::uint64_t> halves(std::size_t(2) * frames * Layout::words);
    for (int frame = 0; frame < frames; frame++) {
        pack_frame<Layout>(codes + std::size_t(frame) * Layout::size,
                           halves.data() + std::size_t(2) * frame * Layout::words);
    }
    return to_words(halves.data(), halves.size() / 2);
}

template <class Layout>
void unpack_frames(const Memory& words, std::int64_t* codes, int frames) {
    std::vector<std::uint64_t> halves(2 * words.size());
    from_words(words, halves.data());
    for (int frame = 0; frame < frames; frame++) {
        unpack_frame<Layout>(halves.data() + std::size_t(2) * frame * Layout::words,
                             codes + std::size_t(frame) * Layout::size);
    }
}

}  // namespace simulation
}  // namespace fpgaflow

#endif
