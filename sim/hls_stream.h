// hls::stream for the C simulation, in place of the vendor's: an array instead of a deque, and a read of an empty stream
// or words left over are errors instead of warnings, since hardware would hang there.
#ifndef FPGAFLOW_SIM_HLS_STREAM_H
#define FPGAFLOW_SIM_HLS_STREAM_H

#ifdef FPGAFLOW_BOUNDED
#include "bounded_stream.hpp"
#else

#include "simulation.hpp"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

namespace fpgaflow {
namespace simulation {

// The words of a stream as bytes, `size` each: compiled once, where a vector would be compiled for every type of word.
struct Words {
    static constexpr std::size_t kept_bytes = 1 << 16;

    const char* name;
    std::size_t next = 0, count = 0, room = 0;
    char* bytes = nullptr;

    explicit Words(const char* stream) : name(stream) {}
    Words(const Words&) = delete;
    Words& operator=(const Words&) = delete;
    ~Words() {
        if (next != count) {
            report("words are left over in stream", name);
        }
        std::free(bytes);
    }

    // All words are read: large buffers go back, since the units run one after the other and most streams are idle.
    void drained(std::size_t size) {
        next = count = 0;
        if (room * size > kept_bytes) {
            std::free(bytes);
            bytes = nullptr;
            room = 0;
        }
    }

    // Room for at least one word more.
    __attribute__((noinline)) void grow(std::size_t size, std::size_t least = 64) {
        const std::size_t wanted = 2 * room > least ? 2 * room : least;
        void* const moved = std::realloc(bytes, wanted * size);
        if (moved == nullptr) {
            throw std::bad_alloc();
        }
        bytes = static_cast<char*>(moved);
        room = wanted;
    }

    // Writes `total` words at `source`.
    __attribute__((noinline)) void fill(const void* source, std::size_t total, std::size_t size) {
        if (total > room - count) {
            grow(size, count + total);
        }
        std::memcpy(bytes + count * size, source, total * size);
        count += total;
    }

    // Reads all words, the first `most` of them to `target`; tells how many there were.
    __attribute__((noinline)) std::size_t take(void* target, std::size_t most, std::size_t size) {
        const std::size_t found = count - next;
        std::memcpy(target, bytes + next * size, (found < most ? found : most) * size);
        drained(size);
        return found;
    }
};

}  // namespace simulation
}  // namespace fpgaflow

namespace hls {

template <class T>
class stream {
public:
    explicit stream(const char* name = "stream") : words_(name) {}

    T read() {
        if (empty()) {
            fpgaflow::simulation::stop("an empty stream was read", words_.name);
        }
        const T word = reinterpret_cast<const T*>(words_.bytes)[words_.next++];
        if (empty()) {
            words_.drained(sizeof(T));
        }
        return word;
    }

    void write(const T& word) {
        if (words_.count == words_.room) {
            words_.grow(sizeof(T));
        }
        reinterpret_cast<T*>(words_.bytes)[words_.count++] = word;
    }

    bool empty() const { return words_.next == words_.count; }
    std::size_t size() const { return words_.count - words_.next; }
    const T& operator[](std::size_t index) const {
        return reinterpret_cast<const T*>(words_.bytes)[words_.next + index];
    }

    // Words as they lie in memory.
    void fill(const void* source, std::size_t total) { words_.fill(source, total, sizeof(T)); }
    std::size_t take(void* target, std::size_t most) { return words_.take(target, most, sizeof(T)); }

private:
    fpgaflow::simulation::Words words_;
};

}  // namespace hls

#endif  // FPGAFLOW_BOUNDED
#endif
