#include "pages.h"

#include "bootinfo.h"
#include "exit.h"
#include "printf.h"

enum { PAGE = 4096 };

extern u8 __image_end[];
static u64 next;

void *pages_take(size_t bytes)
{
    u64 image_end = (u64)__image_end, initrd_end = boot_info.initrd + boot_info.initrd_size;
    if (!next)
        next = (image_end + PAGE - 1) & ~(u64)(PAGE - 1);
    // An initrd may lie right behind the image, or at the end of memory.
    u64 limit = boot_info.initrd >= next ? boot_info.initrd : boot_info.memory_low;
    if (boot_info.initrd && boot_info.initrd < next && initrd_end > next)
        next = (initrd_end + PAGE - 1) & ~(u64)(PAGE - 1);
    u64 start = next;
    next += (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (next > limit) {
        printf("guest: no room for %lu bytes\n", (u64)bytes);
        debug_exit(EXIT_EXCEPTION);
    }
    return (void *)start;
}
