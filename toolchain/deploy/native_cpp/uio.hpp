// A board by files of Linux: registers of a UIO device, memory of a u-dma-buf device.
#ifndef FPGAFLOW_UIO_HPP
#define FPGAFLOW_UIO_HPP

#include "device.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace fpgaflow {

// A file mapped as a whole, which is not kept in the cache: O_SYNC asks u-dma-buf for that.
class Mapping {
public:
    Mapping(const std::string& path, std::size_t bytes) : bytes_(bytes) {
        const int file = ::open(path.c_str(), O_RDWR | O_SYNC);
        if (file < 0) {
            throw BoardError("cannot open " + path + ": " + std::strerror(errno));
        }
        start_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        const int error = errno;
        ::close(file);
        if (start_ == MAP_FAILED) {
            throw BoardError("cannot map " + std::to_string(bytes) + " bytes of " + path + ": " + std::strerror(error));
        }
    }
    ~Mapping() { ::munmap(start_, bytes_); }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    unsigned char* start() const { return static_cast<unsigned char*>(start_); }

private:
    void* start_;
    std::size_t bytes_;
};

class UioBuffer : public Buffer {
public:
    UioBuffer(unsigned char* start, std::uint64_t address) : start_(start), address_(address) {}
    std::uint64_t* words() override { return reinterpret_cast<std::uint64_t*>(start_); }
    std::uint64_t address() const override { return address_; }
    void to_device() override { __sync_synchronize(); }
    void from_device() override { __sync_synchronize(); }

private:
    unsigned char* start_;
    std::uint64_t address_;
};

// `registers` is a UIO device such as /dev/uio4, `memory` a device such as /dev/udmabuf0, `facts` its folder in /sys,
// which holds phys_addr and size. Buffers are pages of that memory, one behind the other.
class UioDevice : public Device {
public:
    UioDevice(const std::string& registers, const std::string& memory, const std::string& facts)
        : registers_(registers, register_bytes),
          size_(number(facts + "/size")),
          address_(number(facts + "/phys_addr")),
          memory_(memory, size_) {}

    std::uint32_t read(std::uint32_t offset) override { return *at(offset); }
    void write(std::uint32_t offset, std::uint32_t value) override {
        __sync_synchronize();
        *at(offset) = value;
    }
    std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
        const std::size_t place = used_;
        used_ += (bytes + page - 1) / page * page;
        if (used_ > size_) {
            throw BoardError("buffers of " + std::to_string(used_) + " bytes in a memory of " + std::to_string(size_) +
                             "; use a smaller --batch or more u-dma-buf memory");
        }
        return std::unique_ptr<Buffer>(new UioBuffer(memory_.start() + place, address_ + place));
    }

private:
    static constexpr std::size_t page = 4096, register_bytes = 4096;

    volatile std::uint32_t* at(std::uint32_t offset) const {
        return reinterpret_cast<volatile std::uint32_t*>(registers_.start() + offset);
    }
    static std::uint64_t number(const std::string& path) {
        std::ifstream file(path);
        std::string text;
        if (!(file >> text)) {
            throw BoardError("cannot read " + path);
        }
        try {
            return std::stoull(text, nullptr, 0);
        } catch (const std::exception&) {
            throw BoardError(path + " holds no number: " + text);
        }
    }

    Mapping registers_;
    std::size_t size_;
    std::uint64_t address_;
    Mapping memory_;
    std::size_t used_ = 0;
};

}  // namespace fpgaflow

#endif
