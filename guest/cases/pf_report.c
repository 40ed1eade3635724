// A page fault that nobody expects: the kit prints the registers and ends the guest.
#include "io.h"
#include "printf.h"

int main(void)
{
    printf("reading where no page is\n");
    return mmio_read8(0x123456789000);
}
