// SPDX-License-Identifier: Apache-2.0
// The clock loop of the fast simulator: drives a core's streams, logs what it does. Compiled together with the verilated
// model; sim/fast/library.py puts the list PROBES(X) of the design in front and calls the functions below.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <type_traits>
#include <vector>

#include "Vtop.h"
#include "Vtop___024root.h"
#if VM_TRACE
#include "verilated_fst_c.h"
#endif

#define API extern "C"

double sc_time_stamp() { return 0; }

namespace {

enum Until : int { CYCLES, INPUT_TAKEN, OUTPUTS, FRAMES };
enum Outcome : int { BUDGET_USED, REACHED, DEADLOCK };

template <typename T>
void append(std::vector<uint32_t>& out, const T& value) {
    if constexpr (std::is_integral_v<T>) {
        out.push_back(static_cast<uint32_t>(value));
        if constexpr (sizeof(T) == 8) out.push_back(static_cast<uint32_t>(value >> 32));
    } else {
        for (std::size_t i = 0; i < sizeof(T) / 4; ++i) out.push_back(value[i]);
    }
}

struct Log {
    bool on = false;
    std::vector<uint64_t> cycles;
    std::vector<uint32_t> words;
};

struct Coin {  // xorshift64*
    uint64_t state = 1;
    uint64_t threshold = 0;
    void set(double probability, uint64_t seed) {
        threshold = probability >= 1 ? UINT64_MAX : static_cast<uint64_t>(probability * 18446744073709551616.0);
        state = seed * 0x9E3779B97F4A7C15ULL + 0x123456789ABCDEFULL;
        if (!state) state = 1;
    }
    bool heads() {
        if (!threshold) return false;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545F4914F6CDD1DULL < threshold || threshold == UINT64_MAX;
    }
};

}  // namespace

#define COUNT(name, valid, data) +1
constexpr int LOGS = 2 PROBES(COUNT);  // 0: busy, 1: frames_done, then the probes in order

struct State {  // mirrored in sim/fast/library.py
    uint64_t cycle;         // clock edges since reset
    uint64_t pending;       // input words not yet taken
    uint64_t last_taken;    // cycle of the last input word taken
    uint64_t outputs;       // output words so far
    uint64_t progress;      // cycle of the last event of any kind
    uint64_t idle_limit;    // cycles without any event that count as a deadlock
    uint32_t run, seq_len;  // values of these inputs
    uint32_t busy, frames_done, errors, load_crc;
};

struct Fast {
    State state{};
    std::unique_ptr<VerilatedContext> context = std::make_unique<VerilatedContext>();
    std::unique_ptr<Vtop> top = std::make_unique<Vtop>(context.get(), "top");
    std::deque<uint64_t> input;
    Log output[1];
    std::vector<uint8_t> output_last;
    Log logs[LOGS];
    Coin input_stall, output_stall;
    bool offered = false;
#if VM_TRACE
    VerilatedFstC waves;
#endif

    void dump(int phase) {
#if VM_TRACE
        if (waves.isOpen()) waves.dump(context->time() + phase);
#else
        (void)phase;
#endif
    }

    void half_cycles(bool reset) {  // one clock edge; inputs must be set
        top->rst = reset;
        top->clk = 0;
        top->eval();
        dump(5);
        if (!reset) observe();
        context->timeInc(10);
        top->clk = 1;
        top->eval();
        dump(0);
    }

    void observe() {  // everything that this clock edge sees
        const uint64_t now = state.cycle;
        bool event = false;
        if (top->s_axis_tvalid && top->s_axis_tready) {
            input.pop_front();
            offered = false;
            state.last_taken = now;
            event = true;
        }
        if (top->m_axis_tvalid && top->m_axis_tready) {
            output->cycles.push_back(now);
            append(output->words, top->m_axis_tdata);
            output_last.push_back(top->m_axis_tlast);
            event = true;
        }
        const auto change = [&](Log& log, uint32_t& before, uint32_t value) {
            if (value == before) return;
            before = value;
            event = true;
            log.cycles.push_back(now);
            log.words.push_back(value);
        };
        change(logs[0], state.busy, top->busy);
        change(logs[1], state.frames_done, top->frames_done);
        state.errors = top->errors;
        state.load_crc = top->load_crc;
        Log* log = logs + 2;
#define OBSERVE(name, valid, data)                \
    if (top->rootp->valid) {                      \
        event = true;                             \
        if (log->on) {                            \
            log->cycles.push_back(now);           \
            append(log->words, top->rootp->data); \
        }                                         \
    }                                             \
    ++log;
        PROBES(OBSERVE)
        (void)log;
        if (event) state.progress = now;
        state.cycle = now + 1;
        state.pending = input.size();
        state.outputs = output->cycles.size();
    }

    bool reached(int until, uint64_t target) const {
        switch (until) {
        case INPUT_TAKEN: return input.empty();
        case OUTPUTS: return state.outputs >= target;
        case FRAMES: return state.frames_done >= target;
        default: return false;
        }
    }

    int run(uint64_t cycles, int until, uint64_t target) {
        for (; !reached(until, target); --cycles) {
            if (!cycles) return BUDGET_USED;
            if (until != CYCLES && state.cycle - state.progress > state.idle_limit) return DEADLOCK;
            if (!offered && !input.empty() && !input_stall.heads()) offered = true;
            top->s_axis_tvalid = offered;
            top->s_axis_tdata = offered ? input.front() : 0xDEADDEADDEADDEADULL;
            top->m_axis_tready = !output_stall.heads();
            top->run = state.run;
            top->seq_len = state.seq_len;
            half_cycles(false);
        }
        return REACHED;
    }

    void reset() {
        top->s_axis_tvalid = top->m_axis_tready = top->run = top->clear_errors = top->clear_crc = 0;
        for (int i = 0; i < 4; ++i) half_cycles(true);
        for (Log& log : logs) log.cycles.clear(), log.words.clear();
        output->cycles.clear(), output->words.clear(), output_last.clear();
        input.clear();
        offered = false;
        const uint64_t limit = state.idle_limit;
        state = State{};
        state.idle_limit = limit;
    }

    const Log& log(int which) const { return which < 0 ? *output : logs[which]; }
};

API Fast* fast_create(const char* waves) {
    auto* fast = new Fast;
#if VM_TRACE
    if (*waves) {
        fast->context->traceEverOn(true);
        fast->top->trace(&fast->waves, 99);
        fast->waves.open(waves);
    }
#else
    (void)waves;
#endif
    return fast;
}

API void fast_destroy(Fast* fast) {
    fast->top->final();
#if VM_TRACE
    if (fast->waves.isOpen()) fast->waves.close();
#endif
    delete fast;
}

API State* fast_state(Fast* fast) { return &fast->state; }

API void fast_reset(Fast* fast) { fast->reset(); }

API void fast_stall(Fast* fast, double input, double output, uint64_t seed) {
    fast->input_stall.set(input, 2 * seed);
    fast->output_stall.set(output, 2 * seed + 1);
}

API void fast_push(Fast* fast, const uint64_t* words, uint64_t count) {
    fast->input.insert(fast->input.end(), words, words + count);
    fast->state.pending = fast->input.size();
}

API int fast_run(Fast* fast, uint64_t cycles, int until, uint64_t target) { return fast->run(cycles, until, target); }

API void fast_enable(Fast* fast, int log, int on) { fast->logs[log].on = on; }

// Log -1 is the output stream. Copies `count` entries from entry `from` on, `words` (32 bits each) to an entry.
API uint64_t fast_log_size(Fast* fast, int log) { return fast->log(log).cycles.size(); }

API void fast_log_copy(Fast* fast, int log, uint64_t from, uint64_t count, uint64_t words, uint64_t* cycle, uint32_t* data) {
    const Log& entries = fast->log(log);
    std::copy_n(entries.cycles.begin() + from, count, cycle);
    std::copy_n(entries.words.begin() + from * words, count * words, data);
}

API void fast_log_last(Fast* fast, uint64_t from, uint64_t count, uint8_t* last) {
    std::copy_n(fast->output_last.begin() + from, count, last);
}
