#include "rows.h"

#include "cmdline.h"
#include "cpu.h"
#include "printf.h"
#include "uart.h"

bool rows_each(void (*measure)(const char *name, u64 count))
{
    static char rows[1024];
    if (!cmdline_get("rows", rows, sizeof rows))
        return false;
    for (char *p = rows; *p;) {
        const char *name = p;
        u64 count = 0;
        while (*p && *p != ':')
            p++;
        if (*p)
            *p++ = '\0';
        for (; *p >= '0' && *p <= '9'; p++)
            count = count * 10 + (u64)(*p - '0');
        if (*p)
            p++;
        printf("READY %s\n", name);
        while (uart_getc() < 0)
            cpu_pause();
        measure(name, count);
    }
    return true;
}
