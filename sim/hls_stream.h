// hls::stream for the C simulation, in place of the vendor's: a vector instead of a deque, and a read of an empty
// stream or words left over are errors instead of warnings, since hardware would hang there.
#ifndef FPGAFLOW_SIM_HLS_STREAM_H
#define FPGAFLOW_SIM_HLS_STREAM_H

#ifdef FPGAFLOW_BOUNDED
#include "bounded_stream.hpp"
#else

#include "simulation.hpp"

#include <cstddef>
#include <vector>

namespace hls {

template <class T>
class stream {
public:
    explicit stream(const char* name = "stream") : name_(name) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    ~stream() {
        if (!empty()) {
            fpgaflow::simulation::report("words are left over in stream", name_);
        }
    }

    T read() {
        if (empty()) {
            fpgaflow::simulation::stop("an empty stream was read", name_);
        }
        return words_[next_++];
    }

    void write(const T& word) {
        if (empty()) {
            words_.clear();
            next_ = 0;
        }
        words_.push_back(word);
    }

    bool empty() const { return next_ == words_.size(); }
    std::size_t size() const { return words_.size() - next_; }
    const T& operator[](std::size_t index) const { return words_[next_ + index]; }

private:
    const char* name_;
    std::size_t next_ = 0;
    std::vector<T> words_;
};

}  // namespace hls

#endif  // FPGAFLOW_BOUNDED
#endif
