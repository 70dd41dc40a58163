// The network on a board: codes in, codes out. One pair of buffers is filled while the accelerator works on the other.
#ifndef FPGAFLOW_ACCELERATOR_HPP
#define FPGAFLOW_ACCELERATOR_HPP

#include "device.hpp"
#include "network.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <vector>

namespace fpgaflow {

class Accelerator {
public:
    // Writes a frame's codes (H, W, C); takes those of an output.
    typedef std::function<void(std::int64_t frame, std::int64_t* codes)> Give;
    typedef std::function<void(std::int64_t frame, int output, const std::int64_t* codes)> Take;

    // `batch` frames a start, one of an engine, whose memory image is the file `image`. After `timeout` seconds a start
    // has failed; 0 waits for ten times the estimate.
    explicit Accelerator(Device& device, std::int64_t batch = 64, const std::string& image = "", double timeout = 0)
        : device_(device), batch_(network::is_engine ? 1 : batch), timeout_(timeout), given_(network::input_codes) {
        if (batch < 1) {
            throw BoardError("a batch of " + std::to_string(batch) + " frames");
        }
        std::int64_t most = 0;
        for (int output = 0; output < network::outputs; output++) {
            most = std::max(most, network::answer_codes[output]);
        }
        taken_.resize(most);
        for (Pair& pair : pairs_) {
            fill(pair, image);
        }
    }

    std::int64_t batch() const { return batch_; }

    // Runs `count` frames in batches.
    void run(std::int64_t count, const Give& give, const Take& take) {
        Pair* before = nullptr;
        std::int64_t first = 0, frames = 0;
        for (std::int64_t start = 0, turn = 0; start < count; start += batch_, turn++) {
            Pair& pair = pairs_[turn % 2];
            const std::int64_t now = std::min(batch_, count - start);
            for (std::int64_t i = 0; i < now; i++) {
                give(start + i, given_.data());
                network::put(given_.data(), pair[0]->words() + 2 * network::words[0] * i);
            }
            pair[0]->to_device();
            if (before != nullptr) {
                wait();
            }
            begin(pair, now);
            if (before != nullptr) {
                collect(*before, first, frames, take);
            }
            before = &pair;
            first = start;
            frames = now;
        }
        if (before != nullptr) {
            wait();
            collect(*before, first, frames, take);
        }
    }

    // Seconds of a run on `frames` frames that lie in the buffers.
    double seconds(std::int64_t frames) {
        const auto began = std::chrono::steady_clock::now();
        begin(pairs_[0], std::min(frames, batch_));
        wait();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    }

    // The registers as text.
    std::string state() {
        const std::uint32_t control = device_.read(network::control);
        static const char* const names[] = {"start", "done", "idle", "ready"};
        std::string text = "CTRL=";
        for (int bit = 0; bit < 4; bit++) {
            text += control >> bit & 1 ? std::string(text.back() == '=' ? "" : "+") + names[bit] : "";
        }
        for (const network::Register& port : network::ports) {
            text += std::string(", ") + port.name + "=" + std::to_string(device_.read(port.offset));
        }
        return text + ", " + network::count.name + "=" + std::to_string(device_.read(network::count.offset));
    }

private:
    typedef std::vector<std::unique_ptr<Buffer>> Pair;

    static constexpr std::uint32_t start_bit = 1, done_bit = 2, idle_bit = 4;

    void fill(Pair& pair, const std::string& image) {
        if (!network::is_engine) {
            for (const std::int64_t words : network::words) {
                pair.push_back(device_.allocate(16 * words * batch_));
            }
            return;
        }
        pair.push_back(device_.allocate(16 * network::words[0]));
        std::ifstream file(image, std::ios::binary);
        file.read(reinterpret_cast<char*>(pair[0]->words()), 16 * network::words[0]);
        if (file.gcount() != 16 * network::words[0]) {
            throw BoardError("no memory image of " + std::to_string(16 * network::words[0]) + " bytes in '" + image +
                             "'");
        }
        pair[0]->to_device();
    }

    void begin(const Pair& pair, std::int64_t frames) {
        if (!(device_.read(network::control) & idle_bit)) {
            throw BoardError("the accelerator is busy before its start: " + state());
        }
        std::size_t i = 0;
        for (const network::Register& port : network::ports) {
            const std::uint64_t address = pair[network::is_engine ? 0 : i++]->address();
            device_.write(port.offset, static_cast<std::uint32_t>(address));
            device_.write(port.offset + 4, static_cast<std::uint32_t>(address >> 32));
        }
        device_.write(network::count.offset, network::is_engine ? network::passes : static_cast<std::uint32_t>(frames));
        device_.write(network::control, start_bit);
        const double expected = frames / network::fps + network::latency_ms / 1e3;
        const double limit = timeout_ > 0 ? timeout_ : 1.0 + 10.0 * expected;
        until_ = std::chrono::steady_clock::now() +
                 std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(limit));
        running_ = frames;
    }

    void wait() {
        while (!(device_.read(network::control) & done_bit)) {  // reading clears it
            if (std::chrono::steady_clock::now() > until_) {
                throw BoardError(std::to_string(running_) + " frames are not done in time: " + state());
            }
        }
    }

    void collect(const Pair& pair, std::int64_t first, std::int64_t frames, const Take& take) {
        for (int output = 0; output < network::outputs; output++) {
            Buffer& buffer = *pair[network::is_engine ? 0 : 1 + output];
            buffer.from_device();
            const std::int64_t step = network::is_engine ? 0 : network::words[1 + output];
            for (std::int64_t i = 0; i < frames; i++) {
                network::take(output, buffer.words() + 2 * step * i, taken_.data());
                take(first + i, output, taken_.data());
            }
        }
    }

    Device& device_;
    std::int64_t batch_;
    double timeout_;
    Pair pairs_[2];
    std::vector<std::int64_t> given_, taken_;
    std::chrono::steady_clock::time_point until_;
    std::int64_t running_ = 0;
};

}  // namespace fpgaflow

#endif
