// How fast a card moves frames, seen from ring 3 of the guest.
//
//   BENCH <kind> <frames> <tsc cycles>      one line per measurement
//   TIMES <kind> <median> <p99> <slowest>   behind it if the guest waits for each request: its cycles
//
// Command line, all optional:
//   mode=tx      tx: send; the kinds are tx-SIZE-BATCH (frames to a doorbell), tx-tso, and if
//                asked for tx-tcp: 1514 bytes, 64 to a doorbell, one TCP flow; and
//                wait-SIZE-BATCH, wait-tso: the next doorbell when the card has sent it all
//   kind=NAME    only that one
//   frames=20000 frames per measurement; a tx-tso "frame" is a request of 44 segments
//   passes=3
//   mode=rx      rx: print READY, wait for a byte on the serial port, take `frames` frames, again
//   rows=KIND:N,...  instead: each in turn when a byte has come, those whose name begins with rx take
//                frames; the kind tx-tcp leaves its frames to who comes next
//   flush=0      1: read a register when none has come for a while. QEMU has KVM keep what is written to
//                RDT (coalesced MMIO) until the next exit, which a driver that only looks never makes
#include "cmdline.h"
#include "cpu.h"
#include "e1000/e1000.h"
#include "exit.h"
#include "inet.h"
#include "printf.h"
#include "ring3.h"
#include "rows.h"
#include "string.h"
#include "times.h"
#include "uart.h"

enum { MSS = 1460, SEGMENTS = 44, PIECES = 4, TSO_BATCH = 8, RESUME = 128, LOOKS = 256 };

static struct e1000 card;
static u16 size;
static u64 batch, flush;
static u8 headers[54];
static u8 payload[MSS * SEGMENTS];

static void ethernet(u8 *out, u16 type)
{
    memcpy(out, "\x02\0\0\0\0\x01", 6);
    memcpy(out + 6, card.mac, 6);
    out[12] = (u8)(type >> 8);
    out[13] = (u8)type;
}

// As drivers do, wait for a good part of a full ring, and do not look all the time: the card's core
// pays for each look.
static void wait_for_room(unsigned wanted)
{
    while (e1000_room(&card) < wanted)
        for (int i = 0; i < 64; i++)
            cpu_pause();
}

static void wait_until_sent(void)
{
    while (!e1000_sent(&card))
        cpu_pause();
}

static u64 send_frames(u64 frames)
{
    u64 start = rdtsc();
    for (u64 n = 1; n <= frames; n++) {
        if (!e1000_buffer(&card))
            wait_for_room(RESUME);
        e1000_queue(&card, size);
        if (n % batch == 0)
            e1000_kick(&card);
    }
    e1000_kick(&card);
    wait_until_sent();
    return rdtsc() - start;
}

// A doorbell for a batch, and the next batch when the descriptors say that it is sent. The time of each is
// noted: from its first descriptor on, as a caller of a driver sees it.
static u64 send_and_wait(u64 frames)
{
    times_start((frames + batch - 1) / batch);
    u64 start = rdtsc(), before = start;
    for (u64 left = frames; left;) {
        u64 count = left < batch ? left : batch;
        for (u64 n = 0; n < count; n++) {
            e1000_buffer(&card);
            e1000_queue(&card, size);
        }
        e1000_kick(&card);
        wait_until_sent();
        u64 now = rdtsc();
        times_note(now - before);
        before = now;
        left -= count;
    }
    return before - start;
}

// Fills descriptors without ringing; returns how many.
static u64 fill_batch(u64 count)
{
    for (u64 n = 0; n < count; n++) {
        while (!e1000_buffer(&card))
            wait_for_room(RESUME);
        e1000_queue(&card, size);
    }
    return count;
}

// A doorbell for every frame, rung in ring 0 as a kernel's driver does: cycles from the first doorbell to
// the last descriptor written back. Filling the descriptors, in ring 3, is not in it: where a host
// emulates ring 0 it would be most of it.
static u64 ring_for_each(u64 frames)
{
    u64 spent = 0;
    for (u64 left = frames; left;) {
        u64 count = left < E1000_RING - 1 ? left : E1000_RING - 1;
        u32 tail = card.tx_next;
        ring3_call(fill_batch, count);
        u64 start = rdtsc();
        for (u64 n = 0; n < count; n++) {
            tail = (tail + 1) % E1000_RING;
            reg_write(&card, TDT, tail);
        }
        while (!e1000_done(tail ? tail - 1 : E1000_RING - 1))
            cpu_pause();
        spent += rdtsc() - start;
        left -= count;
    }
    return spent;
}

static void queue_request(void)
{
    static const struct e1000_context context = {
        .ipcss = 14, .ipcso = 24, .ipcse = 33, .tucss = 34, .tucso = 50, .paylen = sizeof payload,
        .tucmd = TUCMD_TCP | TUCMD_IPV4 | TUCMD_TSE, .hdrlen = sizeof headers, .mss = MSS};
    e1000_queue_context(&card, &context);
    e1000_queue_data(&card, headers, sizeof headers, DCMD_TSE, POPTS_IXSM | POPTS_TXSM);
    for (unsigned i = 0; i < PIECES; i++)
        e1000_queue_data(&card, payload + i * (sizeof payload / PIECES), sizeof payload / PIECES,
                         DCMD_TSE | (i == PIECES - 1 ? TX_EOP : 0), 0);
}

static u64 send_requests(u64 requests)
{
    u64 start = rdtsc();
    for (u64 n = 1; n <= requests; n++) {
        if (e1000_room(&card) < 2 + PIECES)
            wait_for_room(RESUME);
        queue_request();
        if (n % TSO_BATCH == 0)
            e1000_kick(&card);
    }
    e1000_kick(&card);
    wait_until_sent();
    return rdtsc() - start;
}

static u64 send_requests_and_wait(u64 requests)
{
    times_start(requests);
    u64 start = rdtsc(), before = start;
    for (u64 n = 0; n < requests; n++) {
        queue_request();
        e1000_kick(&card);
        wait_until_sent();
        u64 now = rdtsc();
        times_note(now - before);
        before = now;
    }
    return before - start;
}

// One TCP flow through all the buffers: every turn of the ring sends it from its beginning.
static u64 fill_flow(u64 count)
{
    for (unsigned i = 0; i < count; i++) {
        u8 *out = e1000_tx_buffer(i), *ip = out + 14, *tcp = ip + 20;
        memcpy(out, headers, sizeof headers);
        put_be16(ip + 2, 40 + MSS);
        put_be16(ip + 4, i);
        put_be16(ip + 10, (u16)~ones_sum(ip, 20, 0));
        put_be32(tcp + 4, 1 + i * MSS);
        put_be16(tcp + 16, (u16)~ones_sum(tcp, 20 + MSS, pseudo_sum(ip, 20 + MSS)));
    }
    return count;
}

static void transmit(u64 frames, u64 passes, const char *only)
{
    static const struct {
        const char *name;
        u16 size, batch;
        u64 (*send)(u64 frames);
    } kinds[] = {
        {"tx-60-1", 60, 1, send_frames}, {"tx-60-64", 60, 64, send_frames},
        {"tx-1514-1", 1514, 1, send_frames}, {"tx-1514-64", 1514, 64, send_frames},
        {"wait-60-1", 60, 1, send_and_wait}, {"wait-60-64", 60, 64, send_and_wait},
        {"wait-1514-1", 1514, 1, send_and_wait}, {"wait-1514-64", 1514, 64, send_and_wait},
    };
    static const struct {
        const char *name;
        u16 size;
    } kernel[] = {{"tx-60-1-kernel", 60}, {"tx-1514-1-kernel", 1514}};
    for (u64 pass = 0; pass < passes; pass++) {
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
            if (*only && strcmp(only, kinds[i].name))
                continue;
            size = kinds[i].size;
            batch = kinds[i].batch;
            printf("BENCH %s %lu %lu\n", kinds[i].name, frames, ring3_call(kinds[i].send, frames));
            if (kinds[i].send == send_and_wait)
                times_print(kinds[i].name);
        }
        for (size_t i = 0; i < ARRAY_SIZE(kernel); i++) {
            if (*only && strcmp(only, kernel[i].name))
                continue;
            size = kernel[i].size;
            printf("BENCH %s %lu %lu\n", kernel[i].name, frames, ring_for_each(frames));
        }
        if (strcmp(only, "tx-tcp") == 0) { // only alone: it changes the buffers
            ring3_call(fill_flow, E1000_RING);
            size = sizeof headers + MSS;
            batch = 64;
            printf("BENCH tx-tcp %lu %lu\n", frames, ring3_call(send_frames, frames));
        }
        u64 requests = frames < 8 ? 1 : frames / 8;
        if (!*only || strcmp(only, "tx-tso") == 0)
            printf("BENCH tx-tso %lu %lu\n", requests, ring3_call(send_requests, requests));
        if (!*only || strcmp(only, "wait-tso") == 0) {
            printf("BENCH wait-tso %lu %lu\n", requests, ring3_call(send_requests_and_wait, requests));
            times_print("wait-tso");
        }
    }
}

static u64 take(u64 frames)
{
    u64 start = rdtsc();
    u16 length;
    for (u64 n = 0; n < frames; n++) {
        for (u64 looks = 1; !e1000_receive(&card, &length); looks++) {
            if (flush && looks % LOOKS == 0)
                reg_read(&card, STATUS);
            cpu_pause();
        }
        e1000_release(&card);
    }
    return rdtsc() - start;
}

static void row(const char *name, u64 count)
{
    if (memcmp(name, "rx", 2) == 0)
        printf("BENCH %s %lu %lu\n", name, count, ring3_call(take, count));
    else
        transmit(count, 1, name);
}

int main(void)
{
    char mode[8] = "tx", only[24] = "";
    u64 frames = cmdline_u64("frames", 20000), passes = cmdline_u64("passes", 3);
    flush = cmdline_u64("flush", 0);
    cmdline_get("mode", mode, sizeof mode);
    cmdline_get("kind", only, sizeof only);
    if (!e1000_open(&card, 0, 0))
        return EXIT_FAIL;
    u8 *out;
    for (unsigned i = 0; i < E1000_RING; i++) {
        out = e1000_tx_buffer(i);
        memset(out, 0xA5, 1514);
        ethernet(out, 0x88B5);
    }
    ethernet(headers, 0x0800);
    // IPv4 and TCP to an address that nobody has: version, TTL, protocol; data offset, ACK.
    memcpy(headers + 14, "\x45\0\0\0\0\1\x40\0\x40\x06\0\0\x0a\0\0\2\x0a\0\0\1", 20);
    memcpy(headers + 34, "\x30\x39\0\x50\0\0\0\1\0\0\0\1\x50\x10\xff\xff\0\0\0\0", 20);
    if (rows_each(row))
        return EXIT_PASS;
    if (strcmp(mode, "rx") == 0) {
        for (u64 pass = 0; pass < passes; pass++) {
            printf("READY\n");
            while (uart_getc() < 0)
                cpu_pause();
            printf("BENCH rx %lu %lu\n", frames, ring3_call(take, frames));
        }
        return EXIT_PASS;
    }
    transmit(frames, passes, only);
    return EXIT_PASS;
}
