// Runs one launch: starts blocks, picks whose turn it is, ends at the first fault.
#include <algorithm>
#include <link.h>
#include "state.h"
#include "shadow.h"
#include "hooks.h"
#include "rmw.h"
#include "sync.h"

static void (*kernel)(void**);
static void** kernel_arguments;
static std::vector<Block> blocks;
static std::vector<uint32_t> order;     // of the grid's blocks
static size_t next_block;
static char* stacks = nullptr;
static size_t stacks_size = 0;
static char* static_shared = nullptr;
static size_t static_shared_bytes = 0;
static char* dynamic_shared = nullptr;
static Block* loaded = nullptr;         // whose shared memory lies in place

static void fiber_main()
{
    kernel(kernel_arguments);
    current->state = State::done;
    for (;;) give_up_turn();
}

// The library's thread-local segment, which the loader makes for a thread that first touches it.
static int find_shared(dl_phdr_info* library, size_t, void*)
{
    if (library->dlpi_addr != reinterpret_cast<uintptr_t>(__ehdr_start)) return 0;
    for (int i = 0; i < library->dlpi_phnum; i++)
        if (library->dlpi_phdr[i].p_type == PT_TLS) static_shared_bytes = library->dlpi_phdr[i].p_memsz;
    static_shared = static_cast<char*>(library->dlpi_tls_data);
    return 1;
}

static thread_local volatile char touched;

static void swap_shared(char* image, bool out)
{
    const size_t fixed = static_shared_bytes, dynamic = launch->dynamic_shared;
    memcpy(out ? image : static_shared, out ? static_shared : image, fixed);
    if (dynamic) memcpy(out ? image + fixed : dynamic_shared, out ? dynamic_shared : image + fixed, dynamic);
}

static void bring_in(Block& block)
{
    if (loaded == &block) return;
    if (loaded && loaded->live) swap_shared(loaded->shared.data(), true);
    swap_shared(block.shared.data(), false);
    loaded = &block;
}

static Index3 unravel(uint32_t number, const unsigned* shape)
{
    return {number % shape[0], number / shape[0] % shape[1], number / shape[0] / shape[1]};
}

static void start_thread(Block& block, unsigned number)
{
    Thread& t = block.threads[number];
    t = Thread{};
    t.stack = stacks + (static_cast<size_t>(block.slot) * threads_per_block + number) * STACK;
    t.block = &block;
    t.index = unravel(number, launch->block);
    t.block_index = unravel(block.number, launch->grid);
    t.number = number;
    t.lane = number % WARP;
    t.warp = number / WARP;
    t.global_number = block.number * threads_per_block + number;
    t.where = {"its start", 0};
    t.clock[t.lane] = 1;
    make_context(t.context, t.stack, STACK, fiber_main);
    block.warps[t.warp].present |= 1u << t.lane;
    block.warps[t.warp].alive |= 1u << t.lane;
}

static void start_block(Block& block, uint32_t number)
{
    const unsigned slot = block.slot;
    std::vector<Thread> threads = std::move(block.threads);
    block = Block{};
    block.slot = slot;
    block.threads = std::move(threads);
    block.live = true;
    block.number = number;
    block.generation = ++generations;
    block.alive = threads_per_block;
    block.threads.resize(threads_per_block);
    block.warps.resize((threads_per_block + WARP - 1) / WARP);
    block.shared.assign(static_shared_bytes + launch->dynamic_shared, static_cast<char>(0xCD));
    if (loaded == &block) loaded = nullptr;
    for (unsigned i = 0; i < threads_per_block; i++) start_thread(block, i);
}

static void run_thread(Thread& t)
{
    current = &t;
    switch_context(scheduler, t.context);
    current = nullptr;
    if (t.state == State::done && !failed) leave_block(t);
}

// One turn for some (in order: all) of the block's threads that can run.
static void run_turns(Block& block)
{
    static std::vector<Thread*> ready;
    ready.clear();
    for (Thread& t : block.threads)
        if (t.state == State::ready) ready.push_back(&t);
    if (ready.empty()) return note_deadlock(block);
    size_t turns = ready.size();
    if (launch->seed) {
        for (size_t i = ready.size(); i > 1; i--) std::swap(ready[i - 1], ready[draw() % i]);
        // Often few: a thread that runs far ahead of the others finds what barriers are missing.
        turns = 1 + draw() % turns;
    }
    for (size_t i = 0; i < turns && !failed; i++)
        if (ready[i]->state == State::ready) run_thread(*ready[i]);
}

static void prepare(const EmulatorLaunch* asked)
{
    launch = asked;
    const unsigned *g = launch->grid, *b = launch->block;
    const size_t count = static_cast<size_t>(g[0]) * g[1] * g[2];
    threads_per_block = b[0] * b[1] * b[2];
    blocks.assign(std::min<size_t>(launch->resident, count), Block());
    const size_t need = blocks.size() * threads_per_block * STACK;
    if (need > stacks_size) {
        if (stacks) munmap(stacks, stacks_size);
        stacks = static_cast<char*>(mmap(nullptr, need, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        stacks_size = need;
    }
    free(dynamic_shared);
    dynamic_shared = launch->dynamic_shared ? static_cast<char*>(aligned_alloc(128, (launch->dynamic_shared + 127) / 128 * 128)) : nullptr;
    touched = 1;
    dl_iterate_phdr(find_shared, nullptr);
    loaded = nullptr;
    failed = false;
    report.clear();
    accesses = switches = steps = 0;
    random_state = launch->seed * 6364136223846793005ull + 88172645463325252ull;
    preempt_below = launch->seed && launch->preempt ? (1ull << 32) / launch->preempt : 0;
    launch_generation = ++generations;
    regions.clear();
    for (unsigned i = 0; i < launch->array_count; i++)
        add_region(launch->arrays[i].data, launch->arrays[i].bytes, static_cast<int>(i), 1);
    add_region(static_shared, static_shared_bytes, -1, blocks.size());
    add_region(dynamic_shared, launch->dynamic_shared, -1, blocks.size());
    order.resize(count);
    for (size_t i = 0; i < count; i++) order[i] = static_cast<uint32_t>(i);
    if (launch->seed)
        for (size_t i = count; i > 1; i--) std::swap(order[i - 1], order[draw() % i]);
    next_block = 0;
}

extern "C" {
Index3 emulator_thread_index() { return current->index; }
Index3 emulator_block_index() { return current->block_index; }
Index3 emulator_block_size() { return {launch->block[0], launch->block[1], launch->block[2]}; }
Index3 emulator_grid_size() { return {launch->grid[0], launch->grid[1], launch->grid[2]}; }
unsigned emulator_lane() { return current->lane; }
void* emulator_dynamic_shared() { return dynamic_shared; }

__attribute__((visibility("default"))) int emulator_run(void (*function)(void**), void** arguments, const EmulatorLaunch* asked)
{
    kernel = function;
    kernel_arguments = arguments;
    prepare(asked);
    std::vector<Block*> live;
    for (unsigned slot = 0; slot < blocks.size(); slot++) {
        blocks[slot].slot = slot;
        start_block(blocks[slot], order[next_block++]);
        live.push_back(&blocks[slot]);
    }
    for (size_t turn = 0; !live.empty() && !failed; turn++) {
        const size_t pick = (launch->seed ? draw() : turn) % live.size();
        Block& block = *live[pick];
        bring_in(block);
        run_turns(block);
        if (block.alive || failed) continue;
        block.live = false;
        if (next_block < order.size()) start_block(block, order[next_block++]);
        else live.erase(live.begin() + pick);
    }
    return failed;
}

__attribute__((visibility("default"))) const char* emulator_report() { return report.c_str(); }

__attribute__((visibility("default"))) void emulator_statistics(uint64_t* out)
{
    out[0] = accesses;
    out[1] = switches;
    out[2] = steps;
}
}
