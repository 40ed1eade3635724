// What a guest learns from whoever started it.
//
// pykvm enters an ELF64 or flat long-mode image with RDI = guest-physical address of this block.
// Little endian, no padding. A later version may append fields: `size` says how many bytes are
// there, and `version` changes only when the meaning of an existing field does.
// On a PVH loader (QEMU -kernel) the start code fills in the same block from hvm_start_info.
#pragma once
#include "types.h"

#define BOOT_INFO_MAGIC   0x4d564b50u // "PKVM"
#define BOOT_INFO_VERSION 1u

struct boot_info {
    u32 magic;       //  0  BOOT_INFO_MAGIC
    u32 version;     //  4  BOOT_INFO_VERSION
    u64 size;        //  8  bytes of this block
    u64 memory_low;  // 16  bytes of RAM from address 0 up to the hole below 4 GiB
    u64 memory_high; // 24  bytes of RAM from 4 GiB up
    u64 cmdline;     // 32  guest-physical address of a NUL-terminated string, 0 = none
    u64 initrd;      // 40  guest-physical address, 0 = none
    u64 initrd_size; // 48  bytes
    u32 cpus;        // 56  number of processors; 1 where the loader does not say
    u32 reserved;    // 60
    u64 rsdp;        // 64  guest-physical address of ACPI's root pointer, 0 = none
};

_Static_assert(sizeof(struct boot_info) == 72, "the boot info block is an interface");

// A copy, valid from before main() on.
extern struct boot_info boot_info;

// The loader was a PVH one, not pykvm.
extern bool booted_by_pvh;

// Called by the start code. pvh: what start points at (1: hvm_start_info, 0: boot_info).
void boot_info_init(const void *start, bool pvh);
