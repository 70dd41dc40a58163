// A delay line: a shift register in hardware, a ring in the C simulation, where shifting costs time.
#ifndef FPGAFLOW_DELAY_HPP
#define FPGAFLOW_DELAY_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

#ifdef FPGAFLOW_HARDWARE
template <class T, int N>
class Delay {
public:
    Delay() {
#pragma HLS ARRAY_PARTITION variable=items complete dim=1
    }
    // The item pushed N pushes ago.
    T oldest() const { return items[N - 1]; }
    void push(const T& item) {
#pragma HLS INLINE
        for (int i = N - 1; i > 0; i--) {
#pragma HLS UNROLL
            items[i] = items[i - 1];
        }
        items[0] = item;
    }

private:
    T items[N];
};
#else
template <class T, int N>
class Delay {
public:
    T oldest() const { return items[next]; }
    void push(const T& item) {
        items[next] = item;
        next = next == N - 1 ? 0 : next + 1;
    }

private:
    T items[N] = {};
    int next = 0;
};
#endif

}  // namespace fpgaflow

#endif
