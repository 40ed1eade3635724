// Hands the card a ring of large requests that become 2,048 frames each, and never ends.
#include "printf.h"
#include "report.h"
#include "string.h"
#include "virtio/net.h"
#include "virtio/net_options.h"

enum { HEADERS = 54, PAYLOAD = 2048, IP = 14, TCP = 34 };

static struct net card;
static struct net_options options;
static u8 request[sizeof(struct net_header) + HEADERS + PAYLOAD];

int main(void)
{
    options = net_options();
    net_open_checked(&card, &options);
    struct net_header h = {.flags = NET_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4, .header_length = HEADERS,
                           .gso_size = 1, .csum_start = TCP, .csum_offset = 16};
    u8 *frame = request + sizeof h;
    memcpy(frame - card.header, &h, card.header);
    frame[12] = 8;
    frame[IP] = 0x45;
    frame[TCP + 12] = 0x50;
    struct piece pieces[2] = {{(u64)frame - card.header, card.header}, {(u64)frame, HEADERS + PAYLOAD}};
    unsigned count = 0;
    while (net_queue_pieces(&card, 0, pieces, 2))
        count++;
    printf("RINGING for %u requests\n", count);
    net_kick(&card, 0);
    for (;;)
        ;
}
