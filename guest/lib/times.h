// How long each of many requests took: noted one by one in ring 3, summed up when all have been served.
#pragma once
#include "types.h"

// Forgets what was noted, and makes room for so many, in pages that are there: the first note costs no
// more than the others.
void times_start(u64 requests);

// One request took that many cycles. What there is no room for is not noted.
void times_note(u64 cycles);

// Says "TIMES <kind> <median> <p99> <slowest>", in cycles, if anything was noted. The median of an even
// number is the lower of the two; p99 is the smallest value that 99 of a hundred do not exceed. For
// ring 0: it sorts in ring 3, where a host that emulates ring 0 is fast.
void times_print(const char *kind);
