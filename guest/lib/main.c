// From start.S to main().
#include "bootinfo.h"
#include "cpu.h"
#include "exit.h"
#include "interrupts.h"
#include "uart.h"

int main(void);
_Noreturn void kit_start(const void *start, u32 pvh);

_Noreturn void kit_start(const void *start, u32 pvh)
{
    cpu_init(0);
    interrupts_init();
    uart_init();
    boot_info_init(start, pvh);
    debug_exit(main());
}
