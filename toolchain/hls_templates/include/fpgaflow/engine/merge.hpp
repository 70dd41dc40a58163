// The sum of two branches, each scaled, or their product, scaled; rounded and clipped once.
#ifndef FPGAFLOW_ENGINE_MERGE_HPP
#define FPGAFLOW_ENGINE_MERGE_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

// What is scaled of a code: the code, or in a product what both make without their zeros.
template <class Shape, bool Products = Shape::products>
struct Operand {
    static constexpr int bits = Shape::act_bits + 1;

    static Code<Shape> of(const Merge&, Code<Shape> own, Code<Shape>) {
#pragma HLS INLINE
        return own;
    }
};

template <class Shape>
struct Operand<Shape, true> {
    static constexpr int bits = 2 * Shape::act_bits + 1;
    typedef Exact<ap_int<bits>> product_t;
    typedef Exact<ap_int<Shape::act_bits + 1>> factor_t;

    template <class Facts>
    static product_t of(const Facts& p, Code<Shape> own, Code<Shape> other) {
#pragma HLS INLINE
        const factor_t left = factor_t(own) - factor_t(p.own_zero), right = factor_t(other) - factor_t(p.other_zero);
        const product_t product = Multiplier<Shape::merge_dsp>::template product<product_t>(left, right);
        return p.multiplies ? product : product_t(own);
    }
};

template <class Shape>
void merge(const Merge p, hls::stream<Codes<Shape>>& in, hls::stream<Codes<Shape>>& residual,
           hls::stream<Codes<Shape>>& out) {
    constexpr int product_bits = Operand<Shape>::bits + Shape::merge_bits;
    typedef Exact<ap_int<product_bits>> product_t;
    typedef Exact<ap_int<larger(larger(product_bits, Shape::merge_add_bits) + 2, Shape::merge_shift + 2)>> line_t;
    typedef Multiplier<Shape::merge_dsp> multiplier;
    const Code<Shape> low = p.lowest, high = p.highest;
merge_words:
    for (decltype(p.count) n = 0; n < p.count; n++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(merge_unit);
        Codes<Shape> codes = in.read();
        if (p.merges) {
            const Codes<Shape> other = residual.read();
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const product_t own =
                    multiplier::template product<product_t>(Operand<Shape>::of(p, codes.v[l], other.v[l]), p.main);
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
