#include "accesscount.h"

#include <stdlib.h>

enum { PARTS_BITS = 5 };

struct pk_access_counts *pk_access_counts_new(void)
{
    return calloc(1, sizeof(struct pk_access_counts)); /* pages that nobody counts in stay the kernel's */
}

void pk_access_counts_free(struct pk_access_counts *counts) { free(counts); }

struct pk_counted *pk_access_row(struct pk_access_counts *counts, int32_t range, uint32_t reason,
                                 uint64_t offset, bool write)
{
    const uint32_t rows = PK_COUNTED - 1;
    uint64_t at = ((uint64_t)(uint32_t)range * 61 + offset / 4 * 2 + write) % rows;
    for (uint32_t n = 0; n < rows; n++, at = (at + 1) % rows) {
        struct pk_counted *row = &counts->rows[at];
        if (!row->count) {
            row->range = range;
            row->reason = reason;
            row->offset = offset;
            row->write = write;
            return row;
        }
        if (row->range == range && row->offset == offset && row->write == write)
            return row;
    }
    counts->rows[rows].range = -1; /* a guest cannot make the table grow */
    counts->rows[rows].reason = reason;
    return &counts->rows[rows];
}

void pk_access_count(struct pk_counted *row, uint64_t ns)
{
    uint32_t shift = 0;
    while (ns >> shift >> (PARTS_BITS + 1))
        shift++;
    row->parts[(shift << PARTS_BITS) + (ns >> shift)]++;
    row->total += ns;
    row->low = row->count && row->low < ns ? row->low : ns;
    row->high = row->high > ns ? row->high : ns;
    row->count++;
}
