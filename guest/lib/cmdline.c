#include "cmdline.h"

#include "bootinfo.h"
#include "string.h"

const char *cmdline(void)
{
    return boot_info.cmdline ? (const char *)boot_info.cmdline : "";
}

bool cmdline_get(const char *key, char *value, size_t size)
{
    size_t n = strlen(key);

    for (const char *p = cmdline(); *p;) {
        while (*p == ' ')
            p++;
        const char *word = p;
        while (*p && *p != ' ')
            p++;
        size_t length = p - word;
        if (length < n || memcmp(word, key, n) || (length > n && word[n] != '='))
            continue;
        const char *from = word + n + (length > n);
        size_t copy = p - from;
        if (copy > size - 1)
            copy = size - 1;
        memcpy(value, from, copy);
        value[copy] = '\0';
        return true;
    }
    return false;
}

u64 cmdline_u64(const char *key, u64 fallback)
{
    char text[24];
    u64 value = 0;

    if (!cmdline_get(key, text, sizeof(text)) || !*text)
        return fallback;
    for (const char *p = text; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (*p - '0');
    return value;
}

u32 cmdline_ipv4(const char *key, u32 fallback)
{
    char text[20];
    u32 address = 0, part = 0;

    if (!cmdline_get(key, text, sizeof(text)))
        return fallback;
    for (const char *p = text;; p++) {
        if (*p && *p != '.') {
            part = part * 10 + (u32)(*p - '0');
            continue;
        }
        address = address << 8 | part;
        part = 0;
        if (!*p)
            return address;
    }
}
