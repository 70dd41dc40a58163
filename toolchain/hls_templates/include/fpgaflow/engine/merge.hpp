// The sum of two branches, each scaled, rounded and clipped once.
#ifndef FPGAFLOW_ENGINE_MERGE_HPP
#define FPGAFLOW_ENGINE_MERGE_HPP

#include "fpgaflow/engine/words.hpp"

namespace fpgaflow {
namespace engine {

template <class Shape>
void merge(const int (&p)[fields], hls::stream<Codes<Shape>>& in, hls::stream<Codes<Shape>>& residual,
           hls::stream<Codes<Shape>>& out) {
    const int turns = p[f_raw] ? 32 / Shape::act_bits : 1;
    const int total = p[f_w_out_rows] * p[f_w_out_columns] * p[f_out_words] * turns;
    const std::int64_t offset = static_cast<std::int64_t>(
        static_cast<std::uint64_t>(p[f_merge_add_high]) << 32 | static_cast<std::uint32_t>(p[f_merge_add_low]));
    const Code<Shape> low = static_cast<Code<Shape>>(p[f_merge_lowest]);
    const Code<Shape> high = static_cast<Code<Shape>>(p[f_merge_highest]);
    for (int n = 0; n < total; n++) {
#pragma HLS PIPELINE II=1
        FPGAFLOW_CYCLE(merge_unit);
        Codes<Shape> codes = in.read();
        if (p[f_merge]) {
            const Codes<Shape> other = residual.read();
            for (int l = 0; l < Shape::lanes; l++) {
#pragma HLS UNROLL
                const std::int64_t line = static_cast<std::int64_t>(codes.v[l]) * p[f_merge_main] +
                                          static_cast<std::int64_t>(other.v[l]) * p[f_merge_residual] + offset;
                codes.v[l] = static_cast<Code<Shape>>(scaled<Shape::merge_shift>(line, low, high));
            }
        }
        out.write(codes);
    }
}

}  // namespace engine
}  // namespace fpgaflow

#endif
