// Runs single units on arrays: what conformance tests compile next to many generated units in one file.
#ifndef FPGAFLOW_TESTS_DRIVER_HPP
#define FPGAFLOW_TESTS_DRIVER_HPP

#include "simulation.hpp"

#include <hls_stream.h>

#include <stdexcept>
#include <type_traits>

#define DRIVER_API extern "C" __attribute__((visibility("default")))

namespace fpgaflow {
namespace simulation {

__thread std::uint64_t* cycles = nullptr;
static thread_local bool leftover = false;

void report(const char*, const char*) noexcept { leftover = true; }
void stop(const char* what, const char*) { throw std::runtime_error(what); }
void record(int, std::int64_t) {}

}  // namespace simulation
}  // namespace fpgaflow

template <class Word>
void fill(hls::stream<Word>& stream, const std::int64_t* elements, std::int64_t count) {
    for (std::int64_t i = 0; i < count;) {
        Word word;
        for (auto& element : word.v) {
            element = elements[i++];
        }
        stream.write(word);
    }
}

template <class Word>
std::int64_t drain(hls::stream<Word>& stream, std::int64_t* elements) {
    std::int64_t count = 0;
    while (!stream.empty()) {
        const Word word = stream.read();
        for (const auto& element : word.v) {
            elements[count++] = static_cast<std::int64_t>(element);
        }
    }
    return count;
}

// A table of the type T, arrays of numbers, filled in the order of its memory.
template <class T>
struct Filled {
    typedef typename std::remove_all_extents<T>::type number_t;
    T table;

    template <class Numbers>
    explicit Filled(const Numbers& numbers) {
        static_assert(sizeof(Numbers) / sizeof(std::int64_t) == sizeof(T) / sizeof(number_t), "as many numbers");
        const auto* from = reinterpret_cast<const std::int64_t*>(&numbers);
        number_t* to = reinterpret_cast<number_t*>(&table);
        for (std::size_t i = 0; i < sizeof(T) / sizeof(number_t); i++) {
            to[i] = from[i];
        }
    }
};

#endif
