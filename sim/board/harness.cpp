// SPDX-License-Identifier: Apache-2.0
// The clock loop of the simulated board: a serial line, bit by bit, on the pins rx and tx. Compiled together with the
// verilated model; sim/board/__init__.py calls the functions below.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>

#include "Vtop.h"

#define API extern "C"

double sc_time_stamp() { return 0; }

namespace {

constexpr uint64_t ONE = 1 << 16;  // times are fixed-point clock cycles

// What the host's UART sends: start bit, eight data bits, stop bit. Bit 8 of a byte makes its stop bit low.
struct Sender {
    uint64_t period = 0, left = 0;
    unsigned bits = 0, count = 0;
    std::deque<uint16_t> queue;

    bool level() {
        if (left < ONE) {
            if (!count) {
                if (queue.empty()) return true;
                bits = (queue.front() & 0xFF) << 1 | (queue.front() & 0x100 ? 0 : 0x200);
                queue.pop_front();
                count = 10;
                left = 0;
            }
            level_ = bits & 1;
            bits >>= 1;
            --count;
            left += period;
        }
        left -= ONE;
        return level_;
    }
    bool idle() const { return queue.empty() && !count && left < ONE; }

private:
    bool level_ = true;
};

// What the host's UART receives, sampled at the middle of each bit; bytes without a stop bit are lost.
struct Receiver {
    uint64_t period = 0, left = 0;
    unsigned bits = 0, count = 0;
    std::deque<uint8_t> queue;

    void sample(bool level) {
        if (!count) {
            if (level) return;
            count = 10;
            left = period / 2;
        }
        if (left >= ONE) {
            left -= ONE;
            return;
        }
        left += period - ONE;
        bits = bits >> 1 | static_cast<unsigned>(level) << 9;
        if (!--count && level && !(bits & 1)) queue.push_back(bits >> 1);
    }
};

}  // namespace

struct State {  // mirrored in sim/board/__init__.py
    uint64_t cycle;     // clock cycles since the beginning
    uint64_t sending;   // bytes to the board not yet begun
    uint64_t received;  // bytes from the board not yet taken
    uint64_t active;    // the last cycle in which either line was in use
    uint32_t leds;
};

struct Board {
    State state{};
    std::unique_ptr<VerilatedContext> context = std::make_unique<VerilatedContext>();
    std::unique_ptr<Vtop> top = std::make_unique<Vtop>(context.get(), "top");
    Sender to_board;
    Receiver from_board;

    void cycle(bool reset) {
        top->rst = reset;
        top->rx = to_board.level();
        top->clk = 0;
        top->eval();
        from_board.sample(top->tx);
        if (!to_board.idle() || from_board.count) state.active = state.cycle;
        top->clk = 1;
        top->eval();
        ++state.cycle;
    }

    void run(uint64_t cycles, uint64_t until) {
        for (; cycles && from_board.queue.size() < until; --cycles) cycle(false);
        tell();
    }

    void reset(uint64_t cycles) {
        for (; cycles; --cycles) cycle(true);
        tell();
    }

    void tell() {
        state.sending = to_board.queue.size();
        state.received = from_board.queue.size();
        state.leds = top->leds;
    }
};

API Board* board_create(double cycles_per_bit) {
    auto* board = new Board;
    board->to_board.period = board->from_board.period = static_cast<uint64_t>(cycles_per_bit * ONE);
    return board;
}

API void board_destroy(Board* board) {
    board->top->final();
    delete board;
}

API State* board_state(Board* board) { return &board->state; }

API void board_reset(Board* board, uint64_t cycles) { board->reset(cycles); }

API void board_send(Board* board, const uint16_t* bytes, uint64_t count) {
    board->to_board.queue.insert(board->to_board.queue.end(), bytes, bytes + count);
    board->tell();
}

// Forget what either line has queued; a byte under way goes on.
API void board_drop(Board* board) {
    board->to_board.queue.clear();
    board->from_board.queue.clear();
    board->tell();
}

API void board_run(Board* board, uint64_t cycles, uint64_t until) { board->run(cycles, until); }

API void board_take(Board* board, uint8_t* bytes, uint64_t count) {
    auto& queue = board->from_board.queue;
    std::copy_n(queue.begin(), count, bytes);
    queue.erase(queue.begin(), queue.begin() + count);
    board->tell();
}
