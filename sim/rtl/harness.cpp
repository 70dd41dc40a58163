// Runs a verilated accelerator at its stream ports: words of 128 bits go in and come out, with random pauses.
//
//     simulation IN OUT CYCLES FRAMES IN_PAUSE OUT_PAUSE SEED PATIENCE WORDS...
//
// IN holds all words, OUT and the number of an output gets WORDS of that one, CYCLES and its number the clock cycle (64
// bits) in which each one left, counted from the one behind `start`. A side pauses in IN_PAUSE or OUT_PAUSE of 256
// cycles. Exit code 3 where no word moved at either side for PATIENCE cycles.
#include "Vtop.h"
#include "verilated.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace {

typedef std::array<std::uint32_t, 4> Word;

std::vector<Word> read_words(const char* path) {
    std::vector<Word> words;
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) {
        std::perror(path);
        std::exit(2);
    }
    Word word;
    while (std::fread(word.data(), sizeof(word), 1, file) == 1) {
        words.push_back(word);
    }
    std::fclose(file);
    return words;
}

template <class T>
void write_all(const std::string& path, const std::vector<T>& items) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr || std::fwrite(items.data(), sizeof(T), items.size(), file) != items.size()) {
        std::perror(path.c_str());
        std::exit(2);
    }
    std::fclose(file);
}

// An output: the words that it has to give, those that came and when.
struct Output {
    std::uint64_t wanted;
    std::vector<Word> found;
    std::vector<std::uint64_t> cycles;
};

// A generator of our own: the same pauses on every machine.
struct Random {
    std::uint64_t state;
    bool below(unsigned of_256) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (state >> 32 & 255) < of_256;
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 10) {
        return 2;
    }
    const std::vector<Word> given = read_words(argv[1]);
    const unsigned in_pause = std::atoi(argv[5]), out_pause = std::atoi(argv[6]);
    Random random = {0x9e3779b97f4a7c15u ^ std::strtoull(argv[7], nullptr, 10)};
    const std::uint64_t patience = std::strtoull(argv[8], nullptr, 10);
    std::vector<Output> outputs;
    std::uint64_t missing = 0;
    for (int i = 9; i < argc && argv[i][0] != '+'; i++) {
        outputs.push_back({std::strtoull(argv[i], nullptr, 10), {}, {}});
        missing += outputs.back().wanted;
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
    top->frames = std::atoi(argv[4]);
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
    for (std::uint64_t cycle = 0; missing > 0 && quiet < patience; cycle++) {
        // a word that is offered stays until it is taken
        top->in_valid = next < given.size() && (top->in_valid || !random.below(in_pause));
        if (top->in_valid) {
            for (int i = 0; i < 4; i++) {
                top->in_data[i] = given[next][i];
            }
        }
        unsigned ready = 0;
        for (std::size_t i = 0; i < outputs.size(); i++) {
            ready |= unsigned(!random.below(out_pause)) << i;
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
        write_all(argv[3] + std::to_string(i), outputs[i].cycles);
    }
    return missing == 0 ? 0 : 3;
}
