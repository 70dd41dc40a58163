// What the C simulation adds to the hardware's sources: cycle counters, stream taps, errors. Included before each file.
// All state belongs to a thread: several host threads run the accelerator on different images.
#ifndef FPGAFLOW_SIMULATION_HPP
#define FPGAFLOW_SIMULATION_HPP

#include <cstddef>
#include <cstdint>

namespace fpgaflow {
namespace simulation {

// One counter a unit. No TLS model is forced: with initial-exec the loader runs out of room after some ten libraries.
extern __thread std::uint64_t* cycles;

// Notes the first error of a run.
void report(const char* what, const char* stream) noexcept;
// Notes an error and ends the run.
[[noreturn]] void stop(const char* what, const char* stream);
// The words of a stream that are to be recorded.
struct Span {
    std::size_t first, last;
};
Span selected(int stream);
// Appends one element to the record of a stream.
void record(int stream, std::int64_t element);

// What a unit reads and where its results go, one entry a stream: words as they lie in memory, those of the reader and
// the writer as codes. `written` is how many words came, of which `room` were kept.
struct Ports {
    const void* const* inputs;
    const std::size_t* given;
    void* const* outputs;
    const std::size_t* room;
    std::size_t* written;
};

// Calls the unit of that number for `frames` frames. Generated, beside the top function.
void drive(int unit, const Ports& ports, int frames);

template <class Stream>
void tap(int id, const Stream& stream) {
    const Span words = selected(id);
    for (decltype(stream.size()) i = words.first; i < stream.size() && i < words.last; i++) {
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
