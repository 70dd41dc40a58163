// Read in front of a project's sources: what they say to the C simulation is said to the lint.
#ifndef FPGAFLOW_LINT_HPP
#define FPGAFLOW_LINT_HPP

#include <ap_int.h>
#include <hls_stream.h>

#include <cstdint>
#include <type_traits>

namespace fpgaflow_lint {
void cycle();
void stored(const char* memory, int apart);
void loaded(const char* memory, int apart);
}  // namespace fpgaflow_lint

#define FPGAFLOW_CYCLE(unit) fpgaflow_lint::cycle()
#define FPGAFLOW_BEAT(port) fpgaflow_lint::cycle()
#define FPGAFLOW_STORED(unit, memory, word, apart) fpgaflow_lint::stored(memory, apart)
#define FPGAFLOW_LOADED(unit, memory, word, apart) fpgaflow_lint::loaded(memory, apart)

#endif
