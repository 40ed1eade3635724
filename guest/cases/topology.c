// What CPUID tells of processors: every leaf that does must agree. `cpus=N` says how many there are.
#include "cmdline.h"
#include "lapic.h"
#include "report.h"

#define INTEL     0x756e6547u // "Genu" of GenuineIntel
#define KVM_LEAF  0x40000000u
#define KVM_NAME  0x4b4d564bu // "KVMK" of KVMKVMKVM
#define KVMCLOCK2 (1u << 3)

struct leaf {
    u32 eax, ebx, ecx, edx;
};

static struct leaf cpuid_leaf(u32 function, u32 index)
{
    struct leaf l;
    __asm__ volatile("cpuid" : "=a"(l.eax), "=b"(l.ebx), "=c"(l.ecx), "=d"(l.edx) : "a"(function), "c"(index));
    return l;
}

static u32 ids_for(u32 cpus)
{
    u32 ids = 1;
    while (ids < cpus)
        ids *= 2;
    return ids;
}

int main(void)
{
    u32 cpus = (u32)cmdline_u64("cpus", 1);
    struct leaf id = cpuid_leaf(0, 0), one = cpuid_leaf(1, 0);

    report(one.ebx >> 24 == lapic_id(), "topology_id", "leaf 1 has the local APIC's ID");
    report((one.edx >> 28 & 1) == (cpus > 1) && (cpus == 1 || (one.ebx >> 16 & 0xff) >= cpus), "topology_count",
           "leaf 1 counts the processors");
    if (id.eax >= 0xb) {
        struct leaf threads = cpuid_leaf(0xb, 0), cores = cpuid_leaf(0xb, 1);
        report(threads.ebx == 1 && (threads.ecx >> 8 & 0xff) == 1, "topology_threads", "one thread a core");
        report(cores.ebx == cpus && 1u << cores.eax == ids_for(cpus), "topology_cores", "as many cores as processors");
    }
    if (id.ebx == INTEL)
        report((cpuid_leaf(4, 0).eax >> 26) + 1 >= cpus, "topology_caches", "leaf 4 counts the cores");
    report((cpuid_leaf(0x80000008, 0).ecx & 0xff) + 1 == cpus, "topology_amd", "leaf 0x80000008 counts the cores");
    report(cpuid_leaf(KVM_LEAF, 0).ebx == KVM_NAME && (cpuid_leaf(KVM_LEAF + 1, 0).eax & KVMCLOCK2), "topology_kvmclock",
           "KVM's clock is offered");
    return report_summary();
}
