// Buffer objects are two memories, of the processor and of the board, which only `sync` brings together.
#pragma once
#include <cstring>
#include <vector>
#include "xrt_device.h"

enum xclBOSyncDirection { XCL_BO_SYNC_BO_TO_DEVICE, XCL_BO_SYNC_BO_FROM_DEVICE };

namespace xrt {
class bo {
public:
    enum class flags { normal, cacheable };
    bo(const device&, std::size_t bytes, flags, unsigned) : own_((bytes + 7) / 8, 0xA5A5A5A5A5A5A5A5), bytes_(bytes) {
        static std::size_t used = 0;
        place_ = used;
        used += (bytes + 4095) / 4096 * 4096;
        memory_ = mapped("memory", told("info/size"));
    }
    template <class T>
    T map() {
        return reinterpret_cast<T>(own_.data());
    }
    std::uint64_t address() const { return told("info/phys_addr") + place_; }
    void sync(xclBOSyncDirection way) {
        if (way == XCL_BO_SYNC_BO_TO_DEVICE)
            std::memcpy(memory_ + place_, own_.data(), bytes_);
        else
            std::memcpy(own_.data(), memory_ + place_, bytes_);
    }

private:
    std::vector<std::uint64_t> own_;
    std::size_t bytes_, place_ = 0;
    char* memory_;
};
}  // namespace xrt
