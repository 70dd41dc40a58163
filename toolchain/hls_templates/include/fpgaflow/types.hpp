// Words of a stream, exact arithmetic types and the clock cycle marker, shared by every unit.
#ifndef FPGAFLOW_TYPES_HPP
#define FPGAFLOW_TYPES_HPP

#include <ap_int.h>
#include <hls_stream.h>

#include <cstdint>
#include <type_traits>

// Every loop iteration that costs a clock cycle calls this once. The C simulation defines it to count; hardware drops it.
#ifndef FPGAFLOW_CYCLE
#define FPGAFLOW_CYCLE(unit) ((void)0)
#endif

// Every word that a loop stores in a memory and loads from it again passes here: `apart` iterations at least lie between
// a store and a load of the same word, and between the load and the next store. The C simulation may check it; a
// DEPENDENCE pragma rests on it: `type=intra false` on 1, `type=inter false` on far_apart.
#ifndef FPGAFLOW_STORED
#define FPGAFLOW_STORED(unit, memory, word, apart) ((void)0)
#define FPGAFLOW_LOADED(unit, memory, word, apart) ((void)0)
#endif

// A short loop with bounds that are no constants: the C simulation unrolls it, else it does not vectorize.
#ifdef __SYNTHESIS__
#define FPGAFLOW_UNROLL
#else
#define FPGAFLOW_UNROLL _Pragma("GCC unroll 64")
#endif

// Whether to compute in the hardware's own types; tests of the C++ set it too.
#if defined(__SYNTHESIS__) && !defined(FPGAFLOW_HARDWARE)
#define FPGAFLOW_HARDWARE
#endif

namespace fpgaflow {

// Bits of the widest ap_uint that Vitis HLS takes unless AP_INT_MAX_W says otherwise (AMD UG1399).
constexpr int widest_integer = 1024;

// N consecutive channels of one position: what a stream carries each clock cycle.
template <class T, int N>
struct Lanes {
    T v[N];
};

template <class T>
struct Bits;
template <int B>
struct Bits<ap_int<B>> {
    static constexpr int width = B;
    static constexpr bool is_signed = true;
    static constexpr int signed_bits = B;
};
template <int B>
struct Bits<ap_uint<B>> {
    static constexpr int width = B;
    static constexpr bool is_signed = false;
    static constexpr int signed_bits = B + 1;
};

// Exact<T> holds every value of T. Hardware computes in T itself. The C simulation computes in the smallest native
// signed integer that holds T: it vectorizes, and tables of weights need no constructor a number. No overflow is
// hidden by this: a native sum, cut to T where it leaves the unit, equals the sum that wraps at every step.
#ifdef FPGAFLOW_HARDWARE
template <class T>
using Exact = T;
template <class P, class T>
using Factor = T;
#else
__extension__ typedef unsigned __int128 uint128;
__extension__ typedef __int128 int128;  // what leaves a unit is narrower: streams and tables hold at most 64 bits
template <int B>
using Native = typename std::conditional<
    (B <= 8), std::int8_t,
    typename std::conditional<
        (B <= 16), std::int16_t,
        typename std::conditional<(B <= 32), std::int32_t,
                                  typename std::conditional<(B <= 64), std::int64_t, int128>::type>::type>::type>::type;
template <class T>
using Exact = Native<Bits<T>::signed_bits>;
// A factor of a product P: C++ multiplies native integers no wider than they are.
template <class P, class T>
using Factor = P;
#endif

// x * 2**N in the type of x, which holds it: wires.
#ifdef FPGAFLOW_HARDWARE
template <int N, class T>
T shifted(T x) {
#pragma HLS INLINE
    return T(x << N);
}
#else
// C++14 leaves a shift of a negative number to the left undefined, so the bits are shifted.
template <int N, class T>
T shifted(T x) {
    typedef typename std::conditional<(sizeof(T) <= 4), std::uint32_t,
                                      typename std::conditional<(sizeof(T) <= 8), std::uint64_t, uint128>::type>::type
        bits_t;
    return static_cast<T>(static_cast<bits_t>(x) << N);
}
#endif

// Bits of the number n.
constexpr int bits_for(int n) {
    int bits = 0;
    for (; n > 0; n /= 2) {
        bits++;
    }
    return bits;
}

// A counter or index from -N to N.
#ifdef FPGAFLOW_HARDWARE
template <int N>
using Index = ap_int<bits_for(N) + 1>;
#else
template <int N>
using Index = int;
#endif

// A counter from 0 to N - 1. A unit is one loop with such counters, the frames counted apart: its trips need no product,
// and no loop needs to be flattened into another.
template <int N>
struct Counter {
    static_assert(N > 0, "a counter has a number to count");
#ifdef FPGAFLOW_HARDWARE
    ap_uint<N == 1 ? 1 : bits_for(N - 1)> at;
#else
    int at;
#endif

    Counter() : at(0) {}
    operator int() const { return int(at); }
    bool last() const { return at == N - 1; }

    // Counts on; true where it begins anew. Loops within each other: inner.next() && outer.next().
    bool next() {
#pragma HLS INLINE
        const bool ends = last();
        at = ends ? 0 : int(at) + 1;
        return ends;
    }
};

// Iterations between two accesses to a memory that are more than the stages between the load and the store of one
// iteration: an assumption, which the tool's schedule shows.
constexpr int far_apart = 8;

constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int smaller(int a, int b) { return a < b ? a : b; }

// Index into a table of `entries` entries, where a table of one entry serves every channel.
constexpr int entry(int index, int entries) { return entries == 1 ? 0 : index; }

// Whether a table of entries [rows][columns] has one a channel, [blocks][lanes], or one for all.
constexpr bool table_fits(int rows, int columns, int blocks, int lanes) {
    return (rows == 1 && columns == 1) || (rows == blocks && columns == lanes);
}

// A list of numbers in a Config.
template <int... N>
struct Numbers {
    static constexpr int count = sizeof...(N);
    static constexpr int at(int i) {
        const int all[] = {N...};
        return all[i];
    }
};

template <int... N>
constexpr int sum_of(Numbers<N...>) {
    const int all[] = {N...};
    int sum = 0;
    for (int i = 0; i < int(sizeof...(N)); i++) {
        sum += all[i];
    }
    return sum;
}

// A product on a DSP slice or in LUTs, as the cost model counted it. It counts an addition behind it in LUTs, so a binding
// that keeps the tool from moving that into the slice loses nothing; without it a narrow product would go to LUTs.
template <bool Dsp>
struct Multiplier;

template <>
struct Multiplier<true> {
    template <class P, class A, class B>
    static P product(A a, B b) {
#pragma HLS INLINE
        const P p = Factor<P, A>(a) * Factor<P, B>(b);
#pragma HLS BIND_OP variable=p op=mul impl=dsp
        return p;
    }
};

template <>
struct Multiplier<false> {
    template <class P, class A, class B>
    static P product(A a, B b) {
#pragma HLS INLINE
        const P p = Factor<P, A>(a) * Factor<P, B>(b);
#pragma HLS BIND_OP variable=p op=mul impl=fabric
        return p;
    }
};

}  // namespace fpgaflow

#endif
