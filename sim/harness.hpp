// What the two harnesses share: the words of the memory, and errors that reach the caller as text. For one source a
// library.
#ifndef FPGAFLOW_HARNESS_HPP
#define FPGAFLOW_HARNESS_HPP

#include "simulation.hpp"

#include <ap_int.h>

#include <cstddef>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#define FPGAFLOW_API extern "C" __attribute__((visibility("default")))

namespace fpgaflow {
namespace simulation {

__thread std::uint64_t* cycles = nullptr;

namespace {
thread_local std::string error;
}  // namespace

void report(const char* what, const char* stream) noexcept {
    if (error.empty()) {
        error = std::string(what) + ": " + stream;
    }
}

void stop(const char* what, const char* stream) {
    report(what, stream);
    throw std::runtime_error(error);
}

// Calls `run`. Returns 0, or 1 with the reason for its failure in `message`.
template <class Run>
int guarded(Run run, char* message, int message_size) {
    error.clear();
    try {
        run();
    } catch (const std::exception& failure) {
        report(failure.what(), "");
    }
    if (error.empty()) {
        return 0;
    }
    std::strncpy(message, error.c_str(), message_size - 1);
    message[message_size - 1] = '\0';
    return 1;
}

// `count` words of 128 bits out of pairs of 64, the low half first.
inline std::vector<ap_uint<128>> to_words(const std::uint64_t* halves, std::size_t count) {
    std::vector<ap_uint<128>> words(count);
    for (std::size_t i = 0; i < count; i++) {
        words[i] = (ap_uint<128>(halves[2 * i + 1]) << 64) | ap_uint<128>(halves[2 * i]);
    }
    return words;
}

inline void from_words(const std::vector<ap_uint<128>>& words, std::uint64_t* halves) {
    for (std::size_t i = 0; i < words.size(); i++) {
        halves[2 * i] = words[i].range(63, 0).to_uint64();
        halves[2 * i + 1] = words[i].range(127, 64).to_uint64();
    }
}

}  // namespace simulation
}  // namespace fpgaflow

#endif
