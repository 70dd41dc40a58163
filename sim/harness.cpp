// The C interface that the host calls to run the accelerator's sources.
#include "harness.hpp"

#ifdef FPGAFLOW_BOUNDED
#include "bounded_stream.hpp"
#endif
#include "encode.hpp"
#include "frames.hpp"
#include "top.hpp"

#include <map>

// FPGAFLOW_OUTPUTS(X), given by the compiler's options, is X(NAME) for every output, where NAME is its layout in `host`.

namespace fpgaflow {
namespace simulation {

#ifdef FPGAFLOW_BOUNDED
thread_local Crew* crew = nullptr;
thread_local std::map<std::string, std::size_t> depths;
#endif

namespace {
thread_local std::vector<std::vector<std::int64_t>> records;
thread_local std::map<int, Span> selection;
}  // namespace

Span selected(int stream) {
    const auto found = selection.find(stream);
    return found == selection.end() ? Span{0, 0} : found->second;
}

void record(int stream, std::int64_t element) {
    if (records.size() <= static_cast<std::size_t>(stream)) {
        records.resize(stream + 1);
    }
    records[stream].push_back(element);
}

}  // namespace simulation
}  // namespace fpgaflow

namespace simulation = fpgaflow::simulation;

namespace {

// The words that the accelerator writes, by output.
struct Answer {
#define FPGAFLOW_MEMBER(name) simulation::Memory name;
    FPGAFLOW_OUTPUTS(FPGAFLOW_MEMBER)
};

// What it answers to the words of `frames` frames.
Answer answer(const simulation::Memory& in, int frames) {
    Answer out;
#define FPGAFLOW_ROOM(name) out.name.resize(std::size_t(frames) * host::name::words);
    FPGAFLOW_OUTPUTS(FPGAFLOW_ROOM)
#ifdef FPGAFLOW_BOUNDED
    simulation::Crew crew;
    simulation::crew = &crew;
#endif
#define FPGAFLOW_POINTER(name) out.name.data(),
    FPGAFLOW_TOP(in.data(), FPGAFLOW_OUTPUTS(FPGAFLOW_POINTER) frames);
    return out;
}

void run(const std::int64_t* codes, std::int64_t* const* results, int frames) {
    const Answer out = answer(simulation::pack_frames<host::input>(codes, frames), frames);
#define FPGAFLOW_UNPACK(name) simulation::unpack_frames<host::name>(out.name, *results++, frames);
    FPGAFLOW_OUTPUTS(FPGAFLOW_UNPACK)
}

}  // namespace

// Runs `frames` frames, `results` has an array an output; adds to `cycles`, one counter a unit. Returns 0, or 1 with the reason in `message`.
FPGAFLOW_API int fpgaflow_run(const std::int64_t* codes, std::int64_t* const* results, int frames,
                              std::uint64_t* cycles, char* message, int message_size) {
    simulation::records.clear();
    simulation::cycles = cycles;
    return simulation::guarded([&] { run(codes, results, frames); }, message, message_size);
}

// Runs `frames` frames of words, pairs of 64 bits, the low half first. Counts and returns as fpgaflow_run does.
FPGAFLOW_API int fpgaflow_run_words(const std::uint64_t* in, std::uint64_t* const* out, int frames,
                                    std::uint64_t* cycles, char* message, int message_size) {
    simulation::records.clear();
    simulation::cycles = cycles;
    const auto run_words = [&, out]() mutable {
        const std::size_t count = std::size_t(frames) * host::input::words;
        const Answer found = answer(simulation::to_words(in, count), frames);
#define FPGAFLOW_FROM_WORDS(name) simulation::from_words(found.name, *out++);
        FPGAFLOW_OUTPUTS(FPGAFLOW_FROM_WORDS)
    };
    return simulation::guarded(run_words, message, message_size);
}

#ifndef FPGAFLOW_BOUNDED
// Runs one unit by itself, see `drive` in simulation.hpp. Returns as fpgaflow_run does.
FPGAFLOW_API int fpgaflow_drive(int unit, const simulation::Ports* ports, int frames, std::uint64_t* cycles,
                                char* message, int message_size) {
    simulation::cycles = cycles;
    return simulation::guarded([&] { simulation::drive(unit, *ports, frames); }, message, message_size);
}
#else
// Depth of the streams called `names` in the next runs of this thread.
FPGAFLOW_API void fpgaflow_set_depths(const char* const* names, const std::int64_t* depths, int count) {
    simulation::depths.clear();
    for (int i = 0; i < count; i++) {
        simulation::depths[names[i]] = static_cast<std::size_t>(depths[i]);
    }
}
#endif

// Codes (H, W, C) of one frame of integers, or of real numbers, (C, H, W).
FPGAFLOW_API void fpgaflow_encode_integers(const std::int64_t* integers, std::int64_t* codes) {
    host::encode_integers(integers, codes);
}

FPGAFLOW_API void fpgaflow_encode_reals(const float* reals, std::int64_t* codes) { host::encode_reals(reals, codes); }

// The next runs of this thread record words `first` to `last` of the `streams`, and nothing of others.
FPGAFLOW_API void fpgaflow_select(const std::int32_t* streams, const std::int64_t* first, const std::int64_t* last,
                                  int count) {
    simulation::selection.clear();
    for (int i = 0; i < count; i++) {
        simulation::selection[streams[i]] = {static_cast<std::size_t>(first[i]), static_cast<std::size_t>(last[i])};
    }
}

// Elements recorded from a stream by the last run of this thread; copied to `elements` unless it is null.
FPGAFLOW_API std::int64_t fpgaflow_record(int stream, std::int64_t* elements) {
    if (static_cast<std::size_t>(stream) >= simulation::records.size()) {
        return 0;
    }
    const std::vector<std::int64_t>& record = simulation::records[stream];
    if (elements != nullptr && !record.empty()) {
        std::memcpy(elements, record.data(), record.size() * sizeof(std::int64_t));
    }
    return static_cast<std::int64_t>(record.size());
}
