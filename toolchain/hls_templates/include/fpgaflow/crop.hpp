// Some rows and columns of a map.
#ifndef FPGAFLOW_CROP_HPP
#define FPGAFLOW_CROP_HPP

#include "fpgaflow/types.hpp"

namespace fpgaflow {

// Runs through an axis of Size positions, of which every Step-th from First on is kept, Count of them.
template <int Size, int First, int Step, int Count>
struct Kept {
    static_assert(0 <= First && First + (Count - 1) * Step < Size, "the axis has what is kept");
    Counter<Size> at;
    Index<larger(First, Step)> until;  // positions before the next one

    Kept() : until(First) {}
    bool holds() const { return until == 0 && at <= First + (Count - 1) * Step; }

    // Goes on; true where the axis begins anew.
    bool next() {
#pragma HLS INLINE
        const bool ends = at.next();
        until = ends ? First : until == 0 ? Step - 1 : int(until) - 1;
        return ends;
    }
};

// Config of crop:
//   id                of the unit
//   height, width     of the map that is read
//   words, lanes      of a position, of a word
//   first_h, first_w  the first row and column that are kept
//   step_h, step_w    from one to the next
//   out_h, out_w      how many
//   type              of a channel
// Cycles a frame: height * width * words.
template <class Config>
void crop(hls::stream<Lanes<typename Config::type, Config::lanes>>& in,
          hls::stream<Lanes<typename Config::type, Config::lanes>>& out, int frames) {
    Counter<Config::words> word;
    Kept<Config::width, Config::first_w, Config::step_w, Config::out_w> column;
    Kept<Config::height, Config::first_h, Config::step_h, Config::out_h> row;
    int frame = 0;
crop_loop:
    while (frame < frames) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(Config::id);
        const Lanes<typename Config::type, Config::lanes> next = in.read();
        if (row.holds() && column.holds()) {
            out.write(next);
        }
        if (word.next() && column.next() && row.next()) {
            frame++;
        }
    }
}

}  // namespace fpgaflow

#endif
