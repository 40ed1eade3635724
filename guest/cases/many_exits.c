// `exits=N`: N writes of 0, 1, .. 255, 0, .. to port 0x80, one after another, and nothing between
// them, so that a trace can be checked for gaps.
#include "cmdline.h"
#include "exit.h"
#include "printf.h"

int main(void)
{
    u64 n = cmdline_u64("exits", 1000), left = n;
    u8 value = 0;

    if (left)
        __asm__ volatile("1: outb %%al, $0x80; incb %%al; decq %1; jnz 1b" : "+a"(value), "+r"(left) : : "memory");
    printf("%lu exits\n", n);
    return EXIT_PASS;
}
