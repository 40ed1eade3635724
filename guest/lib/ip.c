#include "ip.h"

#include "arp.h"
#include "clock.h"
#include "cpu.h"
#include "inet.h"
#include "string.h"

enum { ETHER = 14, IP = 20, TCP = 20, MTU = 1500, RETRY_MS = 300 };
enum { IP_TYPE = 0x0800, ICMP = 1, TCP_PROTOCOL = 6 };
enum { FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10 };

static u8 out[ETHER + MTU];

static bool emit(struct ip_host *host, u16 length)
{
    u64 deadline = deadline_ms(RETRY_MS);
    while (!host->nic->send(out, length < 60 ? 60 : length))
        if (deadline_passed(deadline))
            return false;
    return true;
}

static void arp(struct ip_host *host, u16 operation, const u8 *mac, u32 address)
{
    struct arp arp = {.operation = operation, .sender = host->address, .target = address};
    memcpy(arp.mac, host->nic->mac, 6);
    arp_write(out, &arp, mac);
    emit(host, ARP_FRAME);
}

// Takes one frame, if there is one: ARP is handled here; an IPv4 packet to us of that protocol is
// returned, still the card's, for the caller to release.
static const u8 *next_packet(struct ip_host *host, u8 protocol, u16 *size)
{
    u16 length;
    const u8 *in = host->nic->receive(&length);
    if (!in)
        return NULL;
    const u8 *ip = in + ETHER;
    struct arp heard;
    if (arp_read(in, length, &heard)) {
        if (heard.operation == ARP_REPLY && heard.sender == host->gateway) {
            memcpy(host->gateway_mac, heard.mac, 6);
            host->resolved = true;
        } else if (heard.operation == ARP_REQUEST && heard.target == host->address) {
            arp(host, ARP_REPLY, heard.mac, heard.sender);
        }
    } else if (length >= ETHER + IP && get_be16(in + 12) == IP_TYPE && ip[0] == 0x45 &&
               ip[9] == protocol && get_be32(ip + 16) == host->address &&
               get_be16(ip + 2) <= length - ETHER && ones_sum(ip, IP, 0) == 0xFFFF) {
        *size = (u16)(get_be16(ip + 2) - IP);
        return ip;
    }
    host->nic->release();
    return NULL;
}

bool ip_resolve(struct ip_host *host, u32 ms)
{
    u64 end = deadline_ms(ms), again = 0;
    u16 size;
    while (!host->resolved && !deadline_passed(end)) {
        if (deadline_passed(again)) {
            arp(host, ARP_REQUEST, NULL, host->gateway);
            again = deadline_ms(RETRY_MS);
        }
        if (next_packet(host, 0, &size))
            host->nic->release();
    }
    return host->resolved;
}

// Ethernet and IP headers for `size` bytes that stand behind them.
static void wrap(struct ip_host *host, u32 to, u8 protocol, u16 size)
{
    static u16 ident;
    u8 *ip = out + ETHER;
    memcpy(out, host->gateway_mac, 6);
    memcpy(out + 6, host->nic->mac, 6);
    put_be16(out + 12, IP_TYPE);
    memcpy(ip, "\x45\0\0\0\0\0\x40\0\x40\0\0\0", 12);
    put_be16(ip + 2, IP + size);
    put_be16(ip + 4, ++ident);
    ip[9] = protocol;
    put_be32(ip + 12, host->address);
    put_be32(ip + 16, to);
    put_be16(ip + 10, ~ones_sum(ip, IP, 0));
}

bool ip_ping(struct ip_host *host, u32 to, u16 size, u32 ms)
{
    static u16 sequence;
    u8 *icmp = out + ETHER + IP;
    sequence++;
    memcpy(icmp, "\x08\0\0\0\x50\x4b\0\0", 8);
    put_be16(icmp + 6, sequence);
    for (u16 i = 0; i < size; i++)
        icmp[8 + i] = (u8)(i + sequence);
    wrap(host, to, ICMP, (u16)(8 + size));
    put_be16(icmp + 2, ~ones_sum(icmp, 8u + size, 0));
    if (!emit(host, (u16)(ETHER + IP + 8 + size)))
        return false;
    u64 end = deadline_ms(ms);
    while (!deadline_passed(end)) {
        u16 got;
        const u8 *ip = next_packet(host, ICMP, &got);
        if (!ip)
            continue;
        const u8 *reply = ip + IP;
        bool ours = got == size + 8 && reply[0] == 0 && get_be16(reply + 6) == sequence &&
                    ones_sum(reply, got, 0) == 0xFFFF;
        for (u16 i = 0; ours && i < size; i++)
            ours = reply[8 + i] == (u8)(i + sequence);
        host->nic->release();
        if (ours)
            return true;
    }
    return false;
}

static void segment(struct tcp *tcp, u8 flags, const u8 *data, u16 size)
{
    u8 *p = out + ETHER + IP;
    memset(p, 0, TCP);
    put_be16(p, tcp->local);
    put_be16(p + 2, tcp->port);
    put_be32(p + 4, tcp->next);
    put_be32(p + 8, flags & ACK ? tcp->expected : 0);
    p[12] = 0x50;
    p[13] = flags;
    put_be16(p + 14, 8192);
    memcpy(p + TCP, data, size);
    wrap(tcp->host, tcp->peer, TCP_PROTOCOL, (u16)(TCP + size));
    put_be16(p + 16, ~ones_sum(p, (size_t)TCP + size, pseudo_sum(out + ETHER, TCP + size)));
    emit(tcp->host, (u16)(ETHER + IP + TCP + size));
}

// What one segment of the peer's says.
struct heard {
    u8 flags;
    u32 sequence, acknowledged;
    const u8 *data;
    u16 size;
};

// Takes one segment of this connection; the caller releases the frame.
static bool hear(struct tcp *tcp, struct heard *heard)
{
    u16 size;
    const u8 *ip = next_packet(tcp->host, TCP_PROTOCOL, &size);
    if (!ip)
        return false;
    const u8 *p = ip + IP;
    u16 header = (u16)((p[12] >> 4) * 4);
    if (size < TCP || header < TCP || header > size || get_be32(ip + 12) != tcp->peer ||
        get_be16(p) != tcp->port || get_be16(p + 2) != tcp->local ||
        ones_sum(p, size, pseudo_sum(ip, size)) != 0xFFFF) {
        tcp->host->nic->release();
        return false;
    }
    *heard = (struct heard){p[13], get_be32(p + 4), get_be32(p + 8), p + header, (u16)(size - header)};
    if (p[13] & RST)
        tcp->open = false;
    return true;
}

// Sends a segment again and again until `acknowledged` bytes of sequence space are confirmed.
static bool confirmed(struct tcp *tcp, u8 flags, const u8 *data, u16 size, u32 ms)
{
    u32 after = tcp->next + size + (flags & (SYN | FIN) ? 1 : 0);
    u64 end = deadline_ms(ms), again = 0;
    while (!deadline_passed(end)) {
        struct heard heard;
        if (deadline_passed(again)) {
            segment(tcp, flags, data, size);
            again = deadline_ms(RETRY_MS);
        }
        if (!hear(tcp, &heard))
            continue;
        if (flags & SYN && heard.flags & SYN)
            tcp->expected = heard.sequence + 1;
        tcp->host->nic->release();
        if (heard.flags & RST)
            return false;
        // Data that comes meanwhile is not taken; the peer sends it again.
        if (heard.flags & ACK && heard.acknowledged == after) {
            tcp->next = after;
            return true;
        }
    }
    return false;
}

bool tcp_connect(struct tcp *tcp, struct ip_host *host, u32 to, u16 port, u32 ms)
{
    static u16 local = 40000;
    *tcp = (struct tcp){.host = host, .peer = to, .port = port, .local = ++local, .open = true,
                        .next = (u32)rdtsc()};
    if (!confirmed(tcp, SYN, NULL, 0, ms))
        return tcp->open = false;
    segment(tcp, ACK, NULL, 0);
    return true;
}

bool tcp_send(struct tcp *tcp, const u8 *data, u16 size, u32 ms)
{
    return tcp->open && confirmed(tcp, ACK | PSH, data, size, ms);
}

int tcp_receive(struct tcp *tcp, u8 *data, u16 size, u32 ms)
{
    u64 end = deadline_ms(ms);
    while (tcp->open && !tcp->finished && !deadline_passed(end)) {
        struct heard heard;
        if (!hear(tcp, &heard))
            continue;
        u16 taken = 0;
        if (heard.sequence == tcp->expected && heard.size <= size) {
            taken = heard.size;
            memcpy(data, heard.data, taken);
            tcp->expected += taken;
            if (heard.flags & FIN) {
                tcp->expected++;
                tcp->finished = true;
            }
        }
        bool answer = heard.size || heard.flags & FIN;
        tcp->host->nic->release();
        if (answer)
            segment(tcp, ACK, NULL, 0);
        if (taken)
            return taken;
    }
    return tcp->finished ? 0 : -1;
}

bool tcp_close(struct tcp *tcp, u32 ms)
{
    u8 rest[MTU];
    bool closed = tcp->open && confirmed(tcp, FIN | ACK, NULL, 0, ms);
    while (closed && !tcp->finished)
        if (tcp_receive(tcp, rest, sizeof rest, ms) < 0)
            closed = false;
    tcp->open = false;
    return closed;
}
