// Runs a verilated accelerator at its AXI ports as a driver does: registers, a memory, random pauses of every channel.
//
//     simulation IN OUT CYCLES FRAMES READ_PAUSE WRITE_PAUSE SEED PATIENCE WORDS...
//
// IN holds all words, OUT and the number of an output gets WORDS of that one. Channels that bring the accelerator
// something pause in READ_PAUSE, those that take something from it in WRITE_PAUSE of 256 cycles. Where either is not 0
// there are further calls: some of no frames or less, and behind the one of FRAMES two of one, by auto restart and
// interrupt. Exit code 3 where no word moved for PATIENCE cycles; 4 with a message where a port breaks a rule of AXI4, a
// call reaches memory that it was not given, or a register does not behave. The RTL writes CYCLES. With +trace=FILE and
// +behind=N the call of FRAMES leaves its waveform, from the cycle on in which N words were read.
#include "Vtop.h"
#include "harness.hpp"

#include <climits>
#include <deque>
#include <functional>
#ifdef TRACED
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr unsigned BYTES = 16, PAGE = 4096, MOST_BEATS = 64, LATENCY = 20;
constexpr unsigned START = 1, DONE = 2, IDLE = 4, READY = 8, RESTART = 128;
constexpr unsigned CTRL = 0, GIER = 4, IER = 8, ISR = 12, ARGUMENTS = 16, POINTER = 12;

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::exit(4);
}

void demand(bool holds, const std::string& message) {
    if (!holds) {
        fail(message);
    }
}

// Words of memory from `base` on, all that a call may read or write there.
struct Buffer {
    std::uint64_t base;
    std::vector<Word> words;
};

struct Burst {
    std::uint64_t address;
    unsigned length;
    std::uint64_t ready;  // the cycle in which it is answered at the earliest
};

// The signals of a port, as Verilator names them.
struct Port {
    CData &ar_valid, &ar_ready, &ar_length, &r_valid, &r_ready, &r_last;
    CData &aw_valid, &aw_ready, &aw_length, &w_valid, &w_ready, &w_last, &b_valid;
    QData &ar_address, &aw_address;
    WData *r_data, *w_data;
};

#define PORT(n)                                                                                  \
    {top->m_axi_gmem##n##_ARVALID,   top->m_axi_gmem##n##_ARREADY,  top->m_axi_gmem##n##_ARLEN,  \
     top->m_axi_gmem##n##_RVALID,    top->m_axi_gmem##n##_RREADY,   top->m_axi_gmem##n##_RLAST,  \
     top->m_axi_gmem##n##_AWVALID,   top->m_axi_gmem##n##_AWREADY,  top->m_axi_gmem##n##_AWLEN,  \
     top->m_axi_gmem##n##_WVALID,    top->m_axi_gmem##n##_WREADY,   top->m_axi_gmem##n##_WLAST,  \
     top->m_axi_gmem##n##_BVALID,    top->m_axi_gmem##n##_ARADDR,   top->m_axi_gmem##n##_AWADDR, \
     &top->m_axi_gmem##n##_RDATA[0], &top->m_axi_gmem##n##_WDATA[0]}

// A port's memory: bursts are answered in their order.
class Memory {
public:
    Memory(Port port, const std::string& name) : port_(port), name_(name) {}

    void drive(std::uint64_t cycle, unsigned read_pause, unsigned write_pause, Random& random) {
        port_.ar_ready = !random.below(write_pause);
        port_.aw_ready = !random.below(write_pause);
        port_.w_ready = !random.below(write_pause);
        // an answer that is given stays until it is taken
        const bool reads = !reads_.empty() && cycle >= reads_.front().ready;
        port_.r_valid = reads && (offers_ || !random.below(read_pause));
        if (port_.r_valid) {
            const Word& word = at(reads_.front().address);
            for (int i = 0; i < 4; i++) {
                port_.r_data[i] = word[i];
            }
            port_.r_last = reads_.front().length == 1;
        }
        port_.b_valid = !answers_.empty() && cycle >= answers_.front() && !random.below(read_pause);
    }

    // What happens at the clock's edge; true where a word moved.
    bool take(std::uint64_t cycle, bool reset) {
        if (reset) {
            demand(cycle < 2 || (!port_.ar_valid && !port_.aw_valid && !port_.w_valid), name_ + ": valid during reset");
            return false;
        }
        asked_.check(port_.ar_valid, port_.ar_ready, {port_.ar_address, port_.ar_length}, "AR");
        announced_.check(port_.aw_valid, port_.aw_ready, {port_.aw_address, port_.aw_length}, "AW");
        const WData* w = port_.w_data;
        written_.check(port_.w_valid, port_.w_ready, {w[0], w[1], w[2], w[3], port_.w_last}, "W");
        if (port_.ar_valid && port_.ar_ready) {
            reads_.push_back(burst(port_.ar_address, port_.ar_length, cycle));
        }
        if (port_.aw_valid && port_.aw_ready) {
            writes_.push_back(burst(port_.aw_address, port_.aw_length, cycle));
        }
        const bool read = port_.r_valid && port_.r_ready, wrote = port_.w_valid && port_.w_ready;
        if (read) {
            step(reads_);
            words++;
        }
        offers_ = port_.r_valid && !read;
        if (wrote) {
            beats_.push_back({{w[0], w[1], w[2], w[3]}, bool(port_.w_last)});
        }
        if (port_.b_valid) {  // which the accelerator always takes
            answers_.pop_front();
        }
        while (!writes_.empty() && !beats_.empty()) {  // words may come before their address
            if (beats_.front().last != (writes_.front().length == 1)) {
                fail(name_ + ": WLAST at a wrong beat");
            }
            at(writes_.front().address) = beats_.front().word;
            beats_.pop_front();
            if (step(writes_)) {
                answers_.push_back(cycle + LATENCY);
            }
        }
        return read || wrote;
    }

    bool quiet() const { return reads_.empty() && writes_.empty() && beats_.empty() && answers_.empty(); }

    std::vector<Buffer*> buffers;         // that it may read or write
    std::uint64_t bursts = 0, words = 0;  // bursts, and words that were read

private:
    struct Beat {
        Word word;
        bool last;
    };

    // A source that offers something leaves it as it is until it is taken.
    struct Steady {
        bool offers = false;
        std::array<std::uint64_t, 5> offered;
        void check(bool valid, bool ready, const std::array<std::uint64_t, 5>& content, const char* what) {
            if (offers && !(valid && content == offered)) {
                fail(std::string(what) + " changes before it is taken");
            }
            offers = valid && !ready;
            offered = content;
        }
    };

    Burst burst(std::uint64_t address, unsigned beats, std::uint64_t cycle) {
        const unsigned length = beats + 1;
        demand(address % BYTES == 0, name_ + ": a burst from within a word");
        demand(length <= MOST_BEATS, name_ + ": a burst of " + std::to_string(length) + " beats");
        demand(address / PAGE == (address + length * BYTES - 1) / PAGE, name_ + ": a burst across 4 KB");
        bursts++;
        return {address, length, cycle + LATENCY};
    }

    Word& at(std::uint64_t address) {
        for (Buffer* buffer : buffers) {
            const std::uint64_t place = (address - buffer->base) / BYTES;
            if (address >= buffer->base && place < buffer->words.size()) {
                return buffer->words[place];
            }
        }
        char text[40];
        std::snprintf(text, sizeof(text), ": nothing to reach at 0x%llx", static_cast<unsigned long long>(address));
        fail(name_ + text);
    }

    // Goes to the next beat; true where the burst ends.
    static bool step(std::deque<Burst>& bursts) {
        bursts.front().address += BYTES;
        if (--bursts.front().length > 0) {
            return false;
        }
        bursts.pop_front();
        return true;
    }

    Port port_;
    std::string name_;
    std::deque<Burst> reads_, writes_;
    std::deque<Beat> beats_;
    std::deque<std::uint64_t> answers_;  // the cycles from which on written bursts are answered
    Steady asked_, announced_, written_;
    bool offers_ = false;  // a word that was not taken yet
};

// The accelerator on its board: a clock cycle, a register, a call.
class Board {
public:
    Board(VerilatedContext* context, Vtop* top, const Arguments& given)
        : context_(context), top_(top), given_(given), random_{given.seed} {}

    void cycle() {
        for (Memory& memory : memories) {
            memory.drive(now_, given_.in_pause, given_.out_pause, random_);
        }
        top_->eval();
        bool moved = false;
        for (Memory& memory : memories) {
            moved |= memory.take(now_, !top_->ap_rst_n);
        }
        const bool ready[] = {bool(top_->s_axi_control_AWREADY), bool(top_->s_axi_control_WREADY),
                              bool(top_->s_axi_control_ARREADY)};
        top_->ap_clk = 1;
        top_->eval();
        dump();
        top_->ap_clk = 0;
        top_->eval();
        dump();
        top_->s_axi_control_AWVALID &= !ready[0];
        top_->s_axi_control_WVALID &= !ready[1];
        top_->s_axi_control_ARVALID &= !ready[2];
        now_++;
        quiet_ = moved ? 0 : quiet_ + 1;
    }

    void write(unsigned offset, std::uint32_t value) {
        top_->s_axi_control_AWADDR = offset;
        top_->s_axi_control_WDATA = value;
        top_->s_axi_control_WSTRB = 15;
        pause(given_.in_pause);
        const bool later = random_.below(given_.in_pause);
        top_->s_axi_control_AWVALID = 1;
        top_->s_axi_control_WVALID = !later;
        cycle();
        top_->s_axi_control_WVALID |= later;
        until([&] { return top_->s_axi_control_BVALID; });
        pause(given_.out_pause);
        top_->s_axi_control_BREADY = 1;
        cycle();
        top_->s_axi_control_BREADY = 0;
    }

    std::uint32_t read(unsigned offset) {
        top_->s_axi_control_ARADDR = offset;
        pause(given_.in_pause);
        top_->s_axi_control_ARVALID = 1;
        until([&] { return top_->s_axi_control_RVALID; });
        pause(given_.out_pause);
        const std::uint32_t value = top_->s_axi_control_RDATA;
        top_->s_axi_control_RREADY = 1;
        cycle();
        top_->s_axi_control_RREADY = 0;
        return value;
    }

    void expect(unsigned offset, std::uint32_t value) {
        const std::uint32_t found = read(offset);
        if (found != value) {
            char text[80];
            std::snprintf(text, sizeof(text), "register 0x%02x is 0x%x, should be 0x%x", offset, found, value);
            fail(text);
        }
    }

    // Writes the arguments of a call as the driver does.
    void prepare(const std::vector<std::uint64_t>& addresses, unsigned frames) {
        quiet_ = 0;
        expect(CTRL, IDLE);
        for (std::size_t i = 0; i < addresses.size(); i++) {
            const unsigned offset = ARGUMENTS + POINTER * unsigned(i);
            write(offset, std::uint32_t(addresses[i]));
            write(offset + 4, std::uint32_t(addresses[i] >> 32));
            expect(offset, std::uint32_t(addresses[i]));
            expect(offset + 4, std::uint32_t(addresses[i] >> 32));
        }
        write(ARGUMENTS + POINTER * unsigned(addresses.size()), frames);
        expect(ARGUMENTS + POINTER * unsigned(addresses.size()), frames);
    }

    // A cycle; false where nothing moves any more.
    bool alive() {
        cycle();
        return quiet_ < given_.patience;
    }

    // Polls for the end of a call; false where nothing moves any more.
    bool done() {
        quiet_ = 0;
        while (quiet_ < given_.patience) {
            const std::uint32_t control = read(CTRL);
            if (control & DONE) {
                demand(control & READY, "done and not ready");
                return true;
            }
            demand(!(control & IDLE), "idle before done");
            for (int i = 0; i < 16; i++) {
                cycle();
            }
        }
        return false;
    }

    bool quiet() const {
        for (const Memory& memory : memories) {
            if (!memory.quiet()) {
                return false;
            }
        }
        return true;
    }

#ifdef TRACED
    // Writes the waveform of what follows to `file`, from the cycle on in which `behind` words of the input were read.
    void record(const std::string& file, std::uint64_t behind) {
        file_ = file;
        behind_ = memories[0].words + behind;
    }

    void end_record() {
        if (wave_) {
            wave_->close();
        }
        file_.clear();
    }
#endif

    std::vector<Memory> memories;

private:
    void dump() {
        context_->timeInc(1);
#ifdef TRACED
        if (file_.empty() || memories[0].words < behind_) {
            return;
        }
        if (!wave_) {
            wave_.reset(new VerilatedVcdC);
            top_->trace(wave_.get(), 99);
            wave_->open(file_.c_str());
        }
        wave_->dump(context_->time());
#endif
    }

    void pause(unsigned of_256) {
        while (random_.below(of_256)) {
            cycle();
        }
    }

    void until(const std::function<bool()>& holds) {
        for (int i = 0; i < 100; i++) {
            if (holds()) {
                return;
            }
            cycle();
        }
        fail("the registers do not answer");
    }

    VerilatedContext* context_;
    Vtop* top_;
    Arguments given_;
    Random random_;
    std::uint64_t now_ = 0, quiet_ = 0;
#ifdef TRACED
    std::unique_ptr<VerilatedVcdC> wave_;
    std::string file_;
    std::uint64_t behind_ = 0;
#endif
};

#ifdef TRACED
// What follows `+NAME=` on the command line, "" without it.
std::string plus_argument(VerilatedContext* context, const std::string& name) {
    const std::string found = context->commandArgsPlusMatch((name + "=").c_str());
    return found.empty() ? found : found.substr(name.size() + 2);
}
#endif

std::uint64_t all_bursts(const Board& board) {
    std::uint64_t found = 0;
    for (const Memory& memory : board.memories) {
        found += memory.bursts;
    }
    return found;
}

}  // namespace

int main(int argc, char** argv) {
    const Arguments given(argc, argv);
    const std::unique_ptr<VerilatedContext> context(new VerilatedContext);
    context->commandArgs(argc, argv);
#ifdef TRACED
    context->traceEverOn(true);
#endif
    const std::unique_ptr<Vtop> top(new Vtop(context.get()));
    Board board(context.get(), top.get(), given);
    board.memories.emplace_back(Port PORT(0), "gmem0");
    board.memories.emplace_back(Port PORT(1), "gmem1");
#if PORTS > 2
    board.memories.emplace_back(Port PORT(2), "gmem2");
#endif
#if PORTS > 3
    board.memories.emplace_back(Port PORT(3), "gmem3");
#endif
    // Above 32 bits, and not where 4 KB begin; what a call must not reach lies between.
    Buffer input = {0x123450ff0, read_words(argv[1])};
    std::vector<Buffer> outputs;
    std::vector<std::uint64_t> addresses = {input.base};
    for (std::size_t i = 0; i < given.wanted.size(); i++) {
        outputs.push_back({((i + 2) << 36) + 0xfb0 + 0x130 * i, std::vector<Word>(given.wanted[i], Word{7, 7, 7, 7})});
        addresses.push_back(outputs[i].base);
    }
    board.memories[0].buffers.push_back(&input);
    for (std::size_t i = 0; i < outputs.size(); i++) {
        board.memories[(i + 1) % PORTS].buffers.push_back(&outputs[i]);
    }

    top->ap_clk = top->ap_rst_n = 0;
    top->s_axi_control_AWVALID = top->s_axi_control_WVALID = top->s_axi_control_ARVALID = 0;
    top->s_axi_control_BREADY = top->s_axi_control_RREADY = 0;
    for (int i = 0; i < 4; i++) {
        board.cycle();
    }
    top->ap_rst_n = 1;
    const bool further = given.in_pause || given.out_pause;
    bool ends = true;
    if (further) {
        for (const int none : {0, -1, INT_MIN}) {  // the C++ takes less than none for none
            board.prepare(addresses, unsigned(none));
            board.write(CTRL, START);
            const bool ended = board.done();
            demand(all_bursts(board) == 0, "a call of " + std::to_string(none) + " frames reaches memory");
            demand(ended, "a call of " + std::to_string(none) + " frames does not end");
        }
    }
    board.prepare(addresses, given.frames);
#ifdef TRACED
    const std::string file = plus_argument(context.get(), "trace");
    if (!file.empty()) {
        board.record(file, std::strtoull(plus_argument(context.get(), "behind").c_str(), nullptr, 10));
    }
#endif
    board.write(CTRL, START);
    ends = board.done();
#ifdef TRACED
    board.end_record();
#endif
    demand(!ends || board.quiet(), "done before memory is");
    if (ends && further) {
        const std::vector<Buffer> right = outputs;
        for (Buffer& output : outputs) {
            output.words.assign(output.words.size() / given.frames, Word{7, 7, 7, 7});
        }
        input.words.resize(input.words.size() / given.frames);
        board.prepare(addresses, 1);
        board.write(GIER, 1);
        board.write(IER, 1);
        demand(!top->__SYM__interrupt, "an interrupt before a call");
        board.write(CTRL, START | RESTART);
        for (int call = 0; call < 2; call++) {
            while (ends && !top->__SYM__interrupt) {
                ends = board.alive();
            }
            if (call == 0) {
                board.write(CTRL, 0);  // no further restart
            }
            demand(!ends || board.read(ISR) == 1, "an interrupt that no register tells");
            board.write(ISR, 1);
        }
        if (ends) {
            board.read(CTRL);
            board.expect(CTRL, IDLE);
        }
        demand(!ends || board.quiet(), "done before memory is");
        for (std::size_t i = 0; i < outputs.size(); i++) {
            for (std::size_t n = 0; ends && n < outputs[i].words.size(); n++) {
                demand(outputs[i].words[n] == right[i].words[n], "a later call writes other words");
            }
        }
        outputs = right;
    }
    top->final();
    for (std::size_t i = 0; i < outputs.size(); i++) {
        write_all(argv[2] + std::to_string(i), outputs[i].words);
    }
    return ends ? 0 : 3;
}
