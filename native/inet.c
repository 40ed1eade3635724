#include "inet.h"

#include <pthread.h>
#include <string.h>

uint32_t pk_ones_sum(const uint8_t *data, uint32_t length, uint64_t start)
{
    /* Sums may be taken in either byte order and swapped at the end (RFC 1071, 2(B)); 32-bit words
     * in a 64-bit sum cannot overflow below 16 GiB. */
    uint64_t sum = 0, upper = 0;
    for (; length >= 32; data += 32, length -= 32) {
        uint64_t words[4];
        memcpy(words, data, sizeof words);
        for (int i = 0; i < 4; i++) {
            sum += (uint32_t)words[i];
            upper += words[i] >> 32;
        }
    }
    sum += upper;
    while (length >= 4) {
        uint32_t word;
        memcpy(&word, data, sizeof word);
        sum += word;
        data += 4;
        length -= 4;
    }
    if (length >= 2) {
        sum += pk_le16(data);
        data += 2;
        length -= 2;
    }
    if (length)
        sum += *data;
    uint32_t folded = pk_fold(sum);
    return pk_fold(((folded & 0xFF) << 8 | folded >> 8) + start);
}

/* Eight bytes a step: table n is table 0 with n zero bytes behind. */
static uint32_t crc_tables[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void make_crc_tables(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? 0xEDB88320 ^ crc >> 1 : crc >> 1;
        crc_tables[0][n] = crc;
    }
    for (int table = 1; table < 8; table++)
        for (uint32_t n = 0; n < 256; n++) {
            uint32_t before = crc_tables[table - 1][n];
            crc_tables[table][n] = crc_tables[0][before & 0xFF] ^ before >> 8;
        }
}

uint32_t pk_crc32(const uint8_t *data, uint32_t length)
{
    pthread_once(&crc_once, make_crc_tables);
    uint32_t crc = ~0u;
    for (; length >= 8; data += 8, length -= 8) {
        uint32_t low = pk_le32(data) ^ crc, high = pk_le32(data + 4);
        crc = crc_tables[7][low & 0xFF] ^ crc_tables[6][low >> 8 & 0xFF] ^
              crc_tables[5][low >> 16 & 0xFF] ^ crc_tables[4][low >> 24] ^
              crc_tables[3][high & 0xFF] ^ crc_tables[2][high >> 8 & 0xFF] ^
              crc_tables[1][high >> 16 & 0xFF] ^ crc_tables[0][high >> 24];
    }
    while (length--)
        crc = crc_tables[0][(crc ^ *data++) & 0xFF] ^ crc >> 8;
    return ~crc;
}
