/* How often C answers which register, and how long that takes: for statistics, one table a vCPU.
 *
 * Exits that reach Python are counted there; those that a native range answers never do. Only the vCPU's own
 * thread counts, and whoever reads waits until it has ended.
 */
#ifndef PYKVM_ACCESSCOUNT_H
#define PYKVM_ACCESSCOUNT_H

#include <stdbool.h>
#include <stdint.h>

/* Rows, of which the last one has all that the others have no room for; and parts of times, 32 to each power
 * of two (pykvm/trace/histogram.py). */
#define PK_COUNTED 128
#define PK_COUNTED_PARTS 1920

struct pk_counted {
    int32_t range;   /* its id; -1: the rest */
    uint32_t reason; /* KVM_EXIT_... */
    uint64_t offset; /* in the range */
    uint32_t write;
    uint32_t reserved;
    uint64_t count;  /* 0: the row is free */
    uint64_t total, low, high; /* ns in user space, from the exit to the re-entry */
    uint64_t parts[PK_COUNTED_PARTS];
};

struct pk_access_counts {
    uint64_t inside_ns; /* of the runs of the guest that ended in one of these */
    struct pk_counted rows[PK_COUNTED];
};

/* NULL when there is no memory. */
struct pk_access_counts *pk_access_counts_new(void);
void pk_access_counts_free(struct pk_access_counts *counts);

/* The row of such an access: to be counted before the next is asked for. */
struct pk_counted *pk_access_row(struct pk_access_counts *counts, int32_t range, uint32_t reason,
                                 uint64_t offset, bool write);
void pk_access_count(struct pk_counted *row, uint64_t ns);

#endif
