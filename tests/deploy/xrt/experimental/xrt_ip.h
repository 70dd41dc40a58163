#pragma once
#include "xrt/xrt_device.h"

namespace xrt {
class ip {
public:
    ip(const device&, const uuid&, const std::string& name) : registers_(mapped("registers", 4096)) {
        if (name.find(':') == std::string::npos) throw std::runtime_error("No such ip: " + name);
    }
    std::uint32_t read_register(std::uint32_t offset) const { return *at(offset); }
    void write_register(std::uint32_t offset, std::uint32_t value) { *at(offset) = value; }

private:
    volatile std::uint32_t* at(std::uint32_t offset) const {
        return reinterpret_cast<volatile std::uint32_t*>(registers_ + offset);
    }
    char* registers_;
};
}  // namespace xrt
