// What the two harnesses share: errors that reach the caller as text. For one source a library.
#ifndef FPGAFLOW_HARNESS_HPP
#define FPGAFLOW_HARNESS_HPP

#include "simulation.hpp"
#include "words.hpp"

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

}  // namespace simulation
}  // namespace fpgaflow

#endif
