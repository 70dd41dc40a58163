// What the C simulation of the engine adds: counters a pass, and state that belongs to a thread.
#ifndef FPGAFLOW_SIM_ENGINE_HPP
#define FPGAFLOW_SIM_ENGINE_HPP

#include "prefix.hpp"

#include <string>
#include <unordered_map>
#include <vector>

namespace fpgaflow {
namespace simulation {

extern __thread std::uint64_t* counts;  // [pass][counter]

// The passes that this thread has begun.
inline std::uint64_t& begun() {
    static thread_local std::uint64_t count = 0;
    return count;
}

// The cycle in which each word of a memory was stored last, in this pass.
struct Stores {
    std::uint64_t pass = 0;
    std::vector<std::uint64_t> cycle;
};

inline std::uint64_t& stored(const char* memory, std::size_t word) {
    static thread_local std::unordered_map<std::string, Stores> all;
    Stores& stores = all[memory];
    if (stores.pass != begun()) {
        stores.pass = begun();
        stores.cycle.clear();
    }
    if (word >= stores.cycle.size()) {
        stores.cycle.resize(word + 1, 0);
    }
    return stores.cycle[word];
}

inline void loaded(int unit, const char* memory, std::size_t word, std::uint64_t apart) {
    const std::uint64_t last = stored(memory, word);
    if (last > 0 && cycles[unit] - last < apart) {
        stop("a word is loaded too soon after it was stored", memory);
    }
}

}  // namespace simulation
}  // namespace fpgaflow

#define FPGAFLOW_STORED(unit, memory, word, apart) \
    (fpgaflow::simulation::stored(memory, word) = fpgaflow::simulation::cycles[unit])
#define FPGAFLOW_LOADED(unit, memory, word, apart) fpgaflow::simulation::loaded(unit, memory, word, apart)

#define FPGAFLOW_BEAT(port) (++fpgaflow::simulation::cycles[port])
#define FPGAFLOW_PASS(pass)           \
    (++fpgaflow::simulation::begun(), \
     fpgaflow::simulation::cycles = fpgaflow::simulation::counts + (pass) * engine::counters)
#define FPGAFLOW_STATE static thread_local

#endif
