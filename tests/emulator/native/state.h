// Threads, warps and blocks of the running launch, and how a thread gives up its turn.
#pragma once
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>
#include <sys/mman.h>
#include "fiber.h"
#include "interface.h"

static constexpr size_t STACK = 64 * 1024;
static constexpr size_t STACK_RESERVE = 16 * 1024;      // for reporting that the rest is used up
static constexpr unsigned WARP = 32;

enum class State : uint8_t { ready, at_barrier, at_meeting, done };

struct Block;

struct Thread {
    Context context;
    char* stack;
    Block* block;
    Index3 index, block_index;
    unsigned number, lane, warp;        // number: within the block
    uint32_t global_number;             // within the launch
    State state;
    Where where;                        // of the barrier or meeting it waits at, or came to last
    uint64_t steps;                     // basic blocks run
    unsigned polls;                     // volatile and atomic accesses
    unsigned meeting;                   // which of its warp's meetings it waits in
    uint32_t clock[WARP];               // per lane of its warp: the last __syncwarp it knows of
};

// Lanes of one warp on their way to one warp function.
struct Rendezvous {
    unsigned mask = 0, arrived = 0, unread = 0;
    Meeting kind;
    Where where;
    uint64_t values[WARP];
};

struct Warp {
    unsigned present = 0, alive = 0;    // lanes that the block has; those that have not exited
    std::vector<Rendezvous> meetings;
};

struct Block {
    bool live = false;
    unsigned slot = 0;                  // among the resident ones
    uint32_t number = 0;
    uint32_t generation = 0;            // of its shared memory's shadow
    unsigned alive = 0, arrived = 0, predicates = 0, result = 0;
    uint32_t epoch = 0;                 // barriers passed
    const Thread* first_arrived = nullptr;      // at the barrier
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<char> shared;           // its shared memory while another block runs
    const Thread* exited = nullptr;     // the first thread to have exited
};

static Thread* current = nullptr;       // null while the scheduler runs
static Context scheduler;
static const EmulatorLaunch* launch = nullptr;
static unsigned threads_per_block = 0;
static std::string report;
static bool failed = false;
static uint64_t switches = 0, accesses = 0, steps = 0;
static uint64_t random_state = 1;
static uint64_t preempt_below = 0;      // a draw below this preempts; 0 never

static inline uint64_t draw()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));
static std::string format(const char* pattern, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, pattern);
    vsnprintf(text, sizeof text, pattern, arguments);
    va_end(arguments);
    return text;
}

static std::string name(const Thread& t)
{
    return format("block (%u, %u, %u) thread (%u, %u, %u)", t.block_index.x, t.block_index.y,
                  t.block_index.z, t.index.x, t.index.y, t.index.z);
}

static std::string name(const Where& where) { return format("%s:%d", where.file, where.line); }

// Reports `text` (the first one counts) without leaving the caller.
static void note(const std::string& text)
{
    if (!failed) report = text;
    failed = true;
}

static inline void give_up_turn()
{
    switches++;
    switch_context(current->context, scheduler);
}

// Ends the launch: the calling fiber never resumes, nor does any other.
[[noreturn]] static void fail(const std::string& text)
{
    note(text);
    current->state = State::done;
    for (;;) give_up_turn();
}

static inline void maybe_preempt()
{
    if (preempt_below && (draw() >> 32) < preempt_below) give_up_turn();
}

// A loop that waits for another thread polls a volatile or atomic word: also the schedule that
// never preempts must let the other one run.
static inline void let_others_in()
{
    if (++current->polls % 32 == 0) give_up_turn();
    else maybe_preempt();
}
