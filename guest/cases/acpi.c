// ACPI tables as a kernel without firmware finds them: the root pointer, then everything it leads to.
// `cpus=N` says how many processors the MADT must list.
#include "bootinfo.h"
#include "cmdline.h"
#include "printf.h"
#include "report.h"
#include "string.h"

// ACPI 6.4, 5.2.5 and 5.2.6.
struct rsdp {
    char signature[8];
    u8 checksum;
    char oem[6];
    u8 revision;
    u32 rsdt, length;
    u64 xsdt;
    u8 extended_checksum, reserved[3];
} __attribute__((packed));

struct table {
    char signature[4];
    u32 length;
    u8 revision, checksum, rest[26];
};

#define RSDP_FIRST 0xe0000
#define RSDP_LAST  0xffff0
#define LAPIC_ROW  0
#define ENABLED    1u

static bool sums_to_zero(const void *data, u32 size)
{
    u8 sum = 0;
    for (u32 i = 0; i < size; i++)
        sum += ((const u8 *)data)[i];
    return sum == 0;
}

static const struct rsdp *find_rsdp(void)
{
    for (u64 at = RSDP_FIRST; at <= RSDP_LAST; at += 16)
        if (!memcmp((const void *)at, "RSD PTR ", 8) && sums_to_zero((const void *)at, 20))
            return (const void *)at;
    return NULL;
}

static const struct table *root;
static u32 bad;

static u64 entry(u32 n)
{
    const u8 *list = (const u8 *)(root + 1);
    return root->signature[0] == 'X' ? ((const u64 *)list)[n] : ((const u32 *)list)[n];
}

static const struct table *find(const char *signature)
{
    u32 width = root->signature[0] == 'X' ? 8 : 4;
    for (u32 n = 0; n < (root->length - sizeof(*root)) / width; n++) {
        const struct table *table = (const void *)entry(n);
        if (!sums_to_zero(table, table->length))
            bad++;
        if (!memcmp(table->signature, signature, 4))
            return table;
    }
    return NULL;
}

static u32 processors(const struct table *madt)
{
    const u8 *row = (const u8 *)(madt + 1) + 8, *end = (const u8 *)madt + madt->length;
    u32 found = 0;
    for (; row < end && row[1]; row += row[1])
        found += row[0] == LAPIC_ROW && (row[4] & ENABLED);
    return found;
}

int main(void)
{
    const struct rsdp *rsdp = find_rsdp();
    if (!report(rsdp != NULL, "acpi_rsdp", "found below 1 MiB"))
        return report_summary();
    report(!boot_info.rsdp || boot_info.rsdp == (u64)rsdp, "acpi_told", "the loader tells the same address, if any");
    root = (const void *)(rsdp->revision >= 2 ? rsdp->xsdt : (u64)rsdp->rsdt);
    report(sums_to_zero(root, root->length), "acpi_root", "the root table's checksum");

    const struct table *madt = find("APIC"), *fadt = find("FACP");
    if (!report(madt && fadt, "acpi_tables", "a MADT and a FADT"))
        return report_summary();
    report(processors(madt) == cmdline_u64("cpus", 1), "acpi_cpus", "the MADT lists every processor");

    const u8 *f = (const u8 *)fadt;
    u32 dsdt, event, control;
    memcpy(&dsdt, f + 40, 4);
    memcpy(&event, f + 56, 4);
    memcpy(&control, f + 64, 4);
    const struct table *code = (const void *)(u64)dsdt;
    report(!memcmp(code->signature, "DSDT", 4) && sums_to_zero(code, code->length), "acpi_dsdt",
           "the FADT leads to the DSDT");
    report(event == 0x600 && control == 0x604 && f[46] == 9, "acpi_ports", "PM1a at 0x600 and 0x604, SCI 9");
    report(!bad, "acpi_checksums", "every table adds up to 0");
    return report_summary();
}
