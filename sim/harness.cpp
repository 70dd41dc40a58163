// The C interface that the host calls to run the accelerator's sources.
#include "simulation.hpp"

#ifdef FPGAFLOW_BOUNDED
#include "bounded_stream.hpp"
#endif
#include "encode.hpp"
#include "top.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#define FPGAFLOW_API extern "C" __attribute__((visibility("default")))

namespace fpgaflow {
namespace simulation {

__thread std::uint64_t* cycles = nullptr;
#ifdef FPGAFLOW_BOUNDED
thread_local Crew* crew = nullptr;
thread_local std::map<std::string, std::size_t> depths;
#endif

namespace {
thread_local std::string error;
thread_local std::vector<std::vector<std::int64_t>> records;
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

void run(const std::int64_t* codes, std::int64_t* results, int frames) {
    std::vector<std::uint64_t> in(2u * frames * host::input::words), out(2u * frames * host::output::words);
    for (int frame = 0; frame < frames; frame++) {
        fpgaflow::pack_frame<host::input>(codes + std::size_t(frame) * host::input::size,
                                          in.data() + 2u * frame * host::input::words);
    }
    std::vector<ap_uint<128>> in_words(in.size() / 2), out_words(out.size() / 2);
    for (std::size_t i = 0; i < in_words.size(); i++) {
        in_words[i] = (ap_uint<128>(in[2 * i + 1]) << 64) | ap_uint<128>(in[2 * i]);
    }
#ifdef FPGAFLOW_BOUNDED
    simulation::Crew crew;
    simulation::crew = &crew;
#endif
    FPGAFLOW_TOP(in_words.data(), out_words.data(), frames);
    for (std::size_t i = 0; i < out_words.size(); i++) {
        out[2 * i] = out_words[i].range(63, 0).to_uint64();
        out[2 * i + 1] = out_words[i].range(127, 64).to_uint64();
    }
    for (int frame = 0; frame < frames; frame++) {
        fpgaflow::unpack_frame<host::output>(out.data() + 2u * frame * host::output::words,
                                             results + std::size_t(frame) * host::output::size);
    }
}

}  // namespace

// Runs `frames` frames; adds to `cycles`, one counter a unit. Returns 0, or 1 with the reason in `message`.
FPGAFLOW_API int fpgaflow_run(const std::int64_t* codes, std::int64_t* results, int frames, std::uint64_t* cycles,
                              char* message, int message_size) {
    simulation::error.clear();
    simulation::records.clear();
    simulation::cycles = cycles;
    try {
        run(codes, results, frames);
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

#ifdef FPGAFLOW_BOUNDED
// Depth of the streams called `names` in the next runs of this thread.
FPGAFLOW_API void fpgaflow_set_depths(const char* const* names, const std::int64_t* depths, int count) {
    simulation::depths.clear();
    for (int i = 0; i < count; i++) {
        simulation::depths[names[i]] = static_cast<std::size_t>(depths[i]);
    }
}
#endif

// Codes (H, W, C) of one image of pixels (C, H, W).
FPGAFLOW_API void fpgaflow_encode(const std::uint8_t* pixels, std::int64_t* codes) {
    host::encode_pixels(pixels, codes);
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
