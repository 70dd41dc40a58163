// Products together with what a DSP48E2 adds before and behind its multiplier.
#ifndef FPGAFLOW_DSP_HPP
#define FPGAFLOW_DSP_HPP

#include "fpgaflow/types.hpp"

// Synthesis takes AMD's names for whole slices where the tool has them (UG1399, "Using DSP Intrinsics" and "DSP
// Cascading"): they leave it no choice. FPGAFLOW_PLAIN_PRODUCTS keeps it from that. The C simulation and older tools
// multiply and add in plain C++, which is the same number.
#if defined(__SYNTHESIS__) && defined(__has_include) && !defined(FPGAFLOW_PLAIN_PRODUCTS)
#if __has_include(<hls_dsp_builtins.h>)
#define FPGAFLOW_DSP_INTRINSICS
#endif
#endif
#ifdef FPGAFLOW_DSP_INTRINSICS
#include <hls_dsp_builtins.h>
#endif

namespace fpgaflow {

// Whether the ports of a slice, 27 and 18 bits, signed, take factors of these types, in this order.
template <class A, class B>
constexpr bool fits_ports() {
    return Bits<A>::signed_bits <= 27 && Bits<B>::signed_bits <= 18;
}

#ifdef FPGAFLOW_DSP_INTRINSICS

// sum + a * b, on a slice next to that of `sum`: its registers and the way between them as in AMD's transposed filter.
template <class Wide, class A, class B>
Wide cascaded(A a, B b, Wide sum) {
#pragma HLS INLINE
    using namespace hls::dsp48e2;
    constexpr bool straight = fits_ports<A, B>();
    const A_t wide = straight ? A_t(a) : A_t(b);
    const B_t narrow = straight ? B_t(b) : B_t(a);
    cascade<REG_A1 | REG_B1 | REG_M | REG_P> slice;
    return slice.mul_add(wide, narrow, C_t(sum)).pcout;
}

// (d - a) * b, the difference by the slice's pre-adder.
template <class Wide, class A, class B>
Wide difference_product(A d, A a, B b) {
#pragma HLS INLINE
    using namespace hls::dsp48e2;
    return sub_mul_add<REG_A1 | REG_D | REG_AD | REG_B1 | REG_M | REG_P>(D_t(d), A_t(a), B_t(b), C_t(0));
}

#else

// Nothing binds these products and nothing may reorder their sums: so Vitis HLS can match them with their additions.
template <class Wide, class A, class B>
Wide cascaded(A a, B b, Wide sum) {
#pragma HLS INLINE
#pragma HLS EXPRESSION_BALANCE off
    return static_cast<Wide>(sum + Factor<Wide, A>(a) * Factor<Wide, B>(b));
}

template <class Wide, class A, class B>
Wide difference_product(A d, A a, B b) {
#pragma HLS INLINE
    const A word = static_cast<A>(d - a);
    return static_cast<Wide>(Factor<Wide, A>(word) * Factor<Wide, B>(b));
}

#endif

}  // namespace fpgaflow

#endif
