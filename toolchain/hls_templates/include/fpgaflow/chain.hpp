// Chains of DSP slices that add up packed products field by field, without an adder in LUTs.
#ifndef FPGAFLOW_CHAIN_HPP
#define FPGAFLOW_CHAIN_HPP

#include "fpgaflow/dsp.hpp"
#include "fpgaflow/packing.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Half the range of every of `fields` fields of `spacing` bits.
constexpr std::int64_t half_ranges(int fields, int spacing) {
    std::int64_t sum = 0;
    for (int field = 0; field < fields; field++) {
        sum += std::int64_t(1) << (spacing * (field + 1) - 1);
    }
    return sum;
}

// Adds fields 0 to I of a chain's sum to `sums`.
template <class Config, int I>
struct ChainFields {
    template <class Wide, class Sum, int Fields>
    static void add(Wide wide, Sum (&sums)[Fields]) {
#pragma HLS INLINE
        ChainFields<Config, I - 1>::add(wide, sums);
        sums[I] += signed_field<I * Config::spacing, Config::spacing>(wide, Bit(1));
    }
};
template <class Config>
struct ChainFields<Config, -1> {
    template <class Wide, class Sum, int Fields>
    static void add(Wide, Sum (&)[Fields]) {}
};

// Config: spacing, the bits of a field; digit_t; word_t and value_t, which hold every packed word of digits and every
// value that multiplies one. A chain's sum has `Fields` fields.
template <class Config, int Fields>
struct Chain {
    typedef Exact<typename Config::word_t> word_t;
    typedef Exact<typename Config::value_t> value_t;
    typedef Exact<typename Config::digit_t> digit_t;
    typedef Exact<ap_int<48>> wide_t;
    static_assert(Fields * Config::spacing <= 48, "the fields fit the sum of a slice");

    // Half the range of every field. With it no field is negative, so none borrows from the one above, and turning the
    // field's highest bit takes it away again. It enters a chain through the first slice's adder. A constant, not a
    // call: Vitis HLS refuses a function that calls itself, also where every call's argument is known.
    static constexpr std::int64_t halves = half_ranges(Fields, Config::spacing);

    // The digits side by side: wires.
    template <int Digits>
    static word_t word(const digit_t (&digits)[Digits]) {
#pragma HLS INLINE
        word_t joined = digits[Digits - 1];
        for (int i = Digits - 2; i >= 0; i--) {
#pragma HLS UNROLL
            const word_t digit =
                static_cast<word_t>(word_t(digits[i]) & word_t((std::int64_t(1) << Config::spacing) - 1));
            joined = static_cast<word_t>(shifted<Config::spacing>(joined) | digit);
        }
        return joined;
    }

    // The next slice of a chain.
    static wide_t add_product(wide_t wide, word_t word, value_t value) {
#pragma HLS INLINE
        static_assert(fits_ports<typename Config::word_t, typename Config::value_t>() ||
                          fits_ports<typename Config::value_t, typename Config::word_t>(),
                      "a packed product fits the ports of a slice");
        return cascaded<wide_t>(word, value, wide);
    }

    // Adds the fields of a chain's sum to `sums`.
    template <class Sum>
    static void add(wide_t wide, Sum (&sums)[Fields]) {
#pragma HLS INLINE
        ChainFields<Config, Fields - 1>::add(wide, sums);
    }
};

}  // namespace fpgaflow

#endif
