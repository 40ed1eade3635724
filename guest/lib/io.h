// Port I/O and memory-mapped I/O, one instruction per access: a compiler may not merge, split or
// drop them, because every one is an exit that somebody counts.
#pragma once
#include "types.h"

static inline void outb(u16 port, u8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory"); }
static inline void outw(u16 port, u16 v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory"); }
static inline void outl(u16 port, u32 v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory"); }

static inline u8 inb(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline u16 inw(u16 port)
{
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline u32 inl(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

// String forms. They return the advanced pointer, so that a case can check it.
static inline const void *outs8(u16 port, const void *p, size_t n)
{
    __asm__ volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(port) : "memory");
    return p;
}

static inline void *ins8(u16 port, void *p, size_t n)
{
    __asm__ volatile("rep insb" : "+D"(p), "+c"(n) : "d"(port) : "memory");
    return p;
}

// Plain MOVs with a register operand: any hypervisor decodes these.
#define MMIO(bits, mov, reg)                                                         \
    static inline u##bits mmio_read##bits(u64 addr)                                  \
    {                                                                                \
        u##bits v;                                                                   \
        __asm__ volatile(mov " (%1), %0" : reg(v) : "r"(addr) : "memory");           \
        return v;                                                                    \
    }                                                                                \
    static inline void mmio_write##bits(u64 addr, u##bits v)                         \
    {                                                                                \
        __asm__ volatile(mov " %0, (%1)" : : "r"(v), "r"(addr) : "memory");          \
    }
MMIO(8, "movb", "=q")
MMIO(16, "movw", "=r")
MMIO(32, "movl", "=r")
MMIO(64, "movq", "=r")
#undef MMIO
