// The command line: words separated by spaces, each `flag` or `key=value`.
#pragma once
#include "types.h"

// The whole line, "" if there is none.
const char *cmdline(void);

// Copies the value of key (cut to size - 1 characters). False if the key is not there.
bool cmdline_get(const char *key, char *value, size_t size);

// The value of key as a decimal number, or fallback.
u64 cmdline_u64(const char *key, u64 fallback);

// The value of key, an address such as 10.0.0.1, as a number: 0x0A000001.
u32 cmdline_ipv4(const char *key, u32 fallback);
