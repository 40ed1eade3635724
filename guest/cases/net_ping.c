// Asks the network on the other side of the card: ARP, ping, a TCP connection to an echo server.
//
//   ip=A gw=A        addresses, default 10.0.2.15 and 10.0.2.2
//   to=A             whom to ping and to connect to, default the gateway
//   patience=N       milliseconds for each step, default 10000
//   port=N bytes=N   the echo server there (0: none), and how much to send
#include "clock.h"
#include "cmdline.h"
#include "e1000/e1000.h"
#include "ip.h"
#include "printf.h"
#include "report.h"
#include "string.h"

enum { PINGS = 5, CHUNK = 1400 };

static struct e1000 card;
static u32 patience;

static bool send(const u8 *frame, u16 length)
{
    u8 *buffer = e1000_buffer(&card);
    if (!buffer)
        return false;
    memcpy(buffer, frame, length);
    e1000_queue(&card, length);
    e1000_kick(&card);
    return true;
}

static const u8 *receive(u16 *length) { return e1000_receive(&card, length); }
static void release(void) { e1000_release(&card); }

static void echo(struct ip_host *host, u32 to, u16 port, u64 bytes)
{
    static u8 sent[CHUNK], back[2048];
    struct tcp tcp;
    if (!report(tcp_connect(&tcp, host, to, port, patience), "tcp_connect", "port %u", port))
        return;
    u64 done = 0;
    bool same = true;
    while (same && done < bytes) {
        u16 size = bytes - done < CHUNK ? (u16)(bytes - done) : CHUNK;
        for (u16 i = 0; i < size; i++)
            sent[i] = (u8)(i * 3 + done);
        same = tcp_send(&tcp, sent, size, patience);
        for (u16 got = 0; same && got < size;) {
            int part = tcp_receive(&tcp, back, sizeof back, patience);
            same = part > 0 && part <= size - got && memcmp(back, sent + got, (size_t)part) == 0;
            got = (u16)(got + (part > 0 ? part : 0));
        }
        done += size;
    }
    report(same, "tcp_echo", "%lu of %lu bytes came back unchanged", done, bytes);
    report(tcp_close(&tcp, patience), "tcp_close", "both sides closed");
}

int main(void)
{
    clock_init();
    if (!report(e1000_open(&card, 0, 0), "net_open", "a card"))
        return report_summary();
    patience = (u32)cmdline_u64("patience", 10000);
    struct nic nic = {.send = send, .receive = receive, .release = release};
    memcpy(nic.mac, card.mac, 6);
    struct ip_host host = {.nic = &nic, .address = cmdline_ipv4("ip", 0x0A00020F),
                           .gateway = cmdline_ipv4("gw", 0x0A000202)};
    if (!report(ip_resolve(&host, patience), "arp", "the gateway answers"))
        return report_summary();
    u32 to = cmdline_ipv4("to", host.gateway);
    unsigned answered = 0;
    for (u16 i = 0; i < PINGS; i++)
        answered += ip_ping(&host, to, (u16)(i * 300), patience);
    report(answered == PINGS, "ping", "%u of %u echoes", answered, PINGS);
    u64 port = cmdline_u64("port", 0);
    if (port)
        echo(&host, to, (u16)port, cmdline_u64("bytes", 100000));
    return report_summary();
}
