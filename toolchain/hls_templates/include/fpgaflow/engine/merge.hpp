// The sum of two branches, each scaled, rounded and clipped once.
#ifndef FPGAFLOW_ENGINE_MERGE_HPP
#define FPGAFLOW_ENGINE_MERGE_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

template <class Shape>
void merge(const Merge p, hls::stream<Codes<Shape>>& in, hls::stream<Codes<Shape>>& residual,
           hls::stream<Codes<Shape>>& out) {
    constexpr int product_bits = Shape::act_bits + 1 + Shape::merge_bits;
    typedef Exact<ap_int<product_bits>> product_t;
    typedef Exact<ap_int<larger(larger(product_bits, Shape::merge_add_bits) + 2, Shape::merge_shift + 2)>> line_t;
    typedef Multiplier<Shape::merge_dsp> multiplier;
    const Code<Shape> low = p.lowest, high = p.highest;
merge_words:
    for (decltype(p.count) n = 0; n < p.count; n++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(merge_unit);
        Codes<Shape> codes = in.read();
        if (p.adds) {
            const Codes<Shape> other = residual.read();
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const product_t own = multiplier::template product<product_t>(codes.v[l], p.main);
                const product_t added = multiplier::template product<product_t>(other.v[l], p.other);
                const line_t line = static_cast<line_t>(line_t(own) + line_t(added) + line_t(p.add));
                codes.v[l] = scaled<Shape::merge_shift>(line, low, high);
            }
        }
        out.write(codes);
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
