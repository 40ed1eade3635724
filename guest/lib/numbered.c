#include "numbered.h"

#include "string.h"

static u32 table[256];
static u8 come[NUMBERED_MOST / 8];

void numbered_init(void)
{
    for (u32 n = 0; n < 256; n++) {
        u32 c = n;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xEDB88320 ^ c >> 1 : c >> 1;
        table[n] = c;
    }
}

static u32 crc32(const u8 *p, size_t n)
{
    u32 c = ~0u;
    while (n--)
        c = table[(c ^ *p++) & 0xFF] ^ c >> 8;
    return ~c;
}

void numbered_write(u8 *out, u32 size, const u8 *mac, u32 number)
{
    memset(out, 0xFF, 6);
    memcpy(out + 6, mac, 6);
    out[12] = NUMBERED_TYPE >> 8;
    out[13] = NUMBERED_TYPE & 0xFF;
    memcpy(out + NUMBERED_BODY, &number, 4);
    for (u32 i = NUMBERED_BODY + 4; i < size - 4; i++)
        out[i] = (u8)(i + number);
    u32 crc = crc32(out + NUMBERED_BODY, size - NUMBERED_BODY - 4);
    memcpy(out + size - 4, &crc, 4);
}

bool numbered_take(struct numbered *n, const u8 *frame, u32 length)
{
    if (length < n->body + 8 ||
        (n->body == NUMBERED_BODY && (frame[12] << 8 | frame[13]) != NUMBERED_TYPE))
        return false;
    u32 number, crc;
    memcpy(&number, frame + n->body, 4);
    memcpy(&crc, frame + length - 4, 4);
    n->seen++;
    if (number >= NUMBERED_MOST || crc != crc32(frame + n->body, length - n->body - 4)) {
        n->corrupt++;
        return true;
    }
    u8 bit = (u8)(1 << number % 8);
    n->repeated += !!(come[number / 8] & bit);
    come[number / 8] |= bit;
    n->disordered += number < n->expected;
    if (number >= n->expected)
        n->expected = number + 1;
    return true;
}

bool numbered_whole(const struct numbered *n, u64 count)
{
    return n->seen == count && n->expected == count && !n->corrupt && !n->repeated && !n->disordered;
}
