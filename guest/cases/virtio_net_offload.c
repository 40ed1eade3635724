// What a card does for its driver: checksums that the driver only began, and a TCP request of 64 KB that
// becomes frames. Keys: cards=2 (the second one receives, on a network that the two share), and those of
// net_options.h.
#include "clock.h"
#include "cmdline.h"
#include "inet.h"
#include "report.h"
#include "ring3.h"
#include "string.h"
#include "virtio/net_loop.h"
#include "virtio/net_options.h"

enum { SOON_MS = 2000, IP = 14, TCP = 34, DATA = 54, MSS = 1460, LARGE = 44 * MSS - 100, SMALL = 333 };

static struct net sender, second;
static struct net *receiver = &sender;
static u8 request[sizeof(struct net_header) + DATA + LARGE];
static struct net_frame frame;
static u8 whole[DATA + LARGE];
static u64 frames, bytes, longest, bad_sums, bad_data, unfinished;

// A TCP segment over IPv4 with `length` bytes of data; its TCP checksum is that of the pseudo header.
static void build(u32 length, u8 gso_type)
{
    u8 *out = request + sizeof(struct net_header);
    struct net_header h = {.flags = NET_NEEDS_CSUM, .gso_type = gso_type, .csum_start = TCP, .csum_offset = 16};
    if (gso_type) {
        h.header_length = DATA;
        h.gso_size = MSS;
    }
    memcpy(out - sender.header, &h, sender.header);
    memcpy(out, receiver->mac, 6);
    memcpy(out + 6, sender.mac, 6);
    put_be16(out + 12, 0x0800);
    memcpy(out + IP, "\x45\0\0\0\0\1\x40\0\x40\x06\0\0\x0a\0\0\2\x0a\0\0\1", 20);
    memcpy(out + TCP, "\x30\x39\0\x50\0\0\0\1\0\0\0\1\x50\x18\xff\xff\0\0\0\0", 20);
    put_be16(out + IP + 2, 40 + length);
    put_be16(out + IP + 10, (u16)~ones_sum(out + IP, 20, 0));
    for (u32 i = 0; i < length; i++)
        out[DATA + i] = (u8)(i * 3 + i / 256);
    put_be16(out + TCP + 16, pseudo_sum(out + IP, 20 + length));
}

// One received frame of ours: where its data belongs is in its sequence number.
static void look(u32 length)
{
    u32 at = 0;
    for (unsigned part = 0; part < frame.parts && at + frame.part[part].length <= sizeof whole; part++) {
        memcpy(whole + at, frame.part[part].data, frame.part[part].length);
        at += frame.part[part].length;
    }
    if (at < DATA || get_be16(whole + 12) != 0x0800)
        return;
    u32 size = get_be16(whole + IP + 2), start = get_be32(whole + TCP + 4) - 1;
    if (IP + size > at || size < 40) {
        bad_data++;
        return;
    }
    frames++;
    bytes += size - 40;
    longest = size - 40 > longest ? size - 40 : longest;
    bad_sums += ones_sum(whole + IP, 20, 0) != 0xFFFF;
    // With GUEST_CSUM a sum may be left to us, and then says so.
    if (frame.header.flags & NET_NEEDS_CSUM)
        unfinished++;
    else
        bad_sums += ones_sum(whole + TCP, size - 20, pseudo_sum(whole + IP, size - 20)) != 0xFFFF;
    for (u32 i = 0; i < size - 40; i++)
        bad_data += start + i >= length || whole[DATA + i] != (u8)((start + i) * 3 + (start + i) / 256);
}

static u64 exchange(u64 length)
{
    u64 at = (u64)request + sizeof(struct net_header) - sender.header, deadline = deadline_ms(SOON_MS);
    struct piece pieces[2] = {{at, sender.header}, {at + sender.header, (u32)(DATA + length)}};
    frames = bytes = longest = bad_sums = bad_data = unfinished = 0;
    if (!net_queue_pieces(&sender, 0, pieces, 2))
        return false;
    net_kick(&sender, 0);
    while (bytes < length && !deadline_passed(deadline)) {
        if (!net_receive(receiver, 0, &frame))
            continue;
        look((u32)length);
        net_release(receiver, 0, &frame);
    }
    while (!net_sent(&sender, 0) && !deadline_passed(deadline))
        ;
    return bytes == length && !bad_sums && !bad_data && net_sent(&sender, 0);
}

static bool open(const struct net_options *options)
{
    if (cmdline_u64("cards", 1) == 2) {
        receiver = &second;
        if (!net_open(&second, 1, options))
            return false;
    }
    return net_open(&sender, 0, options);
}

int main(void)
{
    struct net_options options = net_options();
    clock_init();
    if (!report(open(&options), "open", "a card for each side") ||
        !report(sender.device.features & NET_F_CSUM, "offer", "CSUM"))
        return report_summary();
    build(SMALL, NET_GSO_NONE);
    report(ring3_call(exchange, SMALL) && !unfinished, "checksum", "is finished by the card");
    if (report(sender.device.features & NET_F_HOST_TSO4, "offer_tso", "HOST_TSO4")) {
        build(LARGE, NET_GSO_TCPV4);
        bool good = ring3_call(exchange, LARGE);
        report(good && longest == MSS && frames == 44 && !unfinished,
               "segments", "%lu, of %lu bytes at most", frames,
               longest);
    }
    // A driver that takes large frames in many buffers may get it as it is, or cut.
    options.wanted |= NET_F_MRG_RXBUF | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4;
    report(open(&options) && receiver->device.features & NET_F_MRG_RXBUF, "reopen", "with mergeable buffers");
    build(LARGE, NET_GSO_TCPV4);
    report(ring3_call(exchange, LARGE) && !receiver->torn, "large", "comes whole, in one frame or several");
    return report_summary();
}
