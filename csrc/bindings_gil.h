// Releases the GIL for a block, also of a daemon thread that outlives the interpreter.
//
// When the interpreter ends, Python ends a daemon thread that asks for the GIL by a forced unwind. In a
// destructor that aborts the process. Here such a thread sleeps until the process is gone.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>

namespace selfie::border {

class ReleasedGil {
  public:
    ReleasedGil() : state_(PyEval_SaveThread()) {}
    ReleasedGil(const ReleasedGil&) = delete;
    ReleasedGil& operator=(const ReleasedGil&) = delete;
    ~ReleasedGil() {
        ++returning_;
        if (exiting_ && std::this_thread::get_id() != exiting_thread_) {
            --returning_;
            for (;;) ::pause();
        }
        PyEval_RestoreThread(state_);
        --returning_;
    }

    // Called with the GIL by the thread that ends the interpreter, before it does: from here on other threads
    // stay outside, and those on their way in are let in.
    static void exit() {
        exiting_thread_ = std::this_thread::get_id();
        exiting_ = true;
        std::set_terminate([] {  // torch asks for the GIL in a tensor's destructor, which may not unwind
            while (std::this_thread::get_id() != exiting_thread_) ::pause();
            std::abort();
        });
        PyThreadState* const state = PyEval_SaveThread();
        for (int waited = 0; returning_ > 0 && waited < 1000; ++waited)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        PyEval_RestoreThread(state);
    }

  private:
    inline static std::atomic<bool> exiting_{false};
    inline static std::atomic<int> returning_{0};  // threads that wait for the GIL
    inline static std::thread::id exiting_thread_;

    PyThreadState* state_;
};

// Looks for Ctrl-C now and then in a block without the GIL; throws what the signal's handler raises.
class SignalPoll {
  public:
    void operator()() {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < std::chrono::milliseconds(200)) return;
        last_ = now;
        const pybind11::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
    }

  private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace selfie::border
