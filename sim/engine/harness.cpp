// The C interface through which a program runs the engine's sources on a memory image.
#include "harness.hpp"

#include "shape.hpp"
#include "top.hpp"

namespace fpgaflow {
namespace simulation {

__thread std::uint64_t* counts = nullptr;

void record(int, std::int64_t) {}

}  // namespace simulation
}  // namespace fpgaflow

namespace simulation = fpgaflow::simulation;

// Runs `passes` passes on `memory`, pairs of 64 bits, the low half first. Adds to `counts`, for each pass one number a
// counter. Returns 0, or 1 with the reason in `message`.
FPGAFLOW_API int fpgaflow_engine_run(std::uint64_t* memory, std::int64_t beats, int passes, std::uint64_t* counts,
                                     char* message, int message_size) {
    simulation::counts = counts;
    const auto run = [&] {
        std::vector<ap_uint<128>> words = simulation::to_words(memory, beats);
        FPGAFLOW_TOP(words.data(), words.data(), words.data(), words.data(), passes);
        simulation::from_words(words, memory);
    };
    return simulation::guarded(run, message, message_size);
}
