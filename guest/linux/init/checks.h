/* What the guest's command line may ask for. A check says what it has found, or why it is not so,
 * and returns whether all is well. */
#ifndef INIT_CHECKS_H
#define INIT_CHECKS_H

#include "text.h"

typedef bool check(struct line *detail);

check check_cpus, check_memory, check_time, check_rng; /* machine.c */
check check_net, check_disk, check_console;            /* devices.c */
check check_stream;                                    /* stream.c */

/* Microseconds of the clock that never goes back. */
uint64_t now(void);
void sleep_milliseconds(uint32_t milliseconds);

/* `<what>: error N` into the line, from a system call's result; false, for the caller to return. */
bool failed(struct line *detail, const char *what, long result);

#endif
