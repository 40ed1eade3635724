// Checks with one line each, and the verdict.
#pragma once
#include "types.h"

// Prints "PASS: name: message" or "FAIL: name: message", counts, returns ok.
__attribute__((format(printf, 3, 4))) bool report(bool ok, const char *name, const char *format, ...);

// Prints "SUMMARY: n checks, m failures" and returns what main() returns: EXIT_PASS or EXIT_FAIL.
int report_summary(void);
