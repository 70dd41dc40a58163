// The core of the cycle simulator: exact start times of iterations, by the streams that they wait for.
//
// A unit's pipeline moves every cycle but those in which the word at its end has no free place, freed a cycle before. A
// word leaves it `stages` moves behind the iteration that made it, whether iterations follow or not. Iteration k starts
// one move after iteration k - 1, or later: when a word that it reads has been in its FIFO for a cycle. These are the only
// waits, so times follow from the neighbours' times without stepping a clock: move m happens in cycle m + held, where
// `held` are the cycles for which words that left with moves up to m stopped the pipeline. Each unit runs until it needs
// a time that is not known yet; the order in which units run changes nothing.
#include <cstdint>

namespace {

typedef std::int64_t Number;

constexpr Number never = Number(1) << 62, none = -1;

// What the tables hold is told in toolchain/simulate/engine.py, which lists the columns in the same order.
struct Unit {
    Number once, frame, stages, last_segment, first_in, last_in, first_out, last_out;
    Number last_k, last_move, held, segment, repeat, event, k_event, flag, base, begun;
    Number made, left, left_held, passed;
    Number waits_for_word, waits_for_room, state, empty_stall, full_stall;
};
struct Segment {
    Number length, repeats, first_event, last_event;
};
struct Event {
    Number offset, flags;
};
struct Stream {
    Number depth, writer, reader, ring, mask;
    Number written, read, seen_writes, seen_reads, fill;
};
struct Rules {
    Number pace, even, watch;
};
enum Verdict { unknown, steady, drifting };
enum State { done, empty, full };
enum Kind { start_time, end_time, digest, left_digest };
enum Ring { move_of, held_of, frame_of };
constexpr Number reads = 1, writes = 2;  // of an event's flags; above them the only input that is read, plus one

Number larger(Number a, Number b) { return a > b ? a : b; }

// Everything of a run. `times` has a row of the cycles of writes, one of those of reads; `leaving` a ring a unit.
struct Run {
    Unit* units;
    Number count;
    const Segment* segments;
    const Event* events;
    const Number* ports;
    Stream* streams;
    Number* written_at;
    Number* read_at;
    Number* leaving;
    Number ring_mask;
    Number* answers;
    Number frames;
    Rules rules;
    Number* stack;
    std::uint8_t* queued;
    Number top;

    // What the ring of unit `u` holds of its word `number`: it has those that iterations may still have to pass.
    Number& entry(Ring what, Number u, Number number) {
        return leaving[(what * count + u) * (ring_mask + 1) + (number & ring_mask)];
    }
    Number& answer(Kind kind, Number unit, Number frame) { return answers[(kind * count + unit) * frames + frame]; }

    Verdict all() {
        while (top > 0) {
            const Number u = stack[--top];
            queued[u] = 0;
            Unit& unit = units[u];
            for (;;) {
                const Number begin = unit.once + (unit.begun + 1) * unit.frame;
                const bool begins = begin <= unit.k_event && unit.begun + 1 < frames;
                const Number k = begins ? begin : unit.k_event;
                unit.waits_for_word = unit.waits_for_room = none;
                if (k == never) {
                    if (leave_all(u)) {
                        unit.state = done;
                    }
                    break;
                }
                if (!start(u, k, begins)) {
                    break;
                }
                if (!begins) {
                    read_words(unit);
                    next_iteration(u);
                } else if (rules.watch && u == count - 1) {
                    const Verdict verdict = judge();
                    if (verdict != unknown) {
                        return verdict;
                    }
                }
            }
        }
        return unknown;
    }

    // Whether frames repeat at the pace or leave ever later; asked when the last unit begins a frame. Steady: two frames
    // in a row that every unit has ended are like the one before. Drifting: the last unit was late by the same time three
    // frames in a row.
    Verdict judge() {
        const Number w = count - 1;
        Number f = units[w].begun;
        for (Number u = 0; u < count; u++) {
            const Unit& unit = units[u];
            f = unit.begun < f ? unit.begun : f;
            if (unit.left < unit.made && entry(frame_of, u, unit.left) < f) {
                f = entry(frame_of, u, unit.left);
            }
        }
        f--;
        if (f >= 2) {
            bool same = true;
            for (Number u = 0; u < count && same; u++) {
                const Number last = answer(digest, u, f);
                const Number gone = answer(left_digest, u, f);
                same = last == answer(digest, u, f - 1) && last == answer(digest, u, f - 2) &&
                       gone == answer(left_digest, u, f - 1) && gone == answer(left_digest, u, f - 2);
            }
            if (same) {
                return steady;
            }
        }
        f = units[w].begun;
        if (f >= 5) {
            const Number late = answer(start_time, w, f) - answer(start_time, w, f - 1) - rules.pace;
            const Number before = answer(start_time, w, f - 1) - answer(start_time, w, f - 2) - rules.pace;
            const Number first = answer(start_time, w, f - 2) - answer(start_time, w, f - 3) - rules.pace;
            if (late > 0 && late == before && late == first) {
                return drifting;
            }
        }
        return unknown;
    }

    // The inputs that an iteration reads: all, or only the one that its flags name.
    static Number first_read(const Unit& unit) { return unit.first_in + (unit.flag >> 2 ? (unit.flag >> 2) - 1 : 0); }
    static Number last_read(const Unit& unit) { return unit.flag >> 2 ? first_read(unit) + 1 : unit.last_in; }

    // Starts iteration `k`, or the frame that `begins` with it, which the pace holds back; else false, and the unit says
    // what it waits for. Words that leave earlier hold it: they are passed one by one. The reader's second frame may begin
    // as much before the pace as its pipeline is long: the bubbles of a pause would stand still with the words.
    bool start(Number u, Number k, bool begins) {
        Unit& unit = units[u];
        const Number f = unit.begun;
        Number from = 0;
        if (begins && f >= 0) {
            from = answer(start_time, u, f) + rules.pace - (u == 0 && f == 0 ? unit.stages : 0);
        } else if (!begins && rules.even && f >= 0) {
            from = answer(start_time, u, f) + (k - unit.once - f * unit.frame) * rules.pace / unit.frame;
        }
        if (!begins && (unit.flag & reads)) {
            for (Number i = first_read(unit); i < last_read(unit); i++) {
                const Stream& stream = streams[ports[i]];
                if (stream.written <= stream.read) {
                    unit.waits_for_word = ports[i];
                    unit.state = leave_all(u) ? empty : full;
                    return false;
                }
                from = larger(from, written_at[stream.ring + (stream.read & stream.mask)] + 1);
            }
        }
        const Number next = unit.last_move + k - unit.last_k;
        Number move = larger(next, from - unit.held);
        for (; unit.passed < unit.made && entry(move_of, u, unit.passed) <= move; unit.passed++) {
            if (unit.passed == unit.left && !leave(u)) {
                return false;
            }
            unit.held = entry(held_of, u, unit.passed);
            move = larger(larger(next, entry(move_of, u, unit.passed)), from - unit.held);
        }
        unit.empty_stall += move - next;
        unit.last_k = k;
        unit.last_move = move;
        const Number t = move + unit.held;
        if (begins) {
            answer(start_time, u, ++unit.begun) = t;
        } else if (f >= 0) {
            answer(end_time, u, f) = t;
            note(digest, u, f, t);
        }
        return true;
    }

    // Part of a digest of all times of a frame relative to the pace.
    void note(Kind kind, Number u, Number f, Number t) {
        Number& found = answer(kind, u, f);
        found = static_cast<Number>(static_cast<std::uint64_t>(found) * 1000003u +
                                    static_cast<std::uint64_t>(t - f * rules.pace));
    }

    // Lets all words leave the pipeline of unit `u`; false where one waits for room.
    bool leave_all(Number u) {
        while (units[u].left < units[u].made) {
            if (!leave(u)) {
                return false;
            }
        }
        return true;
    }

    // Lets the oldest word leave; false, and the unit waits for room, where it is not known when a place becomes free.
    bool leave(Number u) {
        Unit& unit = units[u];
        const Number move = entry(move_of, u, unit.left);
        Number t = move + unit.left_held;
        for (Number i = unit.first_out; i < unit.last_out; i++) {
            const Stream& stream = streams[ports[i]];
            const Number freed = stream.written - stream.depth;
            if (freed >= 0) {
                if (stream.read <= freed) {
                    unit.waits_for_room = ports[i];
                    unit.state = full;
                    return false;
                }
                t = larger(t, read_at[stream.ring + (freed & stream.mask)] + 1);
            }
        }
        unit.full_stall += t - move - unit.left_held;
        unit.left_held = entry(held_of, u, unit.left) = t - move;
        const Number f = entry(frame_of, u, unit.left);
        if (f >= 0) {
            note(left_digest, u, f, t);
        }
        unit.left++;
        for (Number i = unit.first_out; i < unit.last_out; i++) {
            Stream& stream = streams[ports[i]];
            written_at[stream.ring + (stream.written++ & stream.mask)] = t;
            passed(stream, ports[i], stream.reader, empty);
        }
        return true;
    }

    // Counts the words that the iteration reads, and queues the units that waited for their places.
    void read_words(const Unit& unit) {
        if (unit.flag & reads) {
            for (Number i = first_read(unit); i < last_read(unit); i++) {
                Stream& stream = streams[ports[i]];
                read_at[stream.ring + (stream.read++ & stream.mask)] = unit.last_move + unit.held;
                passed(stream, ports[i], stream.writer, full);
            }
        }
    }

    void passed(Stream& stream, Number index, Number other, State waiting) {
        if (!rules.watch) {
            see_fill(stream);
        }
        const Unit& unit = units[other];
        if (!queued[other] && (waiting == full ? unit.waits_for_room : unit.waits_for_word) == index) {
            queued[other] = 1;
            stack[top++] = other;
        }
    }

    // The depth that leaves this schedule as it is: words written and not read before the cycle of each write.
    void see_fill(Stream& stream) {
        for (; stream.seen_writes < stream.written; stream.seen_writes++) {
            const Number moment = written_at[stream.ring + (stream.seen_writes & stream.mask)];
            while (stream.seen_reads < stream.read &&
                   read_at[stream.ring + (stream.seen_reads & stream.mask)] < moment) {
                stream.seen_reads++;
            }
            if (stream.seen_reads == stream.read) {
                return;
            }
            stream.fill = larger(stream.fill, stream.seen_writes - stream.seen_reads + 1);
        }
    }

    // Puts what the iteration makes into the pipeline and goes on in the schedule.
    void next_iteration(Number u) {
        Unit& unit = units[u];
        if (unit.flag & writes) {
            entry(move_of, u, unit.made) = unit.last_move + unit.stages;
            entry(frame_of, u, unit.made) = unit.begun;
            unit.made++;
        }
        next_event(unit);
    }

    // Passes over segments that touch no stream.
    void skip_silent(Unit& unit) {
        for (; unit.segment < unit.last_segment; unit.segment++) {
            const Segment& segment = segments[unit.segment];
            if (segment.first_event != segment.last_event) {
                return;
            }
            unit.base += segment.length * segment.repeats;
        }
    }

    // The next iteration that touches a stream, by the schedule.
    void next_event(Unit& unit) {
        unit.event++;
        if (unit.event == segments[unit.segment].last_event) {
            unit.base += segments[unit.segment].length;
            unit.repeat++;
            if (unit.repeat == segments[unit.segment].repeats) {
                unit.repeat = 0;
                unit.segment++;
                skip_silent(unit);
            }
            if (unit.segment == unit.last_segment) {
                unit.k_event = never;
                return;
            }
            unit.event = segments[unit.segment].first_event;
        }
        unit.k_event = unit.base + events[unit.event].offset;
        unit.flag = events[unit.event].flags;
    }
};

}  // namespace

// Runs to the end, to a deadlock, or until a watched run is decided; returns its verdict and fills the tables. `times`
// has two rows of `places`, `leaving` a ring of a power of two by what it holds and unit.
extern "C" __attribute__((visibility("default"))) int fpgaflow_cycles(
    Number* units, Number count, const Number* segments, const Number* events, const Number* ports, Number* streams,
    Number* times, Number places, Number* leaving, Number ring, Number* answers, Number frames, const Number* rules,
    Number* stack, std::uint8_t* queued) {
    Run run = {reinterpret_cast<Unit*>(units),
               count,
               reinterpret_cast<const Segment*>(segments),
               reinterpret_cast<const Event*>(events),
               ports,
               reinterpret_cast<Stream*>(streams),
               times,
               times + places,
               leaving,
               ring - 1,
               answers,
               frames,
               {rules[0], rules[1], rules[2]},
               stack,
               queued,
               count};
    return run.all();
}
