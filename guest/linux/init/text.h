/* Lines of text, files with one line, numbers. */
#ifndef INIT_TEXT_H
#define INIT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line {
    size_t length;
    char text[512]; /* always ends in a zero; what does not fit is cut */
};

/* printf with %s, %u, %llu, %x and %%; a width is two digits, and filled with zeros (%02x). */
void say(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool equal(const char *a, const char *b);
/* What follows `start` in `text`, or NULL. */
const char *after(const char *text, const char *start);
/* The decimal number that *text begins with; *text is moved past it. False if there is none. */
bool number(const char **text, uint64_t *value);
/* Quotient in *n, the remainder is returned: the 32-bit build has no libgcc to divide with. */
uint32_t divide(uint64_t *n, uint32_t by);

/* A file's text into `buffer`, cut to its size and without the last newline; false if unreadable. */
bool file_text(const char *path, char *buffer, size_t size);
/* The same for a line, by way of a number; 0 if there is none. */
uint64_t file_number(const char *path);

/* The value of `key=` on the kernel's command line, or NULL. One buffer: gone with the next call. */
const char *argument(const char *key);
/* That as a number, or `otherwise`. */
uint64_t argument_number(const char *key, uint64_t otherwise);

/* Needed by what the compiler makes of assignments. */
void *memset(void *to, int byte, size_t count);
void *memcpy(void *to, const void *from, size_t count);

#endif
