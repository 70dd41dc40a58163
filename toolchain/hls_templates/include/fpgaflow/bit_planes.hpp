// Matrix-vector product of narrow numbers by counting bits that two bit planes share, and with weights of -1 and +1.
#ifndef FPGAFLOW_BIT_PLANES_HPP
#define FPGAFLOW_BIT_PLANES_HPP

#include "fpgaflow/matvec.hpp"
#include "fpgaflow/ones.hpp"

namespace fpgaflow {

// Bit i of every value weighs 2**i, the highest one of a signed type -2**i: sum(w * x) is the sum over pairs of planes
// of +-2**(i + j) * (bits set in both plane i of the weights and plane j of the inputs).
template <class Config>
struct BitPlanes {
    typedef Exact<typename Config::weight_t> weight_t;
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> sum_t;
    static constexpr int simd = Config::simd;
    static constexpr int part = smaller(simd, widest_integer);  // of a plane

    template <class T>
    static constexpr bool negative(int plane) {
        return Bits<T>::is_signed && plane == Bits<T>::width - 1;
    }

    static sum_t dot(const weight_t (&weight)[simd], const value_t (&block)[simd]) {
#pragma HLS INLINE
        sum_t sum = 0;
#ifdef FPGAFLOW_HARDWARE
        for (int i = 0; i < Bits<typename Config::weight_t>::width; i++) {
#pragma HLS UNROLL
            for (int j = 0; j < Bits<typename Config::in_t>::width; j++) {
#pragma HLS UNROLL
                const bool minus = negative<typename Config::weight_t>(i) != negative<typename Config::in_t>(j);
                for (int first = 0; first < simd; first += part) {
#pragma HLS UNROLL
                    ap_uint<part> weight_plane = 0, value_plane = 0;
                    for (int l = 0; l < part; l++) {
#pragma HLS UNROLL
                        if (first + l < simd) {
                            weight_plane[l] = weight[first + l][i];
                            value_plane[l] = block[first + l][j];
                        }
                    }
                    const sum_t common = sum_t(common_ones<part>(weight_plane, value_plane)) << (i + j);
                    sum = minus ? sum_t(sum - common) : sum_t(sum + common);
                }
            }
        }
#else
        for (int l = 0; l < simd; l++) {
#pragma HLS UNROLL
            sum += weight[l] * block[l];
        }
#endif
        return sum;
    }
};

// Weights of one bit that choose inputs: one addition a term, its choice in the adder's own LUT.
template <class Config>
struct ChosenInputs {
    typedef Exact<typename Config::weight_t> weight_t;
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> sum_t;
    static constexpr int simd = Config::simd;

    static sum_t dot(const weight_t (&weight)[simd], const value_t (&block)[simd]) {
#pragma HLS INLINE
        sum_t sum = 0;
        for (int l = 0; l < simd; l++) {
#pragma HLS UNROLL
            sum += weight[l] != 0 ? block[l] : value_t(0);
        }
        return sum;
    }
};

// With signs sum(w * x) = 2 * sum(bit * x) - sum(x), the last sum being the same for all outputs.
template <class Config>
struct NarrowDots {
    typedef MatvecWeights<Config> weights_t;
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> sum_t;
    typedef typename std::conditional<Config::planes, BitPlanes<Config>, ChosenInputs<Config>>::type Products;

    static void compute(const weights_t& weight, const value_t (&block)[Config::simd], sum_t (&dots)[Config::pe]) {
#pragma HLS INLINE
        sum_t all = 0;
        if (Config::signs) {
            Exact<typename Config::weight_t> every[Config::simd];
#pragma HLS ARRAY_PARTITION variable=every complete dim=1
            for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                every[l] = 1;
            }
            all = Products::dot(every, block);
        }
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            const sum_t sum = Products::dot(weight[p], block);
            dots[p] = Config::signs ? sum_t(2 * sum - all) : sum;
        }
    }
};

// Config of matvec_narrow:
//   id                     of the unit
//   positions              of a frame
//   inputs, outputs        of a position
//   simd, pe               of those, how many a cycle
//   planes                 whether bits are counted, else weights of one bit choose inputs
//   signs                  whether a weight of 1 stands for +1 and one of 0 for -1
//   in_t, out_t, weight_t  of an input, of every sum, of a stored weight
template <class Config>
void matvec_narrow(
    hls::stream<Lanes<typename Config::in_t, Config::simd>>& in,
    hls::stream<Lanes<typename Config::out_t, Config::pe>>& out,
    const MatvecWeights<Config> (&weight)[(Config::outputs / Config::pe) * (Config::inputs / Config::simd)],
    MatvecVector<Config>& vector, int frames) {
    matvec<Config, NarrowDots<Config>>(in, out, weight, vector, frames);
}

}  // namespace fpgaflow

#endif
