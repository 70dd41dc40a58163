// Delay lines: shift registers in hardware, rings in the C simulation, where shifting costs time.
#ifndef FPGAFLOW_DELAY_HPP
#define FPGAFLOW_DELAY_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// `Lines` lines of words of N elements, each `Depth` words long. The elements stand in one array, not in structs within
// arrays within structs, so that the pragma reaches every one of them. HLS splits an array into `most_parts` at most:
// what has more elements is a line behind a line.
#ifdef FPGAFLOW_HARDWARE
constexpr int most_parts = 4096;

template <class T, int N, int Depth, int Lines = 1, bool Whole = Depth == 1 || Lines * Depth * N <= most_parts>
class Delay {
public:
    Delay() {
#pragma HLS INLINE
#pragma HLS ARRAY_PARTITION variable=items complete dim=0
    }
    // The word pushed `Depth` pushes ago.
    Lanes<T, N> oldest(int line = 0) const {
#pragma HLS INLINE
        Lanes<T, N> word;
        for (int l = 0; l < N; l++) {
#pragma HLS UNROLL
            word.v[l] = items[line][Depth - 1][l];
        }
        return word;
    }
    void push(const Lanes<T, N>& word, int line = 0) {
#pragma HLS INLINE
        for (int l = 0; l < N; l++) {
#pragma HLS UNROLL
            for (int i = Depth - 1; i > 0; i--) {
#pragma HLS UNROLL
                items[line][i][l] = items[line][i - 1][l];
            }
            items[line][0][l] = word.v[l];
        }
    }

private:
    T items[Lines][Depth][N];
};

template <class T, int N, int Depth, int Lines>
class Delay<T, N, Depth, Lines, false> {
public:
    Delay() {
#pragma HLS INLINE
    }
    Lanes<T, N> oldest(int line = 0) const {
#pragma HLS INLINE
        return rest.oldest(line);
    }
    void push(const Lanes<T, N>& word, int line = 0) {
#pragma HLS INLINE
        rest.push(first.oldest(line), line);
        first.push(word, line);
    }

private:
    static constexpr int part = Lines * N < most_parts ? most_parts / (Lines * N) : 1;
    Delay<T, N, part, Lines> first;
    Delay<T, N, Depth - part, Lines> rest;
};
#else
template <class T, int N, int Depth, int Lines = 1>
class Delay {
public:
    Lanes<T, N> oldest(int line = 0) const { return items[line][next[line]]; }
    void push(const Lanes<T, N>& word, int line = 0) {
        items[line][next[line]] = word;
        next[line] = next[line] == Depth - 1 ? 0 : next[line] + 1;
    }

private:
    Lanes<T, N> items[Lines][Depth] = {};
    int next[Lines] = {};
};
#endif

}  // namespace fpgaflow

#endif
