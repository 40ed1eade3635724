#include "text.h"

#include <stdarg.h>

#include "linux.h"
#include "syscall.h"

void *memset(void *to, int byte, size_t count)
{
    for (size_t n = 0; n < count; n++)
        ((char *)to)[n] = (char)byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t count)
{
    for (size_t n = 0; n < count; n++)
        ((char *)to)[n] = ((const char *)from)[n];
    return to;
}

uint32_t divide(uint64_t *n, uint32_t by)
{
    uint32_t low = (uint32_t)*n, high = (uint32_t)(*n >> 32), rest = high % by;
    __asm__("divl %2" : "+a"(low), "+d"(rest) : "r"(by));
    *n = (uint64_t)(high / by) << 32 | low;
    return rest;
}

static void put(struct line *line, char c)
{
    if (line->length < sizeof line->text - 1)
        line->text[line->length++] = c;
    line->text[line->length] = 0;
}

static void put_number(struct line *line, uint64_t value, uint32_t base, int width)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = "0123456789abcdef"[divide(&value, base)];
    while (value || count < width);
    while (count)
        put(line, digits[--count]);
}

void say(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    for (const char *p = format; *p; p++) {
        if (*p != '%') {
            put(line, *p);
            continue;
        }
        int width = 0, longs = 0;
        for (p++; *p >= '0' && *p <= '9'; p++)
            width = *p - '0';
        for (; *p == 'l'; p++)
            longs++;
        if (*p == 's')
            for (const char *s = va_arg(args, const char *); *s; s++)
                put(line, *s);
        else if (*p == 'u' || *p == 'x')
            put_number(line, longs == 2 ? va_arg(args, unsigned long long) : va_arg(args, unsigned),
                       *p == 'x' ? 16 : 10, width);
        else
            put(line, *p);
    }
    va_end(args);
}

const char *after(const char *text, const char *start)
{
    while (*start)
        if (*text++ != *start++)
            return NULL;
    return text;
}

bool equal(const char *a, const char *b)
{
    const char *rest = after(a, b);
    return rest && !*rest;
}

bool number(const char **text, uint64_t *value)
{
    const char *start = *text;
    *value = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++)
        *value = *value * 10 + (uint64_t)(**text - '0');
    return *text != start;
}

bool file_text(const char *path, char *buffer, size_t size)
{
    long fd = sys(SYS_OPEN, path, O_RDONLY), got = 0;
    size_t length = 0;
    buffer[0] = 0;
    if (fd < 0)
        return false;
    while (length < size - 1 && (got = sys(SYS_READ, fd, buffer + length, size - 1 - length)) > 0)
        length += (size_t)got;
    sys(SYS_CLOSE, fd);
    if (length && buffer[length - 1] == '\n')
        length--;
    buffer[length] = 0;
    return got >= 0;
}

uint64_t file_number(const char *path)
{
    char text[32];
    const char *p = text;
    uint64_t value = 0;
    if (file_text(path, text, sizeof text))
        number(&p, &value);
    return value;
}

const char *argument(const char *key)
{
    static char words[4096];
    if (!file_text("/proc/cmdline", words, sizeof words))
        return NULL;
    for (char *word = words, *end; *word; word = end) {
        for (end = word; *end && *end != ' '; end++)
            ;
        if (*end)
            *end++ = 0;
        const char *value = after(word, key);
        if (value && *value == '=')
            return value + 1;
    }
    return NULL;
}

uint64_t argument_number(const char *key, uint64_t otherwise)
{
    const char *text = argument(key);
    uint64_t value;
    return text && number(&text, &value) ? value : otherwise;
}
