#include "bootinfo.h"

#include "exit.h"
#include "printf.h"

// Xen public/arch-x86/hvm/start_info.h.
#define HVM_START_MAGIC 0x336ec578u
#define HVM_MEMMAP_RAM  1u

struct hvm_start_info {
    u32 magic, version, flags, nr_modules;
    u64 modlist, cmdline, rsdp;
    u64 memmap; // from version 1 on
    u32 memmap_entries, reserved;
};

struct hvm_module {
    u64 address, size, cmdline, reserved;
};

struct hvm_memmap_entry {
    u64 address, size;
    u32 type, reserved;
};

struct boot_info boot_info;
bool booted_by_pvh;

static void from_pvh(const struct hvm_start_info *in)
{
    const u64 four_gib = 1ull << 32;

    boot_info = (struct boot_info){
        .magic = BOOT_INFO_MAGIC,
        .version = BOOT_INFO_VERSION,
        .size = sizeof(boot_info),
        .cmdline = in->cmdline,
        .cpus = 1,
        .rsdp = in->rsdp,
    };
    if (in->nr_modules) {
        const struct hvm_module *module = (const void *)in->modlist;
        boot_info.initrd = module->address;
        boot_info.initrd_size = module->size;
    }
    if (in->version < 1)
        return;
    // Firmware keeps some RAM for itself; what counts here is where RAM ends.
    const struct hvm_memmap_entry *e = (const void *)in->memmap;
    for (u32 i = 0; i < in->memmap_entries; i++, e++) {
        u64 end = e->address + e->size;
        if (e->type != HVM_MEMMAP_RAM)
            continue;
        if (e->address >= four_gib)
            boot_info.memory_high += e->size;
        else if (end > boot_info.memory_low)
            boot_info.memory_low = end;
    }
}

void boot_info_init(const void *start, bool pvh)
{
    booted_by_pvh = pvh;
    if (pvh && ((const struct hvm_start_info *)start)->magic == HVM_START_MAGIC) {
        from_pvh(start);
        return;
    }
    const struct boot_info *in = start;
    if (!pvh && in->magic == BOOT_INFO_MAGIC && in->version == BOOT_INFO_VERSION && in->size >= sizeof(*in)) {
        boot_info = *in;
        return;
    }
    printf("guest: no boot info at %p\n", start);
    debug_exit(EXIT_EXCEPTION);
}
