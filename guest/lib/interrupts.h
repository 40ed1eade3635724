// Interrupts and exceptions, handled in C.
#pragma once
#include "types.h"

// What traps.S pushes, then what the processor pushed (SDM vol. 3, 6.14.2).
struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, error; // error: 0 where the exception has none
    u64 rip, cs, rflags, rsp, ss;
};

enum { VECTOR_DE = 0, VECTOR_UD = 6, VECTOR_DF = 8, VECTOR_GP = 13, VECTOR_PF = 14 };

// A handler may change the frame: that is what the interrupted code goes on with.
typedef void (*interrupt_fn)(struct frame *frame);

// Makes the IDT and loads it. Called once by the start code.
void interrupts_init(void);

// Loads it on another processor.
void interrupts_load(void);

// NULL takes the handler away: an exception is then printed and ends the guest.
void interrupt_set(unsigned vector, interrupt_fn fn);

// The interrupted code ran in ring 3.
static inline bool from_ring3(const struct frame *frame) { return (frame->cs & 3) == 3; }

// Called by traps.S.
void interrupt_dispatch(struct frame *frame);
