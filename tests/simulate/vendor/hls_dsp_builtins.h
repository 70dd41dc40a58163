// The part of AMD's header of that name that the units use, as UG1399 describes it ("DSP Intrinsics"), for tests: the
// widths of a DSP48E2's ports, the registers that a cascade must have, and the sums.
#ifndef FPGAFLOW_TESTS_HLS_DSP_BUILTINS_H
#define FPGAFLOW_TESTS_HLS_DSP_BUILTINS_H

#include <ap_int.h>

#include <cstdint>

namespace hls {
namespace dsp48e2 {

typedef ap_int<27> A_t;
typedef ap_int<18> B_t;
typedef ap_int<48> C_t;
typedef ap_int<27> D_t;

constexpr std::int64_t REG_A1 = 1, REG_A2 = 2, REG_B1 = 4, REG_B2 = 8;
constexpr std::int64_t REG_D = 16, REG_AD = 32, REG_M = 64, REG_C = 128, REG_P = 256;

struct R_t {
    A_t acout;
    B_t bcout;
    C_t pcout;
};

template <std::int64_t flags>
struct cascade {
    static_assert((flags & (REG_A1 | REG_A2)) && (flags & (REG_B1 | REG_B2)), "a cascade registers A and B");
    static_assert((flags & REG_M) && (flags & REG_P), "a cascade registers products and sums");
    static_assert(!(flags & (REG_C | REG_D | REG_AD)), "a cascade has neither C nor a pre-adder");

    R_t mul_add(A_t a, B_t b, C_t c) {
        R_t result;
        result.acout = a;
        result.bcout = b;
        result.pcout = a * b + c;
        return result;
    }
};

template <std::int64_t flags>
C_t sub_mul_add(D_t d, A_t a, B_t b, C_t c) {
    const ap_int<27> difference = d - a;
    return difference * b + c;
}

}  // namespace dsp48e2
}  // namespace hls

#endif
