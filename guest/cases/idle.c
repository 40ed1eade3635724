// Halts with interrupts on and every source masked: waits for something that never comes.
#include "pic.h"
#include "printf.h"

int main(void)
{
    pic_init();
    printf("idling\n");
    for (;;)
        __asm__ volatile("sti; hlt");
}
