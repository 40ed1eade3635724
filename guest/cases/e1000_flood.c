// Hands the card a ring of segmentation requests that become 8 million frames, and never ends.
#include "e1000/e1000.h"
#include "printf.h"
#include "report.h"
#include "string.h"

enum { COUNT = 4096, HEADERS = 54, PAYLOAD = 2048, IP = 14, TCP = 34 };

static struct e1000 card;
static u64 ring[COUNT][2] __attribute__((aligned(128)));
static u8 request[HEADERS + PAYLOAD];

int main(void)
{
    report(e1000_open(&card, 0, 0), "open", "the card is there");
    request[12] = 8;
    request[IP] = 0x45;
    request[TCP + 12] = 0x50;
    ring[0][0] = IP | (IP + 10) << 8 | (u64)TCP << 32 | (u64)(TCP + 16) << 40;
    ring[0][1] = (u64)(TUCMD_TCP | TUCMD_IPV4 | TUCMD_TSE | DCMD_DEXT) << 24 | (u64)HEADERS << 40 | 1ull << 48;
    for (unsigned i = 1; i < COUNT; i++) {
        ring[i][0] = (u64)request;
        ring[i][1] = sizeof request | 1u << 20 | (u64)(TX_EOP | DCMD_TSE | DCMD_DEXT) << 24 |
                     (u64)(POPTS_IXSM | POPTS_TXSM) << 40;
    }
    reg_write(&card, TCTL, 0);
    reg_write(&card, TDBAL, (u32)(u64)ring);
    reg_write(&card, TDLEN, sizeof ring);
    reg_write(&card, TDH, 0);
    reg_write(&card, TCTL, TCTL_EN);
    printf("RINGING\n");
    reg_write(&card, TDT, COUNT - 1);
    for (;;)
        ;
}
