// Runs a verilated accelerator at its stream ports: words of 128 bits go in and come out, with random pauses.
//
//     simulation IN OUT CYCLES FRAMES IN_PAUSE OUT_PAUSE SEED PATIENCE WORDS...
//
// IN holds all words, OUT and the number of an output gets WORDS of that one, CYCLES and its number the clock cycle in
// which each one left, a line each, counted from the one behind `start`. A side pauses in IN_PAUSE or OUT_PAUSE of 256
// cycles. Exit code 3 where no word moved at either side for PATIENCE cycles.
#include "Vtop.h"
#include "harness.hpp"

namespace {

// An output: the words that it has to give, those that came and when.
struct Output {
    std::uint64_t wanted;
    std::vector<Word> found;
    std::vector<std::uint64_t> cycles;
};

}  // namespace

int main(int argc, char** argv) {
    const Arguments given(argc, argv);
    const std::vector<Word> words = read_words(argv[1]);
    Random random = {given.seed};
    std::vector<Output> outputs;
    std::uint64_t missing = 0;
    for (std::uint64_t wanted : given.wanted) {
        outputs.push_back({wanted, {}, {}});
        missing += wanted;
    }

    const std::unique_ptr<VerilatedContext> context(new VerilatedContext);
    context->commandArgs(argc, argv);
    const std::unique_ptr<Vtop> top(new Vtop(context.get()));
    const auto clock = [&] {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
        context->timeInc(1);
    };
    top->frames = given.frames;
    top->start = top->in_valid = top->out_ready = 0;
    top->reset = 1;
    top->clk = 0;
    top->eval();
    clock();
    top->reset = 0;
    top->start = 1;
    top->eval();
    clock();
    top->start = 0;

    std::size_t next = 0;
    std::uint64_t quiet = 0;
    for (std::uint64_t cycle = 0; missing > 0 && quiet < given.patience; cycle++) {
        // a word that is offered stays until it is taken
        top->in_valid = next < words.size() && (top->in_valid || !random.below(given.in_pause));
        if (top->in_valid) {
            for (int i = 0; i < 4; i++) {
                top->in_data[i] = words[next][i];
            }
        }
        unsigned ready = 0;
        for (std::size_t i = 0; i < outputs.size(); i++) {
            ready |= unsigned(!random.below(given.out_pause)) << i;
        }
        top->out_ready = ready;
        top->eval();
        const bool taken = top->in_valid && top->in_ready;
        const unsigned left = top->out_valid & ready;
        for (std::size_t i = 0; i < outputs.size(); i++) {
            if (left >> i & 1) {
                const auto* data = &top->out_data[4 * i];
                outputs[i].found.push_back({data[0], data[1], data[2], data[3]});
                outputs[i].cycles.push_back(cycle);
                missing -= outputs[i].found.size() <= outputs[i].wanted;
            }
        }
        clock();
        if (taken) {
            next++;
            top->in_valid = 0;
        }
        quiet = taken || left ? 0 : quiet + 1;
    }
    top->final();
    for (std::size_t i = 0; i < outputs.size(); i++) {
        write_all(argv[2] + std::to_string(i), outputs[i].found);
        std::string cycles;
        for (std::uint64_t cycle : outputs[i].cycles) {
            cycles += std::to_string(cycle) + "\n";
        }
        write_all(argv[3] + std::to_string(i), std::vector<char>(cycles.begin(), cycles.end()));
    }
    return missing == 0 ? 0 : 3;
}
