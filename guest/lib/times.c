#include "times.h"

#include "pages.h"
#include "printf.h"
#include "ring3.h"

static u64 *noted;
static u64 room, count, capacity;

void times_start(u64 requests)
{
    if (requests > capacity) {
        noted = pages_take(requests * sizeof *noted);
        capacity = requests;
    }
    room = requests;
    count = 0;
    for (u64 n = 0; n < requests; n++)
        noted[n] = 0;
}

void times_note(u64 cycles)
{
    if (count < room)
        noted[count++] = cycles;
}

// Shell's sort, with gaps of 2^k - 1: no stack, no second array.
static u64 sort(u64 length)
{
    u64 gap = 1;
    while (gap < length / 2)
        gap = gap * 2 + 1;
    for (; gap; gap /= 2)
        for (u64 n = gap; n < length; n++) {
            u64 value = noted[n], at = n;
            for (; at >= gap && noted[at - gap] > value; at -= gap)
                noted[at] = noted[at - gap];
            noted[at] = value;
        }
    return length;
}

void times_print(const char *kind)
{
    if (!count)
        return;
    ring3_call(sort, count);
    printf("TIMES %s %lu %lu %lu\n", kind, noted[(count - 1) / 2], noted[(count * 99 + 99) / 100 - 1],
           noted[count - 1]);
}
