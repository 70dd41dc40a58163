// The C interface through which a program runs the engine's sources on a memory image.
#include "simulation.hpp"

#include "shape.hpp"
#include "top.hpp"

#include <cstddef>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace fpgaflow {
namespace simulation {

__thread std::uint64_t* cycles = nullptr;
__thread std::uint64_t* counts = nullptr;

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

void record(int, std::int64_t) {}

}  // namespace simulation
}  // namespace fpgaflow

namespace simulation = fpgaflow::simulation;

// Runs `passes` passes on `memory`, pairs of 64 bits, the low half first. Adds to `counts`, for each pass one number a
// counter. Returns 0, or 1 with the reason in `message`.
extern "C" __attribute__((visibility("default"))) int fpgaflow_engine_run(std::uint64_t* memory, std::int64_t beats,
                                                                           int passes, std::uint64_t* counts,
                                                                           char* message, int message_size) {
    simulation::error.clear();
    simulation::counts = counts;
    try {
        std::vector<ap_uint<128>> words(beats);
        for (std::int64_t i = 0; i < beats; i++) {
            words[i] = (ap_uint<128>(memory[2 * i + 1]) << 64) | ap_uint<128>(memory[2 * i]);
        }
        FPGAFLOW_TOP(words.data(), words.data(), words.data(), passes);
        for (std::int64_t i = 0; i < beats; i++) {
            memory[2 * i] = words[i].range(63, 0).to_uint64();
            memory[2 * i + 1] = words[i].range(127, 64).to_uint64();
        }
    } catch (const std::exception& failure) {
        simulation::report(failure.what(), "");
    }
    if (simulation::error.empty()) {
        return 0;
    }
    std::strncpy(message, simulation::error.c_str(), message_size - 1);
    message[message_size - 1] = '\0';
    return 1;
}
