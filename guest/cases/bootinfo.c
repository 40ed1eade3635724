// What the loader says: memory, command line, initrd.
#include "bootinfo.h"
#include "cmdline.h"
#include "io.h"
#include "printf.h"
#include "report.h"

int main(void)
{
    const u64 mib = 1 << 20;

    printf("memory_low %lu\n", boot_info.memory_low);
    printf("memory_high %lu\n", boot_info.memory_high);
    printf("cpus %u\n", boot_info.cpus);
    printf("cmdline [%s]\n", cmdline());

    u32 sum = 0;
    const u8 *initrd = (const u8 *)boot_info.initrd;
    for (u64 i = 0; i < boot_info.initrd_size; i++)
        sum += initrd[i];
    printf("initrd %lu bytes, sum %u\n", boot_info.initrd_size, sum);

    report(boot_info.magic == BOOT_INFO_MAGIC && boot_info.version == 1 && boot_info.size >= sizeof(boot_info),
           "bootinfo", "magic, version and size");
    report(boot_info.memory_low >= 16 * mib && boot_info.memory_low <= 4096 * mib, "bootinfo_memory",
           "there is memory and it ends below 4 GiB");
    report(boot_info.cpus >= 1, "bootinfo_cpus", "there is a processor");
    report(boot_info.initrd + boot_info.initrd_size <= boot_info.memory_low, "bootinfo_initrd", "the initrd is in memory");

    // The last bytes of RAM are RAM. (QEMU's end was cut at what its firmware keeps.)
    u64 last = boot_info.memory_low - 8;
    u64 old = mmio_read64(last);
    mmio_write64(last, 0x0123456789abcdef);
    report(mmio_read64(last) == 0x0123456789abcdef, "bootinfo_end", "the last bytes of low memory work");
    mmio_write64(last, old);
    return report_summary();
}
