// Counts of single bits by compressors: sums and carries of three or six bits, each a function that a LUT6 holds.
#ifndef FPGAFLOW_ONES_HPP
#define FPGAFLOW_ONES_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

template <int N>
using Count = ap_uint<bits_for(N)>;

inline ap_uint<1> odd_of_three(ap_uint<1> a, ap_uint<1> b, ap_uint<1> c) {
#pragma HLS INLINE
    return a ^ b ^ c;
}
inline ap_uint<1> most_of_three(ap_uint<1> a, ap_uint<1> b, ap_uint<1> c) {
#pragma HLS INLINE
    return (a & b) | (a & c) | (b & c);
}

// Set bits of six: sum and carry of each three, then of those.
inline ap_uint<3> ones_of_six(ap_uint<6> x) {
#pragma HLS INLINE
    const ap_uint<1> low = odd_of_three(x[0], x[1], x[2]), high = most_of_three(x[0], x[1], x[2]);
    const ap_uint<1> other_low = odd_of_three(x[3], x[4], x[5]), other_high = most_of_three(x[3], x[4], x[5]);
    const ap_uint<1> carry = low & other_low;
    ap_uint<3> count;
    count[0] = low ^ other_low;
    count[1] = odd_of_three(high, other_high, carry);
    count[2] = most_of_three(high, other_high, carry);
    return count;
}

// How many bits of x are set: groups of six bits give three bits each, whose columns are counted in turn. Written as
// logic, since HLS makes an adder of every sum.
template <int N, bool Small = (N <= 6)>
struct Ones {
    static constexpr int groups = (N + 5) / 6;

    static Count<N> of(ap_uint<N> x) {
#pragma HLS INLINE
        ap_uint<groups> column[3];
#pragma HLS ARRAY_PARTITION variable=column complete dim=1
        for (int g = 0; g < groups; g++) {
#pragma HLS UNROLL
            ap_uint<6> group = 0;
            for (int i = 0; i < 6; i++) {
#pragma HLS UNROLL
                if (6 * g + i < N) {
                    group[i] = x[6 * g + i];
                }
            }
            const ap_uint<3> count = ones_of_six(group);
            for (int i = 0; i < 3; i++) {
#pragma HLS UNROLL
                column[i][g] = count[i];
            }
        }
        const Count<3 * groups> upper =
            Count<3 * groups>(Ones<groups>::of(column[1])) + (Count<3 * groups>(Ones<groups>::of(column[2])) << 1);
        return Count<N>(Ones<groups>::of(column[0])) + (Count<N>(upper) << 1);
    }
};

template <int N>
struct Ones<N, true> {
    static Count<N> of(ap_uint<N> x) {
#pragma HLS INLINE
        return Count<N>(ones_of_six(x));
    }
};

// How many bits are set in both a and b: the products of three pairs and their sum fit two LUTs.
template <int N>
Count<N> common_ones(ap_uint<N> a, ap_uint<N> b) {
#pragma HLS INLINE
    constexpr int groups = (N + 2) / 3;
    ap_uint<groups> odd, most;
    for (int g = 0; g < groups; g++) {
#pragma HLS UNROLL
        ap_uint<1> both[3] = {0, 0, 0};
#pragma HLS ARRAY_PARTITION variable=both complete dim=1
        for (int i = 0; i < 3; i++) {
#pragma HLS UNROLL
            if (3 * g + i < N) {
                both[i] = a[3 * g + i] & b[3 * g + i];
            }
        }
        odd[g] = odd_of_three(both[0], both[1], both[2]);
        most[g] = most_of_three(both[0], both[1], both[2]);
    }
    return Count<N>(Ones<groups>::of(odd)) + (Count<N>(Ones<groups>::of(most)) << 1);
}

}  // namespace fpgaflow

#endif
