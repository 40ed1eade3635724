// virtio-rng: bytes come, of the length asked for at most, and they are not always the same.
#include "clock.h"
#include "cmdline.h"
#include "report.h"
#include "string.h"
#include "virtio/rng.h"

enum { SIZE = 256, GUARD = 0x5A };

int main(void)
{
    static struct rng rng;
    static u8 first[SIZE + 1], second[SIZE];
    char transport[8] = "modern";
    cmdline_get("transport", transport, sizeof transport);
    clock_init();
    if (!report(rng_open(&rng, 0, virtio_transport(transport)), "open", "an entropy device"))
        return report_summary();
    first[SIZE] = GUARD;
    u32 got = rng_read(&rng, first, SIZE), again = rng_read(&rng, second, SIZE);
    report(got > 0 && got <= SIZE && again > 0 && again <= SIZE,
           "length", "one byte or more, no more than asked for");
    unsigned set = 0;
    for (u32 i = 0; i < got && i < SIZE; i++)
        for (unsigned bit = 0; bit < 8; bit++)
            set += first[i] >> bit & 1;
    // Of 2,048 bits half, by ten standard deviations.
    report(got == SIZE ? set > 798 && set < 1250 : set > 0, "bits", "about half of them are set");
    report(memcmp(first, second, got < again ? got : again) != 0, "fresh", "the second answer is another one");
    report(first[SIZE] == GUARD, "guard", "nothing is written behind the buffer");
    static u8 small[3];
    got = rng_read(&rng, small, 1);
    report(got == 1 && !small[1] && !small[2], "single", "a single byte");
    return report_summary();
}
