// A board by the Xilinx Runtime: an .xclbin is loaded, registers are those of its IP, buffers are buffer objects.
#ifndef FPGAFLOW_XRT_HPP
#define FPGAFLOW_XRT_HPP

#include "device.hpp"

#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>

#include <experimental/xrt_ip.h>

namespace fpgaflow {

class XrtBuffer : public Buffer {
public:
    XrtBuffer(const xrt::device& device, std::size_t bytes)
        : object_(device, bytes, xrt::bo::flags::cacheable, 0), words_(object_.map<std::uint64_t*>()) {}
    std::uint64_t* words() override { return words_; }
    std::uint64_t address() const override { return object_.address(); }
    void to_device() override { object_.sync(XCL_BO_SYNC_BO_TO_DEVICE); }
    void from_device() override { object_.sync(XCL_BO_SYNC_BO_FROM_DEVICE); }

private:
    xrt::bo object_;
    std::uint64_t* words_;
};

class XrtDevice : public Device {
public:
    XrtDevice(unsigned index, const std::string& xclbin, const std::string& ip)
        : device_(index), ip_(device_, device_.load_xclbin(xclbin), ip) {}
    std::uint32_t read(std::uint32_t offset) override { return ip_.read_register(offset); }
    void write(std::uint32_t offset, std::uint32_t value) override { ip_.write_register(offset, value); }
    std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
        return std::unique_ptr<Buffer>(new XrtBuffer(device_, bytes));
    }

private:
    xrt::device device_;
    xrt::ip ip_;
};

}  // namespace fpgaflow

#endif
