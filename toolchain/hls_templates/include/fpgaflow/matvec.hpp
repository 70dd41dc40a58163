// Matrix-vector product at every position; simd inputs times pe outputs a clock cycle.
#ifndef FPGAFLOW_MATVEC_HPP
#define FPGAFLOW_MATVEC_HPP

#include "fpgaflow/packing.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// The input vector of one position, kept for the other outputs.
template <class Config>
using MatvecVector = Exact<typename Config::in_t>[Config::inputs / Config::simd][Config::simd];

// The weights of a fold, which is a block of outputs times a block of inputs.
template <class Config>
using MatvecWeights = Exact<typename Config::weight_t>[Config::pe][Config::simd];

// The pe dot products of a fold.
template <class Config, bool Packed = (Config::products_per_dsp > 1)>
struct MatvecDots {
    typedef MatvecWeights<Config> weights_t;
    typedef Multiplier<Config::products_per_dsp == 1> multiplier;
    typedef Exact<typename Config::product_t> product_t;
    typedef Exact<typename Config::out_t> sum_t;

    static void compute(const weights_t& weight, const Exact<typename Config::in_t> (&block)[Config::simd],
                        sum_t (&dots)[Config::pe]) {
#pragma HLS INLINE
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            sum_t dot = 0;
            for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                dot += multiplier::template product<product_t>(weight[p][l], block[l]);
            }
            dots[p] = dot;
        }
    }
};

// Consecutive outputs share the multiplication with an input.
template <class Config>
struct MatvecDots<Config, true> {
    typedef MatvecWeights<Config> weights_t;
    typedef Exact<typename Config::weight_t> weight_t;
    typedef Exact<typename Config::out_t> sum_t;
    static constexpr int count = Config::products_per_dsp;

    static void compute(const weights_t& weight, const Exact<typename Config::in_t> (&block)[Config::simd],
                        sum_t (&dots)[Config::pe]) {
#pragma HLS INLINE
        static_assert(Config::pe % count == 0, "the outputs of a cycle fill their slices");
        for (int p = 0; p < Config::pe; p += count) {
#pragma HLS UNROLL
            sum_t fields[count];
#pragma HLS ARRAY_PARTITION variable=fields complete dim=1
            Index<Config::simd> borrows[count];
#pragma HLS ARRAY_PARTITION variable=borrows complete dim=1
            PackedMultiplier<Config>::clear(fields, borrows);
            for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                weight_t column[count];
#pragma HLS ARRAY_PARTITION variable=column complete dim=1
                FPGAFLOW_UNROLL
                for (int i = 0; i < count; i++) {
#pragma HLS UNROLL
                    column[i] = weight[p + i][l];
                }
                PackedMultiplier<Config>::add(column, block[l], fields, borrows);
            }
            for (int i = 0; i < count; i++) {
#pragma HLS UNROLL
                dots[p + i] = static_cast<sum_t>(fields[i] + borrows[i]);
            }
        }
    }
};

// Config of matvec:
//   id                                  of the unit
//   positions                           of a frame
//   inputs, outputs                     of a position
//   simd, pe                            of those, how many a cycle
//   products_per_dsp                    0 for products in LUTs, else those of a DSP slice
//   in_t, out_t, weight_t, product_t    of an input, of every sum, of a weight, of every product
//   offsets, lane_bits, word_t, wide_t  (packed) see packing.hpp
// Dots: how the pe dot products of a fold are computed. Rounds: how often a position brings inputs of its own for
// outputs of their own. Cycles a frame: positions * Rounds * (outputs / pe) * (inputs / simd).
template <class Config, class Dots = MatvecDots<Config>, int Rounds = 1>
void matvec(
    hls::stream<Lanes<typename Config::in_t, Config::simd>>& in,
    hls::stream<Lanes<typename Config::out_t, Config::pe>>& out,
    const typename Dots::weights_t (&weight)[Rounds * (Config::outputs / Config::pe) * (Config::inputs / Config::simd)],
    MatvecVector<Config>& vector, int frames) {
    static_assert(Config::inputs % Config::simd == 0, "the words of a position have all inputs");
    static_assert(Config::outputs % Config::pe == 0, "the words of a position have all outputs");
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> sum_t;
    constexpr int input_blocks = Config::inputs / Config::simd;
    constexpr int output_blocks = Config::outputs / Config::pe;

    sum_t sums[Config::pe];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1

    Counter<input_blocks> i;
    Counter<output_blocks> j;
    Counter<Rounds * output_blocks * input_blocks> fold;
    Counter<Config::positions> position;
    int frame = 0;
matvec_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        value_t block[Config::simd];
#pragma HLS ARRAY_PARTITION variable=block complete dim=1
        if (j == 0) {
            FPGAFLOW_STORED(Config::id, "vector", i, input_blocks);
            const Lanes<typename Config::in_t, Config::simd> word = in.read();
            for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                vector[i][l] = static_cast<value_t>(word.v[l]);
                block[l] = static_cast<value_t>(word.v[l]);
            }
        } else {
            FPGAFLOW_LOADED(Config::id, "vector", i, input_blocks);
            for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                block[l] = vector[i][l];
            }
        }
        sum_t dots[Config::pe];
#pragma HLS ARRAY_PARTITION variable=dots complete dim=1
        Dots::compute(weight[fold], block, dots);
        Lanes<typename Config::out_t, Config::pe> result;
        for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
            const sum_t sum = i == 0 ? dots[p] : static_cast<sum_t>(sums[p] + dots[p]);
            sums[p] = sum;
            result.v[p] = typename Config::out_t(sum);
        }
        if (i.last()) {
            out.write(result);
        }
        if (i.next()) {
            j.next();
        }
        if (fold.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
