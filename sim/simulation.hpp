// What the C simulation adds to the hardware's sources: cycle counters, stream taps, errors. Included before each file.
// All state belongs to a thread: several host threads run the accelerator on different images.
#ifndef FPGAFLOW_SIMULATION_HPP
#define FPGAFLOW_SIMULATION_HPP

#include <cstdint>

namespace fpgaflow {
namespace simulation {

// One counter a unit. No TLS model is forced: with initial-exec the loader runs out of room after some ten libraries.
extern __thread std::uint64_t* cycles;

// Notes the first error of a run.
void report(const char* what, const char* stream) noexcept;
// Notes an error and ends the run.
[[noreturn]] void stop(const char* what, const char* stream);
// Appends one element to the record of a stream.
void record(int stream, std::int64_t element);

template <class Stream>
void tap(int id, const Stream& stream) {
    for (decltype(stream.size()) i = 0; i < stream.size(); i++) {
        for (const auto& element : stream[i].v) {
            record(id, static_cast<std::int64_t>(element));
        }
    }
}

}  // namespace simulation
}  // namespace fpgaflow

#define FPGAFLOW_CYCLE(unit) (++fpgaflow::simulation::cycles[unit])
#ifdef FPGAFLOW_TAPS
#define FPGAFLOW_TAP(id, stream) fpgaflow::simulation::tap(id, stream)
#endif

#endif
