// Memory checks: bounds, uninitialised shared memory, data races.
//
// Every 4-byte granule of an array or of shared memory has a cell that remembers its last few
// accesses. Two accesses by different threads race when one writes, at least one is neither
// atomic nor volatile, and no barrier (__syncthreads, __syncwarp) orders them. Blocks of one
// launch are never ordered, so what they pass to each other must be atomic or volatile.
#pragma once
#include "state.h"

enum class Access : uint8_t { none, read, write, atomic, volatile_read, volatile_write };

static const char* const access_names[] = {"", "read", "write", "atomic", "volatile read", "volatile write"};

struct Event {
    uint32_t thread, epoch, clock, pc;
    Access access;
    uint8_t bytes;                      // mask within the granule
};

static constexpr int EVENTS = 4;

struct Cell {
    uint32_t generation;                // other than its region's: nothing is known
    uint8_t initialised;                // mask of bytes, for shared memory
    uint8_t next;                       // the event to give up when all are of use
    Event events[EVENTS];
};

struct Region {
    const char* begin;
    const char* end;
    size_t first_cell, cells_per_block; // shared memory has cells for each resident block
    int argument;                       // of the launch; -1 is shared memory
};

extern char __ehdr_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));

static std::vector<Cell> cells;
static std::vector<Region> regions;
static uint32_t generations = 0, launch_generation = 0;

// A program counter as the report spells it; Python puts the source line there.
static uint32_t image_offset(const void* pc) { return static_cast<uint32_t>(static_cast<const char*>(pc) - __ehdr_start); }

static std::string spell(uint32_t offset) { return format("{pc:%x}", offset); }

static bool writes(Access a) { return a == Access::write || a == Access::atomic || a == Access::volatile_write; }

static bool plain(Access a) { return a == Access::read || a == Access::write; }

static bool conflict(Access a, Access b)
{
    if (!writes(a) && !writes(b)) return false;
    if (plain(a) || plain(b)) return true;
    // A volatile store between an atomic's read and write is lost, or undoes it.
    return (a == Access::atomic && b == Access::volatile_write) || (a == Access::volatile_write && b == Access::atomic);
}

// Is `event` ordered before everything that the current thread does from now on?
static bool ordered(const Event& event)
{
    const Thread& t = *current;
    if (event.thread == t.global_number) return true;
    if (event.thread / threads_per_block != t.block->number) return false;
    if (event.epoch != t.block->epoch) return true;
    const unsigned number = event.thread % threads_per_block;
    return number / WARP == t.warp && t.clock[number % WARP] >= event.clock;
}

static std::string name_of_global_number(uint32_t number)
{
    const unsigned *g = launch->grid, *b = launch->block;
    const uint32_t block = number / threads_per_block, thread = number % threads_per_block;
    return format("block (%u, %u, %u) thread (%u, %u, %u)", block % g[0], block / g[0] % g[1], block / g[0] / g[1],
                  thread % b[0], thread / b[0] % b[1], thread / b[0] / b[1]);
}

static std::string place(const Region& region, const char* address)
{
    const long long offset = address - region.begin;
    return region.argument < 0 ? format("byte %lld of shared memory", offset)
                               : format("byte %lld of argument %d", offset, region.argument);
}

[[noreturn]] static void fail_race(const Event& before, const Event& now, const Region& region, const char* address)
{
    fail(format("data race: %s at ", access_names[int(now.access)]) + spell(now.pc) + " by " + name(*current) + " and " +
         access_names[int(before.access)] + " at " + spell(before.pc) + " by " + name_of_global_number(before.thread) +
         ", unordered, on " + place(region, address));
}

// Whatever races with `event` races with `now` as well.
static bool covers(Access now, Access event)
{
    return now == event || (plain(now) && (writes(now) || !writes(event)));
}

static void remember(Cell& cell, const Event& now)
{
    for (Event& event : cell.events)
        if (event.access == Access::none ||
            (event.thread == now.thread && event.access == now.access && event.bytes == now.bytes)) {
            event = now;
            return;
        }
    for (Event& event : cell.events)
        if (!(event.bytes & ~now.bytes) && covers(now.access, event.access) && ordered(event)) {
            event = now;
            return;
        }
    // All are still of use. Reads go first: there may be many, of one write.
    for (int tried = 0; tried < EVENTS; tried++) {
        Event& event = cell.events[(cell.next + tried) % EVENTS];
        if (tried + 1 < EVENTS && writes(event.access)) continue;
        event = now;
        cell.next = (cell.next + tried + 1) % EVENTS;
        return;
    }
}

static void check_granule(const Region& region, const char* address, uint8_t bytes, Access access, uint32_t pc)
{
    const uint32_t generation = region.argument < 0 ? current->block->generation : launch_generation;
    Cell& cell = cells[region.first_cell + current->block->slot * region.cells_per_block + (address - region.begin) / 4];
    if (cell.generation != generation) {
        cell = Cell{};
        cell.generation = generation;
    }
    if (region.argument < 0) {
        if (access != Access::write && access != Access::volatile_write && (bytes & ~cell.initialised))
            fail(format("uninitialised shared memory: %s at ", access_names[int(access)]) + spell(pc) + " by " +
                 name(*current) + " of " + place(region, address));
        if (writes(access)) cell.initialised |= bytes;
    }
    const Event now{current->global_number, current->block->epoch, current->clock[current->lane], pc, access, bytes};
    for (const Event& event : cell.events)
        if (event.access != Access::none && (event.bytes & bytes) && conflict(event.access, access) && !ordered(event))
            fail_race(event, now, region, address);
    remember(cell, now);
}

[[noreturn]] static void fail_bounds(const char* address, size_t size, Access access, uint32_t pc)
{
    std::string nearest;
    long long best = 1 << 20;
    for (const Region& region : regions) {
        const long long past = address + size - region.end, before = region.begin - address;
        const long long distance = past > before ? past : before;
        if (distance >= best) continue;
        best = distance;
        const std::string what = region.argument < 0 ? "shared memory" : format("argument %d", region.argument);
        nearest = past > before ? format(", %lld bytes past the end of ", past) + what
                                : format(", %lld bytes before ", before) + what;
    }
    fail(format("out of bounds: %s of %zu bytes at ", access_names[int(access)], size) + spell(pc) + " by " +
         name(*current) + nearest);
}

static void check(const void* pointer, size_t size, Access access, const void* pc)
{
    if (!current) return;
    const char* address = static_cast<const char*>(pointer);
    if (static_cast<size_t>(address - current->stack) < STACK) return;      // the thread's own variables
    accesses++;
    // Before the access, so that cells see the order in which things happen.
    if (plain(access)) maybe_preempt();
    else let_others_in();
    for (const Region& region : regions) {
        if (address < region.begin || address + size > region.end) continue;
        const char* end = address + size;
        while (address < end) {
            const unsigned first = (address - region.begin) & 3;
            const unsigned count = end - address < 4 - first ? end - address : 4 - first;
            check_granule(region, address, ((1u << count) - 1) << first, access, image_offset(pc));
            address += count;
        }
        return;
    }
    if (!writes(access) && address >= __ehdr_start && address + size <= _end) return;       // __constant__
    fail_bounds(address, size, access, image_offset(pc));
}

static void add_region(const char* begin, size_t bytes, int argument, unsigned copies)
{
    static size_t used;
    if (regions.empty()) used = 0;
    const size_t count = (bytes + 3) / 4;
    regions.push_back({begin, begin + bytes, used, copies > 1 ? count : 0, argument});
    used += count * copies;
    if (used > cells.size()) cells.resize(used);
}
