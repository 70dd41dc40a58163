// What the driver asks of a board: 32-bit registers, and memory that processor and accelerator share.
#ifndef FPGAFLOW_DEVICE_HPP
#define FPGAFLOW_DEVICE_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace fpgaflow {

// The board, a file or an input is not as it must be.
struct BoardError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Contiguous memory of 64-bit words. The accelerator sees what was written before `to_device`, the processor what the
// accelerator wrote before `from_device`.
class Buffer {
public:
    virtual ~Buffer() = default;
    virtual std::uint64_t* words() = 0;
    virtual std::uint64_t address() const = 0;
    virtual void to_device() = 0;
    virtual void from_device() = 0;
};

class Device {
public:
    virtual ~Device() = default;
    virtual std::uint32_t read(std::uint32_t offset) = 0;
    virtual void write(std::uint32_t offset, std::uint32_t value) = 0;
    virtual std::unique_ptr<Buffer> allocate(std::size_t bytes) = 0;
};

}  // namespace fpgaflow

#endif
