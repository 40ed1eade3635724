// Several measurements in one life of a guest, each begun by who watches: what a start takes is no part
// of them, and a host where firmware is slow starts once for all.
#pragma once
#include "types.h"

// For each NAME:COUNT of the command line's rows=NAME:COUNT,...: says "READY <name>", waits for a byte on
// the serial port, and calls measure(name, count). False if there is no such option.
bool rows_each(void (*measure)(const char *name, u64 count));
