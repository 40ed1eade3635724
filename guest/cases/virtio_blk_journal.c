// Numbered blocks of 4 KiB at pseudo-random places, with a flush now and then: what FLUSHED says must
// be on the disk whatever happens to the machine.
//
//   mode=write   or verify, or both: one after the other
//   writes=N     end after so many (default 0: never)
//   every=16     writes between two flushes
//   flushed=N    verify: the highest number that FLUSHED said
//   seed=1       where the blocks go; the same for both
//   transport=modern
#include "clock.h"
#include "cmdline.h"
#include "exit.h"
#include "printf.h"
#include "report.h"
#include "ring3.h"
#include "string.h"
#include "virtio/blk.h"

enum { BLOCK = 4096, SECTORS = BLOCK / BLK_SECTOR, MOST_BLOCKS = 65536, WORDS = BLOCK / 8 - 3 };

static struct blk blk;
static u64 seed, blocks, every;
static u32 newest[MOST_BLOCKS]; // verify: the last write to each that was flushed

static struct {
    u64 number, place, sum;
    u64 words[WORDS];
} block;
_Static_assert(sizeof block == BLOCK, "one block");

static u64 mix(u64 x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9; // splitmix64
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return x ^ x >> 31;
}

static u64 place_of(u64 number) { return mix(number + seed * 0x9E3779B97F4A7C15) % blocks; }

static u64 sum(void)
{
    u64 total = mix(block.number ^ mix(block.place));
    for (unsigned i = 0; i < WORDS; i++)
        total = mix(total ^ block.words[i]);
    return total;
}

static bool write(u64 number)
{
    block.number = number;
    block.place = place_of(number);
    for (unsigned i = 0; i < WORDS; i++)
        block.words[i] = mix(number * WORDS + i);
    block.sum = sum();
    return blk_write(&blk, block.place * SECTORS, &block, BLOCK) == BLK_OK;
}

// The next writes after `done`, and a flush.
static u64 write_some(u64 done)
{
    for (u64 n = done + 1; n <= done + every; n++)
        if (!write(n))
            return false;
    return blk_flush(&blk) == BLK_OK;
}

static bool journal(u64 writes)
{
    for (u64 done = 0; !writes || done < writes;) {
        if (!ring3_call(write_some, done))
            return false;
        done += every;
        printf("FLUSHED %lu\n", done);
    }
    return true;
}

// How many of the blocks that were written by number `flushed` are lost or damaged.
static u64 verify(u64 flushed)
{
    u64 bad = 0;
    for (u64 n = 1; n <= flushed; n++)
        newest[place_of(n)] = (u32)n;
    for (u64 place = 0; place < blocks; place++) {
        if (!newest[place])
            continue;
        bool good = blk_read(&blk, place * SECTORS, &block, BLOCK) == BLK_OK && block.sum == sum() &&
                    block.place == place && block.number >= newest[place] && place_of(block.number) == place;
        bad += !good;
    }
    return bad;
}

int main(void)
{
    char mode[8] = "write", transport[8] = "modern";
    cmdline_get("mode", mode, sizeof mode);
    cmdline_get("transport", transport, sizeof transport);
    seed = cmdline_u64("seed", 1);
    every = cmdline_u64("every", 16);
    u64 writes = cmdline_u64("writes", 0), flushed = cmdline_u64("flushed", writes);
    clock_init();
    if (!report(blk_open(&blk, 0, virtio_transport(transport), BLK_WANTED) && blk.device.features & BLK_F_FLUSH,
                "open", "a disk that can flush"))
        return report_summary();
    blocks = blk.sectors / SECTORS;
    if (blocks > MOST_BLOCKS)
        blocks = MOST_BLOCKS;
    if (!blocks || !every)
        return EXIT_FAIL;
    if (strcmp(mode, "verify") != 0)
        report(journal(writes), "journal", "%lu writes", writes);
    if (strcmp(mode, "write") != 0) {
        u64 bad = ring3_call(verify, flushed);
        report(bad == 0, "verify", "%lu writes flushed, %lu blocks lost", flushed, bad);
    }
    return report_summary();
}
