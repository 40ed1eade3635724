// virtio-blk: reads, writes, flushes, discards, and what the device must refuse.
//
//   transport=modern  readonly=0  serial=S (what GET_ID must say)
#include "clock.h"
#include "cmdline.h"
#include "report.h"
#include "ring3.h"
#include "string.h"
#include "virtio/blk.h"

enum { LARGE = 65536, ID = 20 };

static struct blk blk;
static u8 out[LARGE], in[LARGE];

static u64 fill(u64 seed)
{
    for (unsigned i = 0; i < LARGE; i++)
        out[i] = (u8)(i * 13 + i / 512 + seed);
    return 0;
}

static u64 is_all(u64 value)
{
    for (unsigned i = 0; i < LARGE; i++)
        if (in[i] != value)
            return false;
    return true;
}

static u64 same(u64 length)
{
    for (unsigned i = 0; i < length; i++)
        if (in[i] != out[i])
            return false;
    return true;
}

static bool back(u64 sector, u32 length, unsigned pieces)
{
    ring3_call(fill, sector);
    memset(in, 0, BLK_SECTOR);
    return blk_request(&blk, BLK_OUT, sector, out, length, pieces) == BLK_OK &&
           blk_request(&blk, BLK_IN, sector, in, length, pieces) == BLK_OK && ring3_call(same, length) &&
           blk.written == length + 1;
}

static void writing(void)
{
    report(back(0, BLK_SECTOR, 1), "sector", "the first one keeps what is written");
    report(back(blk.sectors - 1, BLK_SECTOR, 1), "last", "so does the last");
    report(back(8, LARGE, 1), "large", "64 KiB at once");
    report(back(200, LARGE, 32), "pieces", "64 KiB in 32 pieces");
    report(blk_read(&blk, 8, in, BLK_SECTOR) == BLK_OK && (ring3_call(fill, 8), ring3_call(same, BLK_SECTOR)), "kept",
           "what was written before is still there");
    report(blk_flush(&blk) == BLK_OK && blk.written == 1, "flush", "is answered");
    if (report(blk.device.features & BLK_F_WRITE_ZEROES, "offer_zeroes", "WRITE_ZEROES"))
        report(blk_range(&blk, BLK_WRITE_ZEROES, 200, LARGE / BLK_SECTOR, 0) == BLK_OK &&
                   blk_read(&blk, 200, in, LARGE) == BLK_OK && ring3_call(is_all, 0),
                          "zeroes", "read back as such");
    if (report(blk.device.features & BLK_F_DISCARD, "offer_discard", "DISCARD"))
        report(blk_range(&blk, BLK_DISCARD, 8, LARGE / BLK_SECTOR, 0) == BLK_OK, "discard", "is answered");
}

static void errors(void)
{
    report(blk_read(&blk, blk.sectors, in, BLK_SECTOR) == BLK_IOERR, "read_past", "the end: an error");
    report(blk_read(&blk, blk.sectors - 1, in, 2 * BLK_SECTOR) == BLK_IOERR,
           "read_across", "the end: an error");
    report(blk_read(&blk, ~0ull, in, BLK_SECTOR) == BLK_IOERR, "read_far", "sector 2^64 - 1: an error");
    report(blk_write(&blk, blk.sectors, out, BLK_SECTOR) == BLK_IOERR, "write_past", "the end: an error");
    report(blk_read(&blk, 0, in, 100) == BLK_IOERR, "odd", "less than a sector: an error");
    report(blk_request(&blk, 77, 0, NULL, 0, 0) == BLK_UNSUPP,
           "unknown", "a request of type 77 is not supported");
    report(blk_read(&blk, 0, in, BLK_SECTOR) == BLK_OK, "goes_on", "after all this it still reads");
}

int main(void)
{
    char transport[8] = "modern", serial[ID + 1] = "";
    cmdline_get("transport", transport, sizeof transport);
    clock_init();
    if (!report(blk_open(&blk, 0, virtio_transport(transport), BLK_WANTED), "open", "a disk"))
        return report_summary();
    report(blk.sectors == cmdline_u64("sectors", 32768), "capacity", "%lu sectors", blk.sectors);
    bool read_only = blk.device.features & BLK_F_RO;
    if (cmdline_u64("readonly", 0)) {
        report(read_only, "readonly", "says so");
        report(blk_write(&blk, 0, out, BLK_SECTOR) == BLK_IOERR, "readonly_write", "refuses to be written");
        report(blk_read(&blk, 0, in, LARGE) == BLK_OK && ring3_call(is_all, 0), "readonly_read", "but reads");
    } else {
        report(!read_only, "writable", "says so");
        writing();
        errors();
    }
    if (cmdline_get("serial", serial, sizeof serial)) {
        memset(in, 0, ID + 1);
        report(blk_request(&blk, BLK_GET_ID, 0, in, ID, 1) == BLK_OK && strcmp((char *)in, serial) == 0,
               "id", "%s",
               (char *)in);
    }
    return report_summary();
}
