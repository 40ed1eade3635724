#include "tcpsend.h"

#include "arp.h"
#include "clock.h"
#include "cpu.h"
#include "inet.h"
#include "pages.h"
#include "string.h"

enum { IP = 14, TCP = 34, DATA = NETDEV_HEADERS, IP_TYPE = 0x0800, PROTOCOL = 6 };
enum { FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10 };
// The buffer is large because a guest that sleeps is slow to wake where ring 0 is emulated: with 2 MB the
// card has sent everything before it does.
enum { BUFFER = 8 << 20, GRAIN = TCPSEND_GRAIN, MSS = 1460, OUR_WINDOW = 65535 };
enum { RETRY_MS = 200, RETRY_MOST_MS = 3000, PATIENCE_MS = 30000, DUPLICATES = 3 };

static u64 least(u64 a, u64 b) { return a < b ? a : b; }

static u32 sequence_of(const struct tcpsend *t, u64 offset) { return t->first + (u32)offset; }

static void start_timer(struct tcpsend *t) { t->timeout = deadline_ms(t->timeout_ms); }

// One request: headers, then the stream's bytes from `offset` on (SYN comes with its options instead).
static void emit(struct tcpsend *t, u8 flags, u64 offset, u32 size)
{
    static const u8 options[8] = {2, 4, MSS >> 8, MSS & 0xFF, 1, 3, 3, 0}; // MSS; window scale 0
    u32 extra = flags & SYN ? sizeof options : 0;
    u8 *out = netdev_buffer(t->dev), *ip = out + IP, *tcp = out + TCP;
    if (!out) {
        t->failed = "the card does not send";
        return;
    }
    memcpy(out, t->headers, DATA);
    put_be16(ip + 2, DATA - IP + extra + size);
    put_be16(ip + 4, (u32)t->requests);
    put_be16(ip + 10, (u16)~ones_sum(ip, TCP - IP, 0));
    put_be32(tcp + 4, flags & SYN ? t->first - 1 : sequence_of(t, offset));
    put_be32(tcp + 8, flags & ACK ? t->expected : 0);
    tcp[12] = (u8)((DATA - TCP + extra) << 2);
    tcp[13] = flags;
    memcpy(out + DATA, options, extra);
    struct request r = {.linear = DATA + extra, .sum = true, .mss = size > t->mss ? t->mss : 0};
    u32 at = (u32)(offset % BUFFER), some = (u32)least(size, BUFFER - at);
    for (u32 left = size; left; left -= some, at = 0, some = left) {
        r.part[r.parts].data = t->buffer + at;
        r.part[r.parts++].length = some;
    }
    netdev_queue(t->dev, out, &r);
    t->requests++;
}

// Bytes of the stream; those that are not in the buffer yet are made, over some that were acknowledged.
static void send_data(struct tcpsend *t, u64 offset, u32 size)
{
    for (u64 end = offset + size; t->made < end;) {
        u32 at = (u32)(t->made % BUFFER), some = (u32)least((end - t->made + GRAIN - 1) & -(u64)GRAIN, BUFFER - at);
        t->produce(t->buffer + at, t->made, some);
        t->made += some;
    }
    if (t->acked == t->highest)
        start_timer(t);
    t->retransmits += offset < t->highest;
    t->sent_segments += (size + t->mss - 1) / t->mss;
    t->wire_bytes += DATA + size;
    emit(t, (u8)(ACK | (offset + size == t->total ? PSH : 0)), offset, size);
    t->answer = false;
    if (offset + size > t->highest)
        t->highest = offset + size;
}

static void acknowledged(struct tcpsend *t, u32 number, u64 window, bool bare)
{
    u32 news = number - sequence_of(t, t->acked);
    if (news > t->highest - t->acked)
        return; // old, or of what was never sent
    u64 edge = t->acked + news + window;
    if (news) {
        t->acked += news;
        t->next = t->next > t->acked ? t->next : t->acked;
        t->duplicates = 0;
        t->timeout_ms = RETRY_MS;
        start_timer(t);
        t->patience = deadline_ms(PATIENCE_MS);
        t->holes = t->holes && t->acked < t->recover;
        t->resend = t->holes; // acknowledged up to the next hole
    } else if (bare && edge == t->edge && t->highest > t->acked && ++t->duplicates == DUPLICATES &&
               t->acked >= t->recover) {
        t->recover = t->highest;
        t->holes = t->resend = true;
    }
    t->edge = edge;
    t->widest = window > t->widest ? window : t->widest;
}

static void heard_syn(struct tcpsend *t, const u8 *tcp, u32 header)
{
    if ((tcp[13] & (SYN | ACK)) != (SYN | ACK) || get_be32(tcp + 8) != t->first)
        return;
    bool scaled = false;
    for (u32 at = 20; at + 1 < header && tcp[at]; at += tcp[at] == 1 ? 1 : tcp[at + 1] ? tcp[at + 1] : header) {
        if (tcp[at] == 2 && at + 4 <= header && get_be16(tcp + at + 2) < t->mss)
            t->mss = get_be16(tcp + at + 2);
        if (tcp[at] == 3 && at + 3 <= header) {
            t->scale = tcp[at + 2] < 14 ? tcp[at + 2] : 14;
            scaled = true;
        }
    }
    if (!scaled)
        t->scale = 0;
    t->expected = get_be32(tcp + 4) + 1;
    t->edge = t->widest = get_be16(tcp + 14); // never scaled in a SYN
    t->open = t->answer = true;
}

static void heard_tcp(struct tcpsend *t, const u8 *tcp, u32 size)
{
    u8 flags = tcp[13];
    u32 header = (tcp[12] >> 4) * 4u, sequence = get_be32(tcp + 4);
    if (header < 20 || header > size)
        return;
    if (flags & RST) {
        t->failed = t->open ? "the peer has reset the connection" : "the peer refuses the connection";
        return;
    }
    if (!t->open) {
        heard_syn(t, tcp, header);
        return;
    }
    u32 length = size - header;
    if (length || flags & (FIN | SYN)) {
        t->answer = true;
        if (sequence == t->expected) {
            t->expected += length + (flags & FIN);
            t->finished |= flags & FIN;
        }
    }
    if (flags & ACK)
        acknowledged(t, get_be32(tcp + 8), (u64)get_be16(tcp + 14) << t->scale, !length && !(flags & FIN));
}

static void heard(void *to, const struct received *frame)
{
    struct tcpsend *t = to;
    const u8 *ip = frame->data + IP, *tcp = frame->data + TCP;
    struct arp arp;
    if (arp_read(frame->data, frame->first, &arp)) {
        if (arp.sender != t->peer || arp.target != t->address)
            return;
        memcpy(t->peer_mac, arp.mac, 6);
        t->mac_known = true;
        t->owes_arp = arp.operation == ARP_REQUEST;
        return;
    }
    if (frame->first < DATA || get_be16(frame->data + 12) != IP_TYPE || ip[0] != 0x45 || ip[9] != PROTOCOL)
        return;
    u32 size = get_be16(ip + 2);
    if (get_be32(ip + 12) != t->peer || get_be32(ip + 16) != t->address || get_be16(tcp) != t->port ||
        get_be16(tcp + 2) != t->local || size < DATA - IP || IP + size > frame->length)
        return;
    // Data, which is not looked at, may lie in further parts.
    bool whole = IP + size <= frame->first;
    size -= TCP - IP;
    if (ones_sum(ip, TCP - IP, 0) == 0xFFFF &&
        (frame->checked || !whole || ones_sum(tcp, size, pseudo_sum(ip, size)) == 0xFFFF))
        heard_tcp(t, tcp, size);
}

static void ask(struct tcpsend *t, u16 operation)
{
    struct arp arp = {.operation = operation, .sender = t->address, .target = t->peer};
    u8 *out = netdev_buffer(t->dev);
    memcpy(arp.mac, t->dev->mac, 6);
    if (!out)
        return;
    arp_write(out, &arp, operation == ARP_REPLY ? t->peer_mac : NULL);
    netdev_queue(t->dev, out, &(struct request){.linear = ARP_FRAME});
    t->owes_arp = false;
}

static void write_headers(struct tcpsend *t)
{
    u8 *ip = t->headers + IP, *tcp = t->headers + TCP;
    memcpy(t->headers, t->peer_mac, 6);
    memcpy(t->headers + 6, t->dev->mac, 6);
    put_be16(t->headers + 12, IP_TYPE);
    memcpy(ip, "\x45\0\0\0\0\0\x40\0\x40\x06\0\0", 12); // DF, 64 hops
    put_be32(ip + 12, t->address);
    put_be32(ip + 16, t->peer);
    memset(tcp, 0, 20);
    put_be16(tcp, t->local);
    put_be16(tcp + 2, t->port);
    put_be16(tcp + 14, OUR_WINDOW);
}

bool tcpsend_connect(struct tcpsend *t, u32 ms)
{
    t->dev->deliver = heard;
    t->dev->to = t;
    t->buffer = pages_take(BUFFER);
    t->mss = MSS;
    t->first = (u32)rdtsc();
    t->local = (u16)(40000 + t->first % 20000);
    u64 end = deadline_ms(ms), again = 0;
    while (!t->open && !t->failed) {
        if (deadline_passed(end))
            t->failed = t->mac_known ? "the peer does not answer" : "nobody has the peer's address";
        if (deadline_passed(again)) {
            if (t->mac_known) {
                write_headers(t);
                emit(t, SYN, 0, 0);
            } else {
                ask(t, ARP_REQUEST);
            }
            netdev_flush(t->dev);
            again = deadline_ms(RETRY_MS);
        }
        bool known = t->mac_known;
        netdev_wait(t->dev);
        if (t->mac_known && !known)
            again = 0;
    }
    return !t->failed;
}

// How much of the stream may go out now: whole segments, and no small pieces of a window that is opening
// (RFC 9293, 3.8.6.2.1).
static u32 sendable(const struct tcpsend *t)
{
    u64 edge = least(t->edge, t->acked + BUFFER - GRAIN), most = (u64)t->segments * t->mss;
    if (t->next >= t->total || t->next >= edge)
        return 0;
    u64 rest = t->total - t->next, room = least(edge - t->next, most);
    if (rest <= room)
        return (u32)rest;
    bool idle = t->next == t->acked;
    if (room < most && room < t->widest / 2 && !idle)
        return 0;
    return (u32)(room >= t->mss ? room - room % t->mss : idle ? room : 0);
}

static void on_timeout(struct tcpsend *t)
{
    t->timeout_ms = (u32)least(t->timeout_ms * 2, RETRY_MOST_MS);
    t->next = t->acked;
    t->recover = t->highest;
    t->holes = t->resend = false;
    t->duplicates = 0;
    start_timer(t);
    if (t->edge == t->acked && t->acked < t->total) // a closed window: ask with one byte
        send_data(t, t->next++, 1);
}

// One thing that is to be sent; false if there is none.
static bool send_one(struct tcpsend *t)
{
    u32 size;
    if (t->owes_arp) {
        ask(t, ARP_REPLY);
    } else if (t->resend && t->acked < t->total) {
        t->resend = false;
        send_data(t, t->acked, (u32)least(t->mss, t->total - t->acked));
    } else if ((size = sendable(t))) {
        send_data(t, t->next, size);
        t->next += size;
    } else if (t->next == t->total) {
        emit(t, FIN | ACK, t->total, 0);
        t->retransmits += t->highest > t->total;
        t->next = t->highest = t->total + 1;
        t->answer = false;
    } else if (t->answer) {
        t->answer = false;
        emit(t, ACK, t->next, 0);
    } else {
        return false;
    }
    return true;
}

bool tcpsend_stream(struct tcpsend *t, u64 total)
{
    t->total = total;
    t->timeout_ms = RETRY_MS;
    t->patience = deadline_ms(PATIENCE_MS);
    start_timer(t);
    while (!t->failed && !(t->finished && t->acked == total + 1)) {
        netdev_service(t->dev);
        if (deadline_passed(t->patience))
            t->failed = t->acked > total ? "the peer does not close" : "the peer acknowledges nothing";
        else if (deadline_passed(t->timeout) && t->acked <= total)
            on_timeout(t);
        if (send_one(t))
            continue;
        netdev_flush(t->dev);
        netdev_wait(t->dev);
    }
    if (t->answer)
        emit(t, ACK, total + 1, 0);
    return netdev_drain(t->dev) && !t->failed;
}
