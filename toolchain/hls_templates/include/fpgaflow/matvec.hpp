// Matrix-vector product at every position; simd inputs times pe outputs a clock cycle.
#ifndef FPGAFLOW_MATVEC_HPP
#define FPGAFLOW_MATVEC_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// The input vector of one position, kept for the other outputs.
template <class Config>
using MatvecVector = Exact<typename Config::in_t>[Config::inputs / Config::simd][Config::simd];

// Config: id, positions, inputs, outputs, simd, pe, dsp; in_t, out_t, weight_t, product_t.
// weight[fold][pe][simd], a fold being (output block, input block). out_t is proven to hold every sum.
// Cycles a frame: positions * (outputs / pe) * (inputs / simd).
template <class Config>
void matvec(hls::stream<Lanes<typename Config::in_t, Config::simd>>& in,
            hls::stream<Lanes<typename Config::out_t, Config::pe>>& out,
            const Exact<typename Config::weight_t> (
                &weight)[(Config::outputs / Config::pe) * (Config::inputs / Config::simd)][Config::pe][Config::simd],
            MatvecVector<Config>& vector, int frames) {
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::product_t> product_t;
    typedef Exact<typename Config::out_t> sum_t;
    constexpr int input_blocks = Config::inputs / Config::simd;
    constexpr int output_blocks = Config::outputs / Config::pe;

    sum_t sums[Config::pe];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1

    Index<input_blocks * output_blocks> fold = 0;

    // Nothing stands between the loops, so that they flatten into one pipeline.
    for (int frame = 0; frame < frames; frame++) {
        for (int position = 0; position < Config::positions; position++) {
            for (int j = 0; j < output_blocks; j++) {
                for (int i = 0; i < input_blocks; i++) {
#pragma HLS PIPELINE II=1
                    FPGAFLOW_CYCLE(Config::id);
                    value_t block[Config::simd];
#pragma HLS ARRAY_PARTITION variable=block complete dim=1
                    if (j == 0) {
                        const Lanes<typename Config::in_t, Config::simd> word = in.read();
                        for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                            vector[i][l] = static_cast<value_t>(word.v[l]);
                            block[l] = static_cast<value_t>(word.v[l]);
                        }
                    } else {
                        for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                            block[l] = vector[i][l];
                        }
                    }
                    Lanes<typename Config::out_t, Config::pe> result;
                    for (int p = 0; p < Config::pe; p++) {
#pragma HLS UNROLL
                        sum_t dot = 0;
                        for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                            dot += Multiplier<Config::dsp>::template product<product_t>(weight[fold][p][l], block[l]);
                        }
                        const sum_t sum = i == 0 ? dot : static_cast<sum_t>(sums[p] + dot);
                        sums[p] = sum;
                        result.v[p] = typename Config::out_t(sum);
                    }
                    if (i == input_blocks - 1) {
                        out.write(result);
                    }
                    fold = fold == input_blocks * output_blocks - 1 ? 0 : int(fold) + 1;
                }
            }
        }
    }
}

}  // namespace fpgaflow

#endif
