// Jumps to an address with no memory behind it. KVM cannot fetch instructions from a device, so this
// ends in an internal error on every host.
#include "printf.h"

int main(void)
{
    printf("about to run a device\n");
    ((void (*)(void))0xe0000000)();
    return 0;
}
