// What the programs around a verilated accelerator share: words of memory, files, random pauses, arguments.
#ifndef FPGAFLOW_HARNESS_HPP
#define FPGAFLOW_HARNESS_HPP

#include "verilated.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

typedef std::array<std::uint32_t, 4> Word;

inline std::vector<Word> read_words(const char* path) {
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

// IN OUT CYCLES FRAMES IN_PAUSE OUT_PAUSE SEED PATIENCE WORDS...; what begins with + is the simulator's.
struct Arguments {
    unsigned frames, in_pause, out_pause;
    std::uint64_t seed, patience;
    std::vector<std::uint64_t> wanted;  // words, by output

    Arguments(int argc, char** argv) {
        if (argc < 10) {
            std::exit(2);
        }
        frames = std::atoi(argv[4]);
        in_pause = std::atoi(argv[5]);
        out_pause = std::atoi(argv[6]);
        seed = 0x9e3779b97f4a7c15u ^ std::strtoull(argv[7], nullptr, 10);
        patience = std::strtoull(argv[8], nullptr, 10);
        for (int i = 9; i < argc && argv[i][0] != '+'; i++) {
            wanted.push_back(std::strtoull(argv[i], nullptr, 10));
        }
    }
};

#endif
