// Several products of one value on one DSP slice, each recovered exactly.
#ifndef FPGAFLOW_PACKING_HPP
#define FPGAFLOW_PACKING_HPP

#include "fpgaflow/dsp.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// The B bits of x from bit At on as a signed number, its sign turned over where `flip` is 1. Wires in hardware. The C
// simulation shifts without branches in 32 bits where it can: that vectorizes.
#ifdef FPGAFLOW_HARDWARE
typedef ap_uint<1> Bit;
template <int At, int B, class T>
ap_int<B> signed_field(T x, Bit flip) {
#pragma HLS INLINE
    ap_int<B> field = x >> At;
    field[B - 1] = field[B - 1] ^ flip;
    return field;
}
template <int At, class T>
Bit bit(T x) {
#pragma HLS INLINE
    return Bit(x >> At);
}
#else
typedef std::int32_t Bit;
template <int At, int B, bool Narrow = (B <= 32)>
struct Field {
    typedef std::int32_t number;
    template <class T>
    static number of(T x, Bit flip) {
        constexpr int left = 32 - At - B > 0 ? 32 - At - B : 0;
        constexpr int right = At + B - 32 > 0 ? At + B - 32 : 0;
        const std::uint32_t aligned = static_cast<std::uint32_t>((static_cast<std::uint64_t>(x) >> right) << left);
        return static_cast<number>(aligned ^ static_cast<std::uint32_t>(flip) << 31) >> (32 - B);
    }
};
template <int At, int B>
struct Field<At, B, false> {
    typedef std::int64_t number;
    template <class T>
    static number of(T x, Bit flip) {
        static_assert(At + B <= 64, "a field of 64 bits");
        const std::uint64_t aligned = static_cast<std::uint64_t>(x) << (64 - At - B);
        return static_cast<number>(aligned ^ static_cast<std::uint64_t>(flip) << 63) >> (64 - B);
    }
};
template <int At, int B, class T>
typename Field<At, B>::number signed_field(T x, Bit flip) {
    return Field<At, B>::of(x, flip);
}
template <int At, class T>
Bit bit(T x) {
    return static_cast<Bit>(static_cast<typename std::make_unsigned<T>::type>(x) >> At) & 1;
}
#endif

// Lane I of a packed product and the lanes below it. Config as for PackedMultiplier.
template <class Config, int I>
struct PackedLane {
    typedef PackedLane<Config, I - 1> Below;
    typedef Exact<typename Config::weight_t> weight_t;
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::word_t> word_t;
    typedef Exact<typename Config::wide_t> wide_t;
    static constexpr int count = Config::offsets::count;
    static constexpr int offset = Config::offsets::at(I);
    static constexpr bool top = I == count - 1;
    static constexpr int sign_at = Bits<typename Config::weight_t>::signed_bits - 1;
    static constexpr bool early = offset - Below::offset < Config::lane_bits;
    static constexpr int borrow_at = I == 0 ? 0 : early ? offset : offset - 1;

    // The weights without the signs of those below the top one: fields that do not overlap.
    static word_t magnitudes(const weight_t (&weight)[count]) {
#pragma HLS INLINE
        const word_t bits = weight[I];
        const word_t kept = top ? bits : static_cast<word_t>(bits & word_t((std::int64_t(1) << sign_at) - 1));
        return static_cast<word_t>(Below::magnitudes(weight) | shifted<offset>(kept));
    }

    // Those signs, each where it weighs.
    static word_t signs(const weight_t (&weight)[count]) {
#pragma HLS INLINE
        const word_t sign =
            top ? word_t(0) : static_cast<word_t>(word_t(weight[I]) & word_t(std::int64_t(1) << sign_at));
        return static_cast<word_t>(Below::signs(weight) | shifted<offset>(sign));
    }

    // The lowest bit of product I where it hides the sign of the lanes below, else 0.
    static Bit hiding(const weight_t (&weight)[count], value_t value) {
#pragma HLS INLINE
        return early ? static_cast<Bit>(bit<0>(weight[I]) & bit<0>(value)) : Bit(0);
    }

    template <class Sum, class Count>
    static void clear(Sum (&fields)[count], Count (&borrows)[count]) {
#pragma HLS INLINE
        Below::clear(fields, borrows);
        fields[I] = 0;
        borrows[I] = 0;
    }

    // Adds the fields of the lanes up to I and what was borrowed from them.
    template <class Sum, class Count>
    static void add(wide_t wide, const weight_t (&weight)[count], value_t value, Sum (&fields)[count],
                    Count (&borrows)[count]) {
#pragma HLS INLINE
        Below::add(wide, weight, value, fields, borrows);
        const Bit next = top ? Bit(0) : PackedLane < Config, top ? I : I + 1 > ::hiding(weight, value);
        fields[I] += signed_field<offset, Config::lane_bits>(wide, next);
        if (I > 0) {
            borrows[I] += bit<borrow_at>(wide) ^ hiding(weight, value);
        }
    }
};

// Below the lowest lane.
template <class Config>
struct PackedLane<Config, -1> {
    typedef Exact<typename Config::weight_t> weight_t;
    typedef Exact<typename Config::word_t> word_t;
    static constexpr int count = Config::offsets::count;
    static constexpr int offset = -Config::lane_bits;
    static word_t magnitudes(const weight_t (&)[count]) { return 0; }
    static word_t signs(const weight_t (&)[count]) { return 0; }
    template <class Sum, class Count>
    static void clear(Sum (&)[count], Count (&)[count]) {}
    template <class Wide, class Value, class Sum, class Count>
    static void add(Wide, const weight_t (&)[count], Value, Sum (&)[count], Count (&)[count]) {}
};

// Config: offsets (Numbers, ascending), lane_bits; weight_t, in_t; word_t and wide_t, which hold every word
// sum(w_i << o_i) and its product with every value.
//
// The memory holds plain weights: words of 27 bits would take up to twice its block RAMs. What packs them is one
// subtraction, magnitudes less signs, both mere wiring: the DSP slice's pre-adder, else 27 LUTs.
//
// Lane i of the wide product is a field: p_i less the borrow that a negative sum of the lanes below takes from it. That
// sum is a number of the bits below, so its sign is the bit below the field; where lane i begins one bit early, the
// sign falls on the lowest bit of p_i, which is known: w_i & x & 1. So no lane waits for another. Borrows are summed
// apart from the fields: counting single bits takes fewer LUTs than an increment a product.
template <class Config>
struct PackedMultiplier {
    static constexpr int count = Config::offsets::count;
    typedef PackedLane<Config, count - 1> Top;
    typedef typename Top::weight_t weight_t;
    typedef typename Top::value_t value_t;
    typedef typename Top::word_t word_t;
    typedef typename Top::wide_t wide_t;

    static wide_t multiply(const weight_t (&weight)[count], value_t value) {
#pragma HLS INLINE
        static_assert(fits_ports<typename Config::word_t, typename Config::in_t>(),
                      "packed weights and an input fit a slice");
        return difference_product<wide_t>(Top::magnitudes(weight), Top::signs(weight), value);
    }

    // Begins the sums of products: no fields, no borrows.
    template <class Sum, class Count>
    static void clear(Sum (&fields)[count], Count (&borrows)[count]) {
#pragma HLS INLINE
        Top::clear(fields, borrows);
    }

    // Adds the products of `count` weights and one value to fields + borrows.
    template <class Sum, class Count>
    static void add(const weight_t (&weight)[count], value_t value, Sum (&fields)[count], Count (&borrows)[count]) {
#pragma HLS INLINE
        Top::add(multiply(weight, value), weight, value, fields, borrows);
    }
};

}  // namespace fpgaflow

#endif
