// Matrix-vector products a group of channels: the groups of a position in rounds, `together` of them at once.
#ifndef FPGAFLOW_GROUPED_HPP
#define FPGAFLOW_GROUPED_HPP

#include "fpgaflow/bit_planes.hpp"
#include "fpgaflow/matvec.hpp"

namespace fpgaflow {

// What a group has of the lanes of a round.
template <class Config>
struct OneGroup : Config {
    static constexpr int simd = Config::simd / Config::together;
    static constexpr int pe = Config::pe / Config::together;
};

// A word holds `lanes` channels of each group, the groups side by side, for one tap after the other.
template <class Config, class Dots>
struct GroupedDots {
    typedef typename Dots::weights_t weights_t[Config::together];
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> sum_t;
    typedef OneGroup<Config> Group;

    static void compute(const weights_t& weight, const value_t (&block)[Config::simd], sum_t (&dots)[Config::pe]) {
#pragma HLS INLINE
        for (int g = 0; g < Config::together; g++) {
#pragma HLS UNROLL
            value_t own[Group::simd];
#pragma HLS ARRAY_PARTITION variable=own complete dim=1
            for (int l = 0; l < Group::simd; l++) {
#pragma HLS UNROLL
                own[l] = block[(l / Config::lanes * Config::together + g) * Config::lanes + l % Config::lanes];
            }
            sum_t sums[Group::pe];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1
            Dots::compute(weight[g], own, sums);
            for (int p = 0; p < Group::pe; p++) {
#pragma HLS UNROLL
                dots[g * Group::pe + p] = sums[p];
            }
        }
    }
};

// Config of matvec_grouped:
//   id                                     of the unit
//   positions                              of a frame
//   rounds                                 of a position
//   together                               groups of a round
//   lanes                                  channels of a group that lie side by side in a word
//   inputs, outputs                        of a round
//   simd, pe                               of those, how many a cycle
//   products_per_dsp                       0 for products in LUTs, else those of a DSP slice
//   in_t, out_t, weight_t, product_t       of an input, of every sum, of a weight, of every product
//   offsets, lane_bits, word_t, wide_t     (packed) see packing.hpp
// Cycles a frame: positions * rounds * (outputs / pe) * (inputs / simd).
template <class Config, class Dots = MatvecDots<OneGroup<Config>>>
void matvec_grouped(hls::stream<Lanes<typename Config::in_t, Config::simd>>& in,
                    hls::stream<Lanes<typename Config::out_t, Config::pe>>& out,
                    const typename GroupedDots<Config, Dots>::weights_t (
                        &weight)[Config::rounds * (Config::outputs / Config::pe) * (Config::inputs / Config::simd)],
                    MatvecVector<Config>& vector, int frames) {
    static_assert(Config::simd % (Config::together * Config::lanes) == 0, "a word has as many inputs of every group");
    static_assert(Config::pe % Config::together == 0, "a cycle computes as many outputs of every group");
    matvec<Config, GroupedDots<Config, Dots>, Config::rounds>(in, out, weight, vector, frames);
}

// Config of matvec_grouped_narrow:
//   id                     of the unit
//   positions              of a frame
//   rounds                 of a position
//   together               groups of a round
//   lanes                  channels of a group that lie side by side in a word
//   inputs, outputs        of a round
//   simd, pe               of those, how many a cycle
//   planes, signs          see bit_planes.hpp
//   in_t, out_t, weight_t  of an input, of every sum, of a stored weight
template <class Config>
void matvec_grouped_narrow(
    hls::stream<Lanes<typename Config::in_t, Config::simd>>& in,
    hls::stream<Lanes<typename Config::out_t, Config::pe>>& out,
    const typename GroupedDots<Config, NarrowDots<OneGroup<Config>>>::weights_t (
        &weight)[Config::rounds * (Config::outputs / Config::pe) * (Config::inputs / Config::simd)],
    MatvecVector<Config>& vector, int frames) {
    matvec_grouped<Config, NarrowDots<OneGroup<Config>>>(in, out, weight, vector, frames);
}

}  // namespace fpgaflow

#endif
