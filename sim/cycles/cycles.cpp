// The core of the cycle simulator: exact start times of iterations, by the streams that they wait for.
//
// Iteration k of a unit starts one cycle after iteration k - 1, or later: when a word that it reads has been in its FIFO
// for a cycle, and when a word that leaves the pipeline with it has a free place, freed a cycle before. These are the
// only waits, so start times follow from the neighbours' times without stepping a clock. Each unit runs until it needs a
// time that is not known yet; the order in which units run changes nothing.
#include <cstdint>

namespace {

typedef std::int64_t Number;

constexpr Number never = Number(1) << 62;

// What the tables hold is told in toolchain/simulate/engine.py, which lists the columns in the same order.
struct Unit {
    Number once, frame, stages, last_segment, first_in, last_in, first_out, last_out;
    Number last_k, last_t, segment, repeat, event, k_event, flag, base, begun, leave_first, leave_count, leave;
    Number state, waits_for, empty_stall, full_stall;
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
enum Kind { start_time, end_time, digest };
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

    Number& answer(Kind kind, Number unit, Number frame) { return answers[(kind * count + unit) * frames + frame]; }

    Verdict all() {
        while (top > 0) {
            const Number u = stack[--top];
            queued[u] = 0;
            Unit& unit = units[u];
            for (;;) {
                const Number k = unit.k_event < unit.leave ? unit.k_event : unit.leave;
                const Number begin = unit.once + (unit.begun + 1) * unit.frame;
                if (begin <= k && unit.begun + 1 < frames) {
                    begin_frame(u, begin);
                    if (rules.watch && u == count - 1) {
                        const Verdict verdict = judge();
                        if (verdict != unknown) {
                            return verdict;
                        }
                    }
                } else if (k == never) {
                    unit.state = done;
                    break;
                } else if (start(u, k)) {
                    move_words(unit, k);
                    advance(u, k);
                } else {
                    break;
                }
            }
        }
        return unknown;
    }

    // Iteration `k` is the first of a frame: not before the pace allows it.
    void begin_frame(Number u, Number k) {
        Unit& unit = units[u];
        Number t = unit.last_t + k - unit.last_k;
        if (unit.begun >= 0) {
            t = larger(t, answer(start_time, u, unit.begun) + rules.pace);
        }
        unit.begun++;
        unit.last_k = k;
        unit.last_t = t;
        answer(start_time, u, unit.begun) = t;
    }

    // Whether frames repeat at the pace or leave ever later; asked when the last unit begins a frame. Steady: two frames
    // in a row that every unit has ended are like the one before. Drifting: the last unit was late by the same time three
    // frames in a row.
    Verdict judge() {
        const Number w = count - 1;
        Number f = units[w].begun;
        for (Number u = 0; u < count; u++) {
            f = units[u].begun < f ? units[u].begun : f;
        }
        f--;
        if (f >= 2) {
            bool same = true;
            for (Number u = 0; u < count && same; u++) {
                const Number last = answer(digest, u, f);
                same = last == answer(digest, u, f - 1) && last == answer(digest, u, f - 2);
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
    static Number first_read(const Unit& unit, Number flag) {
        return unit.first_in + (flag >> 2 ? (flag >> 2) - 1 : 0);
    }
    static Number last_read(const Unit& unit, Number flag) {
        return flag >> 2 ? first_read(unit, flag) + 1 : unit.last_in;
    }

    // Starts iteration `k` if the times that it waits for are known; else false, and the unit says why not.
    bool start(Number u, Number k) {
        Unit& unit = units[u];
        Number t = unit.last_t + k - unit.last_k;
        const Number f = unit.begun;
        if (rules.even && f >= 0) {
            t = larger(t, answer(start_time, u, f) + (k - unit.once - f * unit.frame) * rules.pace / unit.frame);
        }
        const Number ideal = t;
        bool waited_for_room = false;
        const Number flag = k == unit.k_event ? unit.flag : 0;
        if (flag & reads) {
            for (Number i = first_read(unit, flag); i < last_read(unit, flag); i++) {
                const Stream& stream = streams[ports[i]];
                if (stream.written <= stream.read) {
                    return wait(unit, empty, ports[i]);
                }
                t = larger(t, written_at[stream.ring + (stream.read & stream.mask)] + 1);
            }
        }
        if (k == unit.leave) {
            for (Number i = unit.first_out; i < unit.last_out; i++) {
                const Stream& stream = streams[ports[i]];
                const Number freed = stream.written - stream.depth;
                if (freed >= 0) {
                    if (stream.read <= freed) {
                        return wait(unit, full, ports[i]);
                    }
                    const Number free = read_at[stream.ring + (freed & stream.mask)] + 1;
                    if (free > t) {
                        t = free;
                        waited_for_room = true;
                    }
                }
            }
        }
        (waited_for_room ? unit.full_stall : unit.empty_stall) += t - ideal;
        unit.last_k = k;
        unit.last_t = t;
        if (f >= 0) {
            answer(end_time, u, f) = t;
            Number& found = answer(digest, u, f);  // of all times of the frame relative to the pace
            found = static_cast<Number>(static_cast<std::uint64_t>(found) * 1000003u +
                                        static_cast<std::uint64_t>(t - f * rules.pace));
        }
        return true;
    }

    static bool wait(Unit& unit, State state, Number stream) {
        unit.state = state;
        unit.waits_for = stream;
        return false;
    }

    // Counts the words of iteration `k` and queues the units that waited for them.
    void move_words(const Unit& unit, Number k) {
        const Number flag = k == unit.k_event ? unit.flag : 0;
        if (flag & reads) {
            for (Number i = first_read(unit, flag); i < last_read(unit, flag); i++) {
                Stream& stream = streams[ports[i]];
                read_at[stream.ring + (stream.read++ & stream.mask)] = unit.last_t;
                passed(stream, ports[i], stream.writer, full);
            }
        }
        if (k == unit.leave) {
            for (Number i = unit.first_out; i < unit.last_out; i++) {
                Stream& stream = streams[ports[i]];
                written_at[stream.ring + (stream.written++ & stream.mask)] = unit.last_t;
                passed(stream, ports[i], stream.reader, empty);
            }
        }
    }

    void passed(Stream& stream, Number index, Number other, State waiting) {
        if (!rules.watch) {
            see_fill(stream);
        }
        if (!queued[other] && units[other].state == waiting && units[other].waits_for == index) {
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

    // Moves the unit behind iteration `k`: words leave its pipeline, computed ones enter it.
    void advance(Number u, Number k) {
        Unit& unit = units[u];
        Number* const ring = leaving + u * (ring_mask + 1);
        if (k == unit.leave) {
            unit.leave_first = (unit.leave_first + 1) & ring_mask;
            unit.leave_count--;
        }
        if (k == unit.k_event) {
            if (unit.flag & writes) {
                ring[(unit.leave_first + unit.leave_count) & ring_mask] = k + unit.stages;
                unit.leave_count++;
            }
            next_event(unit);
        }
        unit.leave = unit.leave_count > 0 ? ring[unit.leave_first] : never;
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
// has two rows of `places`, `leaving` a ring of a power of two a unit.
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
