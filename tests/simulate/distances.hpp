// Checks in the C simulation how far apart a unit's accesses to a word of a memory lie, which its DEPENDENCE pragmas
// rest on. A margin asks for more than the unit promises.
#ifndef FPGAFLOW_TESTS_DISTANCES_HPP
#define FPGAFLOW_TESTS_DISTANCES_HPP

#include "simulation.hpp"

#include <map>
#include <string>
#include <utility>

#ifndef FPGAFLOW_MARGIN
#define FPGAFLOW_MARGIN 0
#endif

namespace fpgaflow {
namespace simulation {

// The cycles of a word's last accesses, 0 for none.
struct Access {
    std::uint64_t stored = 0, loaded = 0;
};

// Of the unit that runs: its cycles begin anew with it.
inline Access& access(int unit, const char* memory, int word) {
    static std::map<std::pair<std::string, int>, Access> all;
    static std::uint64_t now = 0;
    if (cycles[unit] < now) {
        all.clear();
    }
    now = cycles[unit];
    return all[std::make_pair(std::string(memory), word)];
}

inline void keep_apart(std::uint64_t before, std::uint64_t now, int apart, const char* memory) {
    if (before != 0 && now - before < static_cast<std::uint64_t>(apart + FPGAFLOW_MARGIN)) {
        stop("two accesses to a word are too close", memory);
    }
}

inline void stored(int unit, const char* memory, int word, int apart) {
    Access& last = access(unit, memory, word);
    keep_apart(last.loaded, cycles[unit], apart, memory);
    last.stored = cycles[unit];
}

inline void loaded(int unit, const char* memory, int word, int apart) {
    Access& last = access(unit, memory, word);
    keep_apart(last.stored, cycles[unit], apart, memory);
    last.loaded = cycles[unit];
}

}  // namespace simulation
}  // namespace fpgaflow

#define FPGAFLOW_STORED(unit, memory, word, apart) fpgaflow::simulation::stored(unit, memory, word, apart)
#define FPGAFLOW_LOADED(unit, memory, word, apart) fpgaflow::simulation::loaded(unit, memory, word, apart)

#endif
