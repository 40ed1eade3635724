#include "interrupts.h"

#include "cpu.h"
#include "exit.h"
#include "printf.h"
#include "ring3.h"

extern const u8 trap_stubs[]; // traps.S: 256 entries of TRAP_STUB_SIZE bytes
#define TRAP_STUB_SIZE 16

static struct {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_mid;
    u32 offset_high, reserved;
} __attribute__((packed)) idt[256];

static interrupt_fn handlers[256];

void interrupts_init(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(idt); i++) {
        u64 entry = (u64)trap_stubs + i * TRAP_STUB_SIZE;
        idt[i].offset_low = entry;
        idt[i].offset_mid = entry >> 16;
        idt[i].offset_high = entry >> 32;
        idt[i].selector = KERNEL_CS;
        idt[i].type = 0x8e; // present, DPL 0, 64-bit interrupt gate (SDM vol. 3, 6.14.1)
    }
    interrupts_load();
}

void interrupts_load(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) idtr = {sizeof(idt) - 1, (u64)idt};
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

void interrupt_set(unsigned vector, interrupt_fn fn)
{
    handlers[vector & 0xff] = fn;
}

static const char *name_of(u64 vector)
{
    static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF",  "#BR", "#UD", "#NM", "#DF", "",   "#TS",
                                        "#NP", "#SS", "#GP", "#PF", "", "#MF", "#AC", "#MC", "#XM"};
    return vector < ARRAY_SIZE(names) ? names[vector] : "interrupt";
}

_Noreturn static void die(const struct frame *f)
{
    printf("EXCEPTION: %s vector %lu error 0x%lx ring %lu\n", name_of(f->vector), f->vector, f->error, f->cs & 3);
    printf("  rip %016lx  cs  %04lx  rflags %08lx  cr2 %016lx\n", f->rip, f->cs, f->rflags, read_cr2());
    printf("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    printf("  rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    printf("  r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    printf("  r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
    debug_exit(EXIT_EXCEPTION);
}

void interrupt_dispatch(struct frame *frame)
{
    if (ring3_is_exit(frame))
        ring3_end(frame);
    if (ring3_waits(frame)) {
        ring3_sleep(frame);
        return;
    }
    if (!handlers[frame->vector])
        die(frame);
    handlers[frame->vector](frame);
}
