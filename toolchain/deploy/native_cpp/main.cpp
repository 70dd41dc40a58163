// Checks the network on this board with the stored samples, measures it, and writes board.json as accelerator.py does.
#include "accelerator.hpp"

#ifdef FPGAFLOW_XRT
#include "xrt.hpp"
#else
#include "uio.hpp"
#endif

#include <sys/utsname.h>
#include <cstdlib>
#include <iostream>
#include <map>

using fpgaflow::BoardError;

namespace {

// samples.bin: six numbers, then the images (C, H, W) and the codes of their answers, output by output.
struct Samples {
    std::int64_t images = 0, numbers = 0, real = 0, codes = 0;
    std::vector<float> reals;
    std::vector<std::int64_t> integers, answers;

    explicit Samples(const std::string& path) {
        std::ifstream file(path, std::ios::binary);
        std::int64_t head[6] = {};
        file.read(reinterpret_cast<char*>(head), sizeof head);
        if (!file || head[0] != 0x6C70617366676166 || head[1] != 1) {
            throw BoardError("no samples in " + path + "; copy all of board/");
        }
        images = head[2], numbers = head[3], real = head[4], codes = head[5];
        if (images < 1 || numbers != network::numbers || codes != network::all_codes) {
            throw BoardError(path + " is of another network");
        }
        if (real) {
            read(file, reals, images * numbers, path);
        } else {
            read(file, integers, images * numbers, path);
        }
        read(file, answers, images * codes, path);
    }

    void encode(std::int64_t image, std::int64_t* into) const {
        if (real) {
            network::encode(reals.data() + image * numbers, into);
        } else {
            network::encode(integers.data() + image * numbers, into);
        }
    }

private:
    template <class T>
    static void read(std::ifstream& file, std::vector<T>& into, std::int64_t count, const std::string& path) {
        into.resize(count);
        file.read(reinterpret_cast<char*>(into.data()), count * sizeof(T));
        if (!file) {
            throw BoardError(path + " is cut off");
        }
    }
};

typedef std::map<std::string, std::string> Options;

Options defaults() {
    return {
        {"--samples", "samples.bin"},
        {"--image", "memory.bin"},
        {"--out", "board.json"},
        {"--batch", "64"},
        {"--timeout", "0"},
        {"--turns", "20"},
#ifdef FPGAFLOW_XRT
        {"--xclbin", std::string(network::design) + ".xclbin"},
        {"--device", "0"},
        {"--ip", network::ip},
#else
        {"--registers", "/dev/uio4"},
        {"--memory", "/dev/udmabuf0"},
        {"--info", "/sys/class/u-dma-buf/udmabuf0"},
#endif
    };
}

std::string usage() {
    std::string known;
    for (const auto& option : defaults()) {
        known += " [" + option.first + " " + option.second + "]";
    }
    return known;
}

Options options(int count, char** words) {
    Options found = defaults();
    for (int i = 1; i < count; i += 2) {
        if (found.find(words[i]) == found.end() || i + 1 == count) {
            throw BoardError(std::string(words[i]) + " is no option with a value; they are" + usage());
        }
        found[words[i]] = words[i + 1];
    }
    return found;
}

double number(const Options& given, const std::string& name) {
    const std::string& text = given.at(name);
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != 0 || !(value >= 0 && value < 1e9)) {
        throw BoardError(name + " " + text + " is no number");
    }
    return value;
}

int run(const Options& given) {
    const Samples samples(given.at("--samples"));
#ifdef FPGAFLOW_XRT
    fpgaflow::XrtDevice device(static_cast<unsigned>(number(given, "--device")), given.at("--xclbin"),
                               given.at("--ip"));
#else
    fpgaflow::UioDevice device(given.at("--registers"), given.at("--memory"), given.at("--info"));
#endif
    fpgaflow::Accelerator accelerator(device, static_cast<std::int64_t>(number(given, "--batch")), given.at("--image"),
                                      number(given, "--timeout"));
    std::int64_t wrong = 0;
    const auto check = [&](std::int64_t frame, int output, const std::int64_t* codes) {
        std::int64_t at = frame % samples.images * samples.codes;
        for (int i = 0; i < output; i++) {
            at += network::answer_codes[i];
        }
        for (std::int64_t i = 0; i < network::answer_codes[output]; i++) {
            wrong += codes[i] != samples.answers[at + i];
        }
    };
    const auto encode = [&](std::int64_t frame, std::int64_t* codes) { samples.encode(frame % samples.images, codes); };
    accelerator.run(samples.images, encode, check);

    const std::int64_t turns = std::max<std::int64_t>(1, static_cast<std::int64_t>(number(given, "--turns")));
    const auto median = [&](std::int64_t frames) {
        std::vector<double> taken;
        for (std::int64_t i = 0; i < turns; i++) {
            taken.push_back(accelerator.seconds(frames));
        }
        std::nth_element(taken.begin(), taken.begin() + taken.size() / 2, taken.end());
        return taken[taken.size() / 2];
    };
    const double single = median(1), whole = median(accelerator.batch());
    const std::int64_t wrong_codes = wrong, frames = turns * accelerator.batch();
    const auto began = std::chrono::steady_clock::now();
    accelerator.run(frames, encode, [](std::int64_t, int, const std::int64_t*) {});
    const double all = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();

    utsname system = {};
    uname(&system);
    std::ofstream out(given.at("--out"));
    out << "{\n \"kind\": \"board\",\n \"design\": \"" << network::design
        << "\",\n \"clock_mhz\": " << network::clock_mhz << ",\n \"validation\": {\"images\": " << samples.images
        << ", \"codes\": " << samples.images * samples.codes << ", \"wrong_codes\": " << wrong_codes
        << ", \"top1\": null},\n \"benchmark\": {\"batch\": " << accelerator.batch() << ", \"frames\": " << frames
        << ", \"fps\": " << accelerator.batch() / whole << ", \"latency_ms\": " << 1e3 * single
        << ", \"end_to_end_fps\": " << frames / all << "},\n \"versions\": {\"driver\": \"C++\"},\n \"machine\": \""
        << system.machine << "\"\n}\n";
    if (!out.flush()) {
        throw BoardError("cannot write " + given.at("--out"));
    }
    std::cout << samples.images << " images, " << wrong_codes << " of " << samples.images * samples.codes
              << " codes are wrong; " << accelerator.batch() / whole << " frames a second\n";
    return wrong_codes ? 1 : 0;
}

}  // namespace

int main(int count, char** words) {
    if (count == 2 && (std::string(words[1]) == "--help" || std::string(words[1]) == "-h")) {
        std::cout << "Checks and measures " << network::design << " on this board:" << usage() << "\n";
        return 0;
    }
    try {
        return run(options(count, words));
    } catch (const std::exception& error) {  // XRT's own too
        std::cerr << "accelerator: " << error.what() << "\n";
        return 2;
    }
}
