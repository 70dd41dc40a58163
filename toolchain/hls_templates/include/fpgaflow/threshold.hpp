// Quantization by counting thresholds, all of them compared in one clock cycle.
#ifndef FPGAFLOW_THRESHOLD_HPP
#define FPGAFLOW_THRESHOLD_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// y = start + step * #{t : x >= threshold[t]}. Config of threshold:
//   id                                 of the unit
//   positions                          of a frame
//   channels, lanes                    of a position, of a word
//   steps                              thresholds a channel
//   threshold_blocks, threshold_lanes  of the table threshold: one entry a channel, [channels / lanes][lanes], or one
//   start_blocks, start_lanes          of the table start
//   step_blocks, step_lanes            of the table step
//   in_t, out_t                        of a channel, of a code
//   threshold_t, start_t, step_t       of the tables
//   count_t                            0 to steps
//   span_t                             holds steps, counts and their products
// Cycles a frame: positions * channels / lanes.
template <class Config>
void threshold(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
               hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
               const Exact<typename Config::threshold_t> (
                   &thresholds)[Config::threshold_blocks][Config::threshold_lanes][Config::steps],
               const Exact<typename Config::start_t> (&start)[Config::start_blocks][Config::start_lanes],
               const Exact<typename Config::step_t> (&step)[Config::step_blocks][Config::step_lanes], int frames) {
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> code_t;
    typedef Exact<typename Config::start_t> start_t;
    typedef Exact<typename Config::step_t> step_t;
    typedef Exact<typename Config::count_t> count_t;
    typedef Exact<typename Config::span_t> span_t;
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    constexpr int blocks = Config::channels / Config::lanes;
    static_assert(table_fits(Config::threshold_blocks, Config::threshold_lanes, blocks, Config::lanes),
                  "thresholds a channel, or for all");
    static_assert(table_fits(Config::start_blocks, Config::start_lanes, blocks, Config::lanes),
                  "a start a channel, or one");
    static_assert(table_fits(Config::step_blocks, Config::step_lanes, blocks, Config::lanes),
                  "a step a channel, or one");

    Counter<blocks> c;
    Counter<Config::positions> position;
    int frame = 0;
threshold_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> word = in.read();
        Lanes<typename Config::out_t, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const value_t value = static_cast<value_t>(word.v[l]);
            count_t count = 0;
            for (int t = 0; t < Config::steps; t++) {
#pragma HLS UNROLL
                count += value >= thresholds[entry(c, Config::threshold_blocks)][entry(l, Config::threshold_lanes)][t];
            }
            const step_t size = step[entry(c, Config::step_blocks)][entry(l, Config::step_lanes)];
            const span_t span = Multiplier<false>::template product<span_t>(size, count);  // steps are 1 or 2
            const start_t first = start[entry(c, Config::start_blocks)][entry(l, Config::start_lanes)];
            const code_t code = static_cast<code_t>(Factor<code_t, start_t>(first) + Factor<code_t, span_t>(span));
            result.v[l] = typename Config::out_t(code);
        }
        out.write(result);
        if (c.next() && position.next()) {
            frame++;
        }
    }
}

// y = start + the sum of step[t] over the t with x >= threshold[t]: steps of both signs. Config of staircase:
//   id                                 of the unit
//   positions                          of a frame
//   channels, lanes                    of a position, of a word
//   steps                              thresholds a channel
//   threshold_blocks, threshold_lanes  of the table threshold: one entry a channel, [channels / lanes][lanes], or one
//   start_blocks, start_lanes          of the table start
//   step_blocks, step_lanes            of the table step, as many steps an entry as thresholds
//   in_t, out_t                        of a channel, of a code
//   threshold_t, start_t, step_t       of the tables
//   span_t                             holds the start and every sum of steps
// Cycles a frame: positions * channels / lanes.
template <class Config>
void staircase(hls::stream<Lanes<typename Config::in_t, Config::lanes>>& in,
               hls::stream<Lanes<typename Config::out_t, Config::lanes>>& out,
               const Exact<typename Config::threshold_t> (
                   &thresholds)[Config::threshold_blocks][Config::threshold_lanes][Config::steps],
               const Exact<typename Config::start_t> (&start)[Config::start_blocks][Config::start_lanes],
               const Exact<typename Config::step_t> (&step)[Config::step_blocks][Config::step_lanes][Config::steps],
               int frames) {
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> code_t;
    typedef Exact<typename Config::span_t> span_t;
    static_assert(Config::channels % Config::lanes == 0, "the words of a position have all lanes");
    constexpr int blocks = Config::channels / Config::lanes;
    static_assert(table_fits(Config::threshold_blocks, Config::threshold_lanes, blocks, Config::lanes),
                  "thresholds a channel, or for all");
    static_assert(table_fits(Config::start_blocks, Config::start_lanes, blocks, Config::lanes),
                  "a start a channel, or one");
    static_assert(table_fits(Config::step_blocks, Config::step_lanes, blocks, Config::lanes),
                  "steps a channel, or for all");

    Counter<blocks> c;
    Counter<Config::positions> position;
    int frame = 0;
staircase_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::in_t, Config::lanes> word = in.read();
        Lanes<typename Config::out_t, Config::lanes> result;
        for (int l = 0; l < Config::lanes; l++) {
#pragma HLS UNROLL
            const value_t value = static_cast<value_t>(word.v[l]);
            span_t level = span_t(start[entry(c, Config::start_blocks)][entry(l, Config::start_lanes)]);
            for (int t = 0; t < Config::steps; t++) {
#pragma HLS UNROLL
                const span_t size = span_t(step[entry(c, Config::step_blocks)][entry(l, Config::step_lanes)][t]);
                const bool above =
                    value >= thresholds[entry(c, Config::threshold_blocks)][entry(l, Config::threshold_lanes)][t];
                level = static_cast<span_t>(level + (above ? size : span_t(0)));
            }
            result.v[l] = typename Config::out_t(static_cast<code_t>(level));
        }
        out.write(result);
        if (c.next() && position.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
