// Barriers of a block and meetings of a warp's lanes.
#pragma once
#include "state.h"

static bool same(const Where& a, const Where& b) { return a.line == b.line && !strcmp(a.file, b.file); }

static void release_barrier(Block& block)
{
    block.result = block.predicates;
    block.arrived = block.predicates = 0;
    block.epoch++;
    for (Thread& t : block.threads)
        if (t.state == State::at_barrier) t.state = State::ready;
}

static void check_barrier(Block& block, const Thread& t)
{
    if (block.exited)
        fail("divergent barrier: " + name(t) + " is at " + name(t.where) + ", " + name(*block.exited) + " has exited");
    if (!block.arrived) block.first_arrived = &t;
    const Thread& first = *block.first_arrived;
    if (!same(first.where, t.where))
        fail("divergent barrier: " + name(first) + " is at " + name(first.where) + ", " + name(t) + " at " + name(t.where));
}

static int barrier_result(const Block& block, Barrier kind)
{
    if (kind == Barrier::any) return block.result > 0;
    if (kind == Barrier::all) return block.result == threads_per_block;
    return static_cast<int>(block.result);
}

// Lane masks: who is named must exist, be alive and come to the same call.
static void check_mask(const Thread& t, const Warp& warp, unsigned mask, Where where)
{
    const unsigned dead = mask & ~warp.alive;
    std::string why;
    if (!(mask >> t.lane & 1)) why = format("lacks the calling lane %u", t.lane);
    else if (dead) why = format("names lane %d, which ", __builtin_ctz(dead)) + (dead & warp.present ? "has exited" : "the block lacks");
    else return;
    fail(format("wrong mask: 0x%08x ", mask) + why + ", at " + name(where) + " by " + name(t));
}

static unsigned find_meeting(Warp& warp, Meeting kind, unsigned mask, Where where)
{
    unsigned free = warp.meetings.size();
    for (unsigned i = 0; i < warp.meetings.size(); i++) {
        Rendezvous& r = warp.meetings[i];
        if (!r.arrived && !r.unread) free = i;
        if (!r.arrived || r.mask != mask) continue;
        if (r.kind != kind || !same(r.where, where))
            fail("divergent warp: lanes of one mask are at " + name(r.where) + " and at " + name(where) + ", " + name(*current));
        return i;
    }
    if (free == warp.meetings.size()) warp.meetings.emplace_back();
    Rendezvous& r = warp.meetings[free];
    r.mask = mask;
    r.kind = kind;
    r.where = where;
    return free;
}

// What any of the lanes knew before, all know after.
static void join_clocks(Block& block, unsigned warp, unsigned mask)
{
    uint32_t joined[WARP] = {};
    Thread* lanes = &block.threads[warp * WARP];
    for (unsigned lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1)
            for (unsigned i = 0; i < WARP; i++) joined[i] = lanes[lane].clock[i] > joined[i] ? lanes[lane].clock[i] : joined[i];
    for (unsigned lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1) {
            memcpy(lanes[lane].clock, joined, sizeof joined);
            lanes[lane].clock[lane]++;
        }
}

static void complete_meeting(Block& block, unsigned warp, unsigned meeting)
{
    Rendezvous& r = block.warps[warp].meetings[meeting];
    for (unsigned lane = 0; lane < WARP; lane++)
        if (r.mask >> lane & 1) block.threads[warp * WARP + lane].state = State::ready;
    // The vote, match, shuffle and reduce functions order no memory; __syncwarp does.
    if (r.kind == Meeting::sync) join_clocks(block, warp, r.mask);
    r.unread = r.arrived;
    r.arrived = 0;
}

// A thread has returned from the kernel.
static void leave_block(Thread& t)
{
    Block& block = *t.block;
    Warp& warp = block.warps[t.warp];
    block.alive--;
    if (!block.exited) block.exited = &t;
    warp.alive &= ~(1u << t.lane);
    for (const Rendezvous& r : warp.meetings)
        if (r.arrived && (r.mask >> t.lane & 1))
            note(format("wrong mask: 0x%08x names lane %u, which has exited, at ", r.mask, t.lane) + name(r.where) + " by " +
                 name(block.threads[t.warp * WARP + __builtin_ctz(r.arrived)]));
    if (block.arrived) {
        const Thread& waiting = *block.first_arrived;
        note("divergent barrier: " + name(waiting) + " is at " + name(waiting.where) + ", " + name(t) + " has exited");
    }
}

// Nobody in the block can run, and not all are done.
static void note_deadlock(const Block& block)
{
    std::string text;
    const Thread* last = nullptr;
    for (const Thread& t : block.threads) {
        if (t.state == State::done || (last && same(last->where, t.where))) continue;
        text += (last ? ", " : "deadlock: ") + name(t) + " waits at " + name(t.where);
        last = &t;
        if (text.size() > 400) break;
    }
    note(text);
}

extern "C" int emulator_barrier(Barrier kind, int predicate, Where where)
{
    Thread& t = *current;
    Block& block = *t.block;
    t.where = where;
    check_barrier(block, t);
    t.state = State::at_barrier;
    block.predicates += predicate != 0;
    if (++block.arrived == block.alive) release_barrier(block);
    give_up_turn();
    return barrier_result(block, kind);
}

extern "C" const uint64_t* emulator_meet(Meeting kind, unsigned mask, uint64_t value, Where where)
{
    Thread& t = *current;
    Block& block = *t.block;
    Warp& warp = block.warps[t.warp];
    t.where = where;
    check_mask(t, warp, mask, where);
    t.meeting = find_meeting(warp, kind, mask, where);
    Rendezvous* r = &warp.meetings[t.meeting];
    r->values[t.lane] = value;
    r->arrived |= 1u << t.lane;
    if (r->arrived == mask) {
        complete_meeting(block, t.warp, t.meeting);
        if (launch->seed) give_up_turn();
    } else {
        t.state = State::at_meeting;
        give_up_turn();
    }
    r = &warp.meetings[t.meeting];      // the list may have grown
    r->unread &= ~(1u << t.lane);
    return r->values;
}
