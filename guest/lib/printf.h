// Formatted output on the first serial port. %c %s %d %u %x %p %%, with l, a width, '-' and '0'.
#pragma once
#include "types.h"

__attribute__((format(printf, 1, 2))) void printf(const char *format, ...);
void vprintf(const char *format, va_list args);
