// fw_cfg: what the monitor tells, read by port and by DMA. `cpus=N` says how many processors it must name;
// the user's item opt/greeting holds "hello guest".
#include "cmdline.h"
#include "bootinfo.h"
#include "io.h"
#include "report.h"
#include "string.h"

// QEMU, docs/specs/fw_cfg.
#define SELECT   0x510
#define DATA     0x511
#define DMA_HIGH 0x514
#define DMA_LOW  0x518

enum { SIGNATURE = 0x00, ID = 0x01, RAM_SIZE = 0x03, CPUS = 0x05, FILES = 0x19 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

#define GREETING "hello guest"

struct file {
    u32 size;
    u16 key, reserved;
    char name[56];
};

struct request {
    u32 control, length;
    u64 address;
};

static void fetch(u16 key, void *to, size_t size)
{
    outw(SELECT, key);
    ins8(DATA, to, size);
}

// All numbers in requests and the directory are big endian.
static u32 dma(u32 control, void *to, u32 size)
{
    static volatile struct request request;
    request.control = __builtin_bswap32(control);
    request.length = __builtin_bswap32(size);
    request.address = __builtin_bswap64((u64)to);
    outl(DMA_HIGH, 0);
    outl(DMA_LOW, __builtin_bswap32((u32)(u64)&request));
    return __builtin_bswap32(request.control);
}

static struct file greeting;

static u32 find_greeting(void)
{
    u32 count;
    fetch(FILES, &count, sizeof(count));
    count = __builtin_bswap32(count);
    for (u32 n = 0; n < count; n++) {
        struct file file;
        ins8(DATA, &file, sizeof(file));
        if (!strcmp(file.name, "opt/greeting"))
            greeting = file;
    }
    return count;
}

int main(void)
{
    char text[16] = {0};
    u32 id = 0;
    u64 ram = 0;
    u16 cpus = 0;

    fetch(SIGNATURE, text, 4);
    report(!memcmp(text, "QEMU", 4), "fwcfg_signature", "it is there");
    fetch(ID, &id, sizeof(id));
    report((id & 3) == 3, "fwcfg_id", "with ports and DMA");
    fetch(RAM_SIZE, &ram, sizeof(ram));
    report(ram == 128 << 20, "fwcfg_ram", "128 MiB");
    fetch(CPUS, &cpus, sizeof(cpus));
    report(cpus == cmdline_u64("cpus", 1), "fwcfg_cpus", "%u processors", cpus);

    u32 count = find_greeting();
    u16 key = __builtin_bswap16(greeting.key);
    report(count && __builtin_bswap32(greeting.size) == sizeof(GREETING) - 1, "fwcfg_files", "opt/greeting is listed");
    memset(text, 0x55, sizeof(text));
    fetch(key, text, sizeof(text));
    report(!memcmp(text, GREETING "\0\0\0\0", sizeof(text) - 1), "fwcfg_port", "its text, then zeros");

    memset(text, 0x55, sizeof(text));
    u32 done = dma((u32)key << 16 | DMA_SELECT | DMA_SKIP, NULL, 6);
    done |= dma(DMA_READ, text, 5);
    report(!done && !memcmp(text, "guest\x55", 6), "fwcfg_dma", "selected, skipped, read by DMA");
    report(inl(DMA_HIGH) == 0x554d4551 && inl(DMA_LOW) == 0x47464320, "fwcfg_dma_signature", "QEMU CFG");
    report(dma((u32)key << 16 | DMA_SELECT | DMA_WRITE, text, 1) == DMA_ERROR, "fwcfg_write", "it cannot be written");
    return report_summary();
}
