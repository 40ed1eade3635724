// What one exit costs, seen from the guest.
//
//   BENCH <ring> <op> <iterations> <tsc cycles>      one line per measurement
//
// Command line, all optional:
//   iters=2000   accesses per measurement, rounded up to a multiple of UNROLL
//   passes=5     each pass measures every operation in every ring once, so that noise spreads evenly
//   ops=LIST     of pio_write, pio_read, mmio_write, mmio_read, kick; default: all but kick
//   rings=LIST   of 0, 3; default: both
//   kick=1       adds kick to the default
#include "cmdline.h"
#include "cpu.h"
#include "exit.h"
#include "printf.h"
#include "ring3.h"
#include "string.h"

// QEMU's pc-testdev answers this port and this page; a monitor may put its own test device there.
#define TEST_PORT 0xe0
#define TEST_MMIO 0xff000000u
// A 32-bit write here is what the monitor binds an ioeventfd to.
#define KICK_PORT 0x5e8

// Loop control is two instructions per UNROLL accesses: it must not count where each instruction
// of ring 0 is emulated and costs a tenth of an exit.
#define UNROLL 10

// The first instruction of the image: marks the start of the guest for whoever measures it.
__asm__(".pushsection .text.start, \"ax\"\n"
        ".globl bench_start\n"
        "bench_start:\n"
        "    movb $0xff, %al\n"
        "    outb %al, $0x80\n"
        "    jmp _start\n"
        ".popsection");

// Each runs n accesses, a multiple of UNROLL, and returns the cycles they took.
#define TIMED(name, access, ...)                                                                  \
    static u64 name(u64 n)                                                                        \
    {                                                                                             \
        u64 turns = n / UNROLL;                                                                   \
        u64 start = rdtsc();                                                                      \
        __asm__ volatile("1: .rept 10\n\t" access "\n\t.endr\n\tdecq %0; jnz 1b"                  \
                         : "+r"(turns)                                                            \
                         : __VA_ARGS__                                                            \
                         : "rax", "memory");                                                      \
        return rdtsc() - start;                                                                   \
    }
TIMED(pio_write, "outb %%al, %w1", "d"(TEST_PORT))
TIMED(pio_read, "inb %w1, %%al", "d"(TEST_PORT))
TIMED(mmio_write, "movl %%eax, (%1)", "r"((u64)TEST_MMIO))
TIMED(mmio_read, "movl (%1), %%eax", "r"((u64)TEST_MMIO))
TIMED(kick, "outl %%eax, %w1", "d"(KICK_PORT))

static const struct {
    const char *name;
    u64 (*run)(u64 n);
} ops[] = {
    {"pio_write", pio_write}, {"pio_read", pio_read}, {"mmio_write", mmio_write}, {"mmio_read", mmio_read}, {"kick", kick},
};

// list is comma-separated.
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);

    while (*list) {
        const char *start = list;
        while (*list && *list != ',')
            list++;
        if ((size_t)(list - start) == n && !memcmp(start, word, n))
            return true;
        list += *list == ',';
    }
    return false;
}

int main(void)
{
    char want[80] = "pio_write,pio_read,mmio_write,mmio_read", rings[8] = "0,3";
    u64 iters = (cmdline_u64("iters", 2000) + UNROLL - 1) / UNROLL * UNROLL;
    u64 passes = cmdline_u64("passes", 5);
    bool with_kick = cmdline_u64("kick", 0);

    if (cmdline_get("ops", want, sizeof(want)))
        with_kick |= listed(want, "kick");
    cmdline_get("rings", rings, sizeof(rings));
    if (!iters)
        iters = UNROLL;

    for (u64 pass = 0; pass < passes; pass++) {
        for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
            bool wanted = ops[i].run == kick ? with_kick : listed(want, ops[i].name);
            if (wanted && listed(rings, "0"))
                printf("BENCH 0 %s %lu %lu\n", ops[i].name, iters, ops[i].run(iters));
            if (wanted && listed(rings, "3"))
                printf("BENCH 3 %s %lu %lu\n", ops[i].name, iters, ring3_call(ops[i].run, iters));
        }
    }
    return EXIT_PASS;
}
