// hls::stream with the FIFO's depth, for the C simulation with one thread a unit: what waits in hardware waits here.
// The last thread that would have to wait knows that all others do: a deadlock, which ends the run and is described.
#ifndef FPGAFLOW_SIM_BOUNDED_STREAM_HPP
#define FPGAFLOW_SIM_BOUNDED_STREAM_HPP

#include "simulation.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace fpgaflow {
namespace simulation {

// One end of a stream: the thread there, when it waits, and what for.
struct Waiter {
    bool waits = false;
    std::condition_variable changed;
};

// All threads of a run; every change of a stream holds `mutex`.
struct Crew {
    std::mutex mutex;
    int alive = 1;  // the calling thread
    int waiting = 0;
    std::string failure;
    std::map<const Waiter*, std::string> reasons;
    std::vector<std::thread> threads;

    void fail(const std::string& what) {
        if (failure.empty()) {
            failure = what;
        }
        for (const auto& waiter : reasons) {
            const_cast<Waiter*>(waiter.first)->changed.notify_all();
        }
    }

    void look_for_deadlock() {
        if (waiting == alive && alive > 0 && failure.empty()) {
            std::string what = "deadlock: ";
            for (const auto& waiter : reasons) {
                what += (what.size() > 10 ? ", " : "") + waiter.second;
            }
            fail(what);
        }
    }

    void wait(std::unique_lock<std::mutex>& lock, Waiter& waiter, const std::string& reason) {
        waiter.waits = true;
        waiting++;
        reasons[&waiter] = reason;
        look_for_deadlock();
        waiter.changed.wait(lock, [&] { return !waiter.waits || !failure.empty(); });
        if (!failure.empty()) {
            throw std::runtime_error(failure);
        }
    }

    void wake(Waiter& waiter) {
        if (waiter.waits) {
            waiter.waits = false;
            waiting--;
            reasons.erase(&waiter);
            waiter.changed.notify_one();
        }
    }

    void leave() {
        alive--;
        look_for_deadlock();
    }
};

extern thread_local Crew* crew;
extern thread_local std::map<std::string, std::size_t> depths;  // of the streams that the next run makes; others have 2

inline void perform(const std::function<void()>& task) {
    std::string failure;
    try {
        task();
    } catch (const std::exception& error) {
        failure = error.what();
    }
    const std::lock_guard<std::mutex> lock(crew->mutex);
    if (!failure.empty()) {
        crew->fail(failure);
    }
    crew->leave();
}

inline void start(const std::function<void()>& task) {
    Crew* const own = crew;
    std::uint64_t* const counters = cycles;
    {
        const std::lock_guard<std::mutex> lock(own->mutex);
        own->alive++;
    }
    own->threads.emplace_back([own, counters, task] {
        crew = own;
        cycles = counters;
        perform(task);
    });
}

inline void finish(const std::function<void()>& task) {
    perform(task);
    for (auto& thread : crew->threads) {
        thread.join();
    }
    if (!crew->failure.empty()) {
        stop("one thread a unit", crew->failure.c_str());
    }
}

}  // namespace simulation
}  // namespace fpgaflow

// The calls of the top function: each one a thread, the last one the thread that called.
#define FPGAFLOW_TASK(call) fpgaflow::simulation::start([&] { call; })
#define FPGAFLOW_LAST_TASK(call) fpgaflow::simulation::finish([&] { call; })

namespace hls {

template <class T>
class stream {
public:
    explicit stream(const char* name = "stream") : name_(name) {
        const auto found = fpgaflow::simulation::depths.find(name);
        depth_ = found == fpgaflow::simulation::depths.end() ? 2 : found->second;
    }
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    ~stream() {
        if (!words_.empty()) {
            fpgaflow::simulation::report("words are left over in stream", name_);
        }
    }

    T read() {
        auto& crew = *fpgaflow::simulation::crew;
        std::unique_lock<std::mutex> lock(crew.mutex);
        if (words_.empty()) {
            crew.wait(lock, reader_, std::string("'") + name_ + "' is empty");
        }
        const T word = words_.front();
        words_.pop_front();
        crew.wake(writer_);
        return word;
    }

    void write(const T& word) {
        auto& crew = *fpgaflow::simulation::crew;
        std::unique_lock<std::mutex> lock(crew.mutex);
        if (words_.size() >= depth_) {
            crew.wait(lock, writer_, std::string("'") + name_ + "' (depth " + std::to_string(depth_) + ") is full");
        }
        words_.push_back(word);
        crew.wake(reader_);
    }

private:
    const char* name_;
    std::size_t depth_;
    std::deque<T> words_;
    fpgaflow::simulation::Waiter reader_, writer_;
};

}  // namespace hls

#endif
