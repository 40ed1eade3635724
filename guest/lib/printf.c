#include "printf.h"

#include "string.h"
#include "uart.h"

static void put_padded(const char *s, size_t n, size_t width, char pad, bool left)
{
    size_t fill = width > n ? width - n : 0;

    // A sign goes before the zeros.
    if (pad == '0' && n && *s == '-') {
        uart_putc(*s++);
        n--;
    }
    for (size_t i = 0; !left && i < fill; i++)
        uart_putc(pad);
    for (size_t i = 0; i < n; i++)
        uart_putc(s[i]);
    for (size_t i = 0; left && i < fill; i++)
        uart_putc(' ');
}

static size_t format_number(char *end, u64 value, unsigned base, bool negative)
{
    char *p = end;
    do {
        *--p = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    if (negative)
        *--p = '-';
    return end - p;
}

void vprintf(const char *f, va_list args)
{
    char digits[24], *end = digits + sizeof(digits);

    for (; *f; f++) {
        if (*f != '%') {
            uart_putc(*f);
            continue;
        }
        bool left = false, wide = false, negative = false;
        char pad = ' ';
        size_t width = 0, n;
        u64 value;

        for (f++; *f == '-' || *f == '0'; f++) {
            left |= *f == '-';
            pad = *f == '0' ? '0' : pad;
        }
        for (; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (*f - '0');
        for (; *f == 'l'; f++)
            wide = true;

        switch (*f) {
        case 'c':
            uart_putc((char)va_arg(args, int));
            break;
        case 's': {
            const char *s = va_arg(args, const char *);
            s = s ? s : "(null)";
            put_padded(s, strlen(s), width, ' ', left);
            break;
        }
        case 'd':
            value = wide ? (u64)va_arg(args, long) : (u64)(long)va_arg(args, int);
            negative = (long)value < 0;
            n = format_number(end, negative ? -value : value, 10, negative);
            put_padded(end - n, n, width, pad, left);
            break;
        case 'p':
            put_padded("0x", 2, 0, ' ', false);
            wide = true;
            __attribute__((fallthrough));
        case 'x':
        case 'u':
            value = wide ? va_arg(args, u64) : va_arg(args, unsigned);
            n = format_number(end, value, *f == 'u' ? 10 : 16, false);
            put_padded(end - n, n, width, pad, left);
            break;
        case '\0':
            return;
        default:
            uart_putc(*f);
        }
    }
}

void printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}
