// Halts for good.
#include "cpu.h"
#include "printf.h"

int main(void)
{
    printf("halting\n");
    cpu_halt();
}
