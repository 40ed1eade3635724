// What the card does to frames: checksums, segmentation, VLAN tags. Through the PHY's loopback.
#include "clock.h"
#include "e1000/e1000.h"
#include "e1000/loop.h"
#include "inet.h"
#include "report.h"
#include "string.h"

enum { ETHER = 14, V4 = 34, V4_ALL = 54, V6_ALL = 74, MSS = 1000, PAYLOAD = 3500, SOON = 1000 };

static struct e1000 card;
static u8 headers[V6_ALL];
static u8 payload[PAYLOAD];

static void put_headers(bool v6)
{
    memset(headers, 0, sizeof headers);
    memcpy(headers, card.mac, 6);
    memcpy(headers + 6, card.mac, 6);
    put_be16(headers + 12, v6 ? 0x86DD : 0x0800);
    u8 *ip = headers + ETHER, *tcp = ip + (v6 ? 40 : 20);
    if (v6) {
        ip[0] = 0x60;
        ip[6] = 6;
        ip[7] = 64;
        ip[23] = 1;
        ip[39] = 2;
    } else {
        memcpy(ip, "\x45\0\0\0\x12\x34\x40\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 20);
    }
    put_be16(tcp, 1234);
    put_be16(tcp + 2, 80);
    put_be32(tcp + 4, 0xFFFFFC00); // the sequence number wraps on the way
    tcp[12] = 0x50;
    tcp[13] = 0x19; // FIN, PSH, ACK
}

static u16 tcp_pseudo(const u8 *ip, u32 length)
{
    return (ip[0] >> 4) == 4 ? pseudo_sum(ip, length) : ones_sum(ip + 8, 32, 6 + length);
}

static void checksums(void)
{
    u16 length;
    u8 *out = loop_frame(&card, NULL, 200);
    put_be16(out + 50, 0);
    u16 wanted = (u16)~ones_sum(out + ETHER, 200 - ETHER, 0);
    e1000_queue_sum(&card, 200, 50, ETHER);
    const u8 *in = loop_take(&card, &length, SOON);
    report(in && length == 200 && get_be16(in + 50) == wanted, "legacy_sum", "a legacy descriptor's checksum");
    if (in)
        e1000_release(&card);

    put_headers(false);
    u8 *ip = headers + ETHER;
    put_be16(ip + 2, 40 + 500);
    put_be16(headers + V4 + 16, tcp_pseudo(ip, 20 + 500));
    struct e1000_context context = {.ipcss = ETHER, .ipcso = ETHER + 10, .ipcse = V4 - 1,
                                    .tucss = V4, .tucso = V4 + 16, .tucmd = TUCMD_TCP | TUCMD_IPV4};
    e1000_queue_context(&card, &context);
    e1000_queue_data(&card, headers, V4_ALL, 0, POPTS_IXSM | POPTS_TXSM);
    e1000_queue_data(&card, payload, 500, TX_EOP, 0);
    in = loop_take(&card, &length, SOON);
    bool good = in && length == V4_ALL + 500 && ones_sum(in + ETHER, 20, 0) == 0xFFFF &&
                ones_sum(in + V4, 520, pseudo_sum(in + ETHER, 520)) == 0xFFFF;
    report(good, "offload_sums", "the IP and TCP checksums of a context");
    if (in)
        e1000_release(&card);
}

// One request, checked segment by segment.
static void segments(bool v6)
{
    put_headers(v6);
    u8 all = v6 ? V6_ALL : V4_ALL, transport = (u8)(all - 20);
    put_be16(headers + transport + 16, tcp_pseudo(headers + ETHER, 0));
    struct e1000_context context = {
        .ipcss = ETHER, .ipcso = ETHER + 10, .ipcse = (u16)(transport - 1), .tucss = transport,
        .tucso = (u8)(transport + 16), .paylen = PAYLOAD, .hdrlen = all, .mss = MSS,
        .tucmd = TUCMD_TCP | TUCMD_TSE | (v6 ? 0 : TUCMD_IPV4)};
    e1000_queue_context(&card, &context);
    e1000_queue_data(&card, headers, all, DCMD_TSE, POPTS_TXSM | (v6 ? 0 : POPTS_IXSM));
    e1000_queue_data(&card, payload, 1700, DCMD_TSE, 0);
    e1000_queue_data(&card, payload + 1700, PAYLOAD - 1700, DCMD_TSE | TX_EOP, 0);
    unsigned count = 0, done = 0;
    bool good = true;
    u16 length;
    const u8 *in;
    while (done < PAYLOAD && (in = loop_take(&card, &length, SOON))) {
        const u8 *ip = in + ETHER, *tcp = in + transport;
        u16 part = (u16)(length - all);
        bool last = done + part == PAYLOAD;
        good &= part == (last ? PAYLOAD % MSS : MSS) && memcmp(in + all, payload + done, part) == 0;
        good &= get_be32(tcp + 4) == (u32)(0xFFFFFC00 + done) && tcp[13] == (last ? 0x19 : 0x10);
        if (v6) {
            good &= get_be16(ip + 4) == part + 20;
        } else {
            good &= get_be16(ip + 2) == part + 40 && get_be16(ip + 4) == 0x1234 + count;
            good &= ones_sum(ip, 20, 0) == 0xFFFF;
        }
        good &= ones_sum(tcp, part + 20u, tcp_pseudo(ip, part + 20u)) == 0xFFFF;
        done += part;
        count++;
        e1000_release(&card);
    }
    report(good && count == 4, v6 ? "tso_v6" : "tso_v4", "a request of %u bytes becomes %u segments",
           PAYLOAD, count);
}

static void tags(void)
{
    u16 length;
    reg_write(&card, CTRL, reg_read(&card, CTRL) | CTRL_VME);
    loop_frame(&card, NULL, 100);
    e1000_queue_tagged(&card, 100, 0x2005);
    const u8 *in = loop_take(&card, &length, SOON);
    const struct rx_descriptor *d = e1000_received(&card);
    report(in && length == 100 && d->status & RX_VP && d->special == 0x2005 && in[12] == 0x88,
           "vlan", "a tag goes in on one side and comes out on the other");
    if (in)
        e1000_release(&card);
    reg_write(&card, CTRL, reg_read(&card, CTRL) & ~CTRL_VME);
    u8 *out = loop_frame(&card, NULL, 100);
    put_be16(out + 12, 0x8100);
    e1000_queue(&card, 100);
    in = loop_take(&card, &length, SOON);
    d = e1000_received(&card);
    report(in && length == 100 && !(d->status & RX_VP) && get_be16(in + 12) == 0x8100, "vlan_off",
           "without VME a tag is data");
    if (in)
        e1000_release(&card);
}

int main(void)
{
    clock_init();
    for (unsigned i = 0; i < PAYLOAD; i++)
        payload[i] = (u8)(i * 13);
    if (!report(e1000_open(&card, 0, 0), "offload_open", "a card"))
        return report_summary();
    e1000_loop_back(&card);
    loop_warm_up(&card);
    checksums();
    segments(false);
    segments(true);
    tags();
    return report_summary();
}
