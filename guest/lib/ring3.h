// Code in ring 3, on any host and fast on one that emulates ring 0.
#pragma once
#include "interrupts.h"
#include "types.h"

// Runs fn(arg) at CPL 3 and returns its result to ring 0. It may use ports that the TSS allows and
// any mapped memory; interrupts stay as they were. Interrupts and exceptions meanwhile run in
// ring 0. One at a time: a handler must not call it while another call is running.
u64 ring3_call(u64 (*fn)(u64 arg), u64 arg);

// The same on another processor, at the same time as others.
u64 ring3_call_on(u64 (*fn)(u64 arg), u64 arg, unsigned cpu);

// For ring 3, which may not HLT: sleeps in ring 0 until an interrupt, unless *counter is no longer `seen`.
// Turns interrupts on meanwhile. Look again what happened: any interrupt ends it.
void ring3_wait(const volatile u32 *counter, u32 seen);

// That call came; ring 0 does what it asks for.
bool ring3_waits(const struct frame *frame);
void ring3_sleep(struct frame *frame);

// The frame is the return from ring 3. An UD2 at a known address is the way back: it works where
// INT n and SYSCALL do not (a software KVM may leave SYSCALL in ring 3 and turn INT n into #UD).
bool ring3_is_exit(const struct frame *frame);

// Ends this processor's running ring3_call; its result is in the frame.
_Noreturn void ring3_end(const struct frame *frame);
