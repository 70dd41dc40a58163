// What the C simulation of the engine adds: counters a pass, and state that belongs to a thread.
#ifndef FPGAFLOW_SIM_ENGINE_HPP
#define FPGAFLOW_SIM_ENGINE_HPP

#include "simulation.hpp"

namespace fpgaflow {
namespace simulation {

extern __thread std::uint64_t* counts;  // [pass][counter]

}  // namespace simulation
}  // namespace fpgaflow

#define FPGAFLOW_BEAT(port) (++fpgaflow::simulation::cycles[port])
#define FPGAFLOW_PASS(pass) (fpgaflow::simulation::cycles = fpgaflow::simulation::counts + (pass) * engine::counters)
#define FPGAFLOW_STATE static thread_local

#endif
