#ifndef FPGAFLOW_TOP_HPP
#define FPGAFLOW_TOP_HPP

#include <ap_int.h>

// Runs `passes` passes of the table at the start of the memory, which holds weights and maps besides: a frame. All four
// arguments point to it, one for each process that moves words between it and the engine.
void engine_top(const ap_uint<128>* weights, const ap_uint<128>* source, const ap_uint<128>* residual,
                ap_uint<128>* result, int passes);

#endif
