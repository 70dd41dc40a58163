// Matrix products of two streams, by head: one operand is stored a frame, the other runs past it.
#ifndef FPGAFLOW_MATMUL_HPP
#define FPGAFLOW_MATMUL_HPP

#include "fpgaflow/matvec.hpp"
#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Config of matmul:
//   id                                of the unit
//   positions                         of a frame of the operand that runs past
//   heads                             of a position, each with inputs and outputs of its own
//   inputs, outputs                   terms of a sum, sums of a head and position
//   simd, pe                          of those, how many a cycle
//   columns                           the positions of the stored operand are the terms, else the sums
//   products_per_dsp                  0 for products in LUTs, 1 for a DSP slice each
//   in_t, weight_t, out_t, product_t  of an element, a stored one, a sum, a product
template <class Config>
struct MatmulShape {
    static constexpr int input_blocks = Config::inputs / Config::simd;
    static constexpr int output_blocks = Config::outputs / Config::pe;
    static constexpr int folds = Config::heads * output_blocks * input_blocks;
};

// A frame of the stored operand: the factors of each fold, which is a head, a block of outputs and a block of inputs.
template <class Config>
using MatmulStored = Exact<typename Config::weight_t>[MatmulShape<Config>::folds][Config::pe][Config::simd];

// Where the words of the stored operand lie: a word has inputs of one output.
template <class Config, bool Columns = Config::columns>
struct MatmulPlace {
    typedef MatmulShape<Config> Shape;
    Counter<Shape::input_blocks> input;
    Counter<Config::heads> head;
    Counter<Config::pe> lane;
    Counter<Shape::output_blocks> output;

    // Stores a word; true with the last one of a frame.
    bool store(const Lanes<typename Config::weight_t, Config::simd>& word, MatmulStored<Config>& stored) {
#pragma HLS INLINE
        const int fold = (head * Shape::output_blocks + output) * Shape::input_blocks + input;
        FPGAFLOW_STORED(Config::id, "stored", fold, 1);
        for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
            stored[fold][lane][l] = static_cast<Exact<typename Config::weight_t>>(word.v[l]);
        }
        return input.next() && head.next() && lane.next() && output.next();
    }
};

// A word has outputs of one input.
template <class Config>
struct MatmulPlace<Config, true> {
    typedef MatmulShape<Config> Shape;
    static_assert(Config::pe % Config::simd == 0, "a word's outputs are those of one fold");
    Counter<Config::pe / Config::simd> part;
    Counter<Shape::output_blocks> output;
    Counter<Config::heads> head;
    Counter<Config::simd> lane;
    Counter<Shape::input_blocks> input;

    bool store(const Lanes<typename Config::weight_t, Config::simd>& word, MatmulStored<Config>& stored) {
#pragma HLS INLINE
        const int fold = (head * Shape::output_blocks + output) * Shape::input_blocks + input;
        FPGAFLOW_STORED(Config::id, "stored", fold, 1);
        for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
            stored[fold][part * Config::simd + l][lane] = static_cast<Exact<typename Config::weight_t>>(word.v[l]);
        }
        return part.next() && output.next() && head.next() && lane.next() && input.next();
    }
};

// Cycles a frame: the words of b, then positions * heads * (outputs / pe) * (inputs / simd).
template <class Config>
void matmul(hls::stream<Lanes<typename Config::in_t, Config::simd>>& a,
            hls::stream<Lanes<typename Config::weight_t, Config::simd>>& b,
            hls::stream<Lanes<typename Config::out_t, Config::pe>>& out, MatmulStored<Config>& stored,
            MatvecVector<Config>& vector, int frames) {
    static_assert(Config::inputs % Config::simd == 0, "the words of a position have all inputs");
    static_assert(Config::outputs % Config::pe == 0, "the words of a position have all outputs");
    typedef MatmulShape<Config> Shape;
    typedef Exact<typename Config::in_t> value_t;
    typedef Exact<typename Config::out_t> sum_t;

    sum_t sums[Config::pe];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1

    bool storing = true;
    MatmulPlace<Config> place;
    Counter<Shape::input_blocks> i;
    Counter<Shape::output_blocks> j;
    Counter<Shape::folds> fold;
    Counter<Config::positions> position;
    int frame = 0;
matmul_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        if (storing) {
            const Lanes<typename Config::weight_t, Config::simd> word = b.read();
            storing = !place.store(word, stored);
        } else {
            value_t block[Config::simd];
#pragma HLS ARRAY_PARTITION variable=block complete dim=1
            if (j == 0) {
                FPGAFLOW_STORED(Config::id, "vector", i, Shape::input_blocks);
                const Lanes<typename Config::in_t, Config::simd> word = a.read();
                for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                    vector[i][l] = static_cast<value_t>(word.v[l]);
                    block[l] = static_cast<value_t>(word.v[l]);
                }
            } else {
                FPGAFLOW_LOADED(Config::id, "vector", i, Shape::input_blocks);
                for (int l = 0; l < Config::simd; l++) {
#pragma HLS UNROLL
                    block[l] = vector[i][l];
                }
            }
            FPGAFLOW_LOADED(Config::id, "stored", fold, 1);
            sum_t dots[Config::pe];
#pragma HLS ARRAY_PARTITION variable=dots complete dim=1
            MatvecDots<Config>::compute(stored[fold], block, dots);
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
                storing = true;
                frame++;
            }
        }
    }
}

}  // namespace fpgaflow

#endif
