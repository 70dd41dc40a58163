// Matrix-vector product with weights that are part of the logic: all outputs of a position every clock cycle.
#ifndef FPGAFLOW_CONSTANT_HPP
#define FPGAFLOW_CONSTANT_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// (a << A) + (b << B), or the difference, in a type that holds it.
template <class R, int A, int B, class Left, class Right>
R sum(Left a, Right b) {
#pragma HLS INLINE
    return static_cast<R>(shifted<A>(static_cast<R>(a)) + shifted<B>(static_cast<R>(b)));
}
template <class R, int A, int B, class Left, class Right>
R difference(Left a, Right b) {
#pragma HLS INLINE
    return static_cast<R>(shifted<A>(static_cast<R>(a)) - shifted<B>(static_cast<R>(b)));
}

// Config of matvec_constant:
//   id               of the unit
//   positions        of a frame
//   inputs, outputs  of a position
//   in_t, out_t      of an input, of every sum
// and dot(x, y), the sums of the weights that are not zero, generated. Cycles a frame: positions.
template <class Config>
void matvec_constant(hls::stream<Lanes<typename Config::in_t, Config::inputs>>& in,
                     hls::stream<Lanes<typename Config::out_t, Config::outputs>>& out, int frames) {
    Counter<Config::positions> position;
    int frame = 0;
matvec_constant_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::inputs> word = in.read();
        Exact<typename Config::in_t> x[Config::inputs];
#pragma HLS ARRAY_PARTITION variable=x complete dim=1
        for (int l = 0; l < Config::inputs; l++) {
#pragma HLS UNROLL
            x[l] = static_cast<Exact<typename Config::in_t>>(word.v[l]);
        }
        Exact<typename Config::out_t> y[Config::outputs];
#pragma HLS ARRAY_PARTITION variable=y complete dim=1
        Config::dot(x, y);
        Lanes<typename Config::out_t, Config::outputs> result;
        for (int p = 0; p < Config::outputs; p++) {
#pragma HLS UNROLL
            result.v[p] = typename Config::out_t(y[p]);
        }
        out.write(result);
        if (position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
