// Streams of frames or of TCP through either card, as Linux's driver or as a polling one would move them,
// seen from ring 3 of the guest. What `pykvm bench net` runs.
//
//   card=auto|e1000|virtio-net
//   stream=raw|tcp  dir=tx|rx  unit=mtu|big   mtu: frames of 1,514 bytes. big: requests of 44 segments for the
//                                             card to cut, and to have put together for us
//   driver=linux|poll  batch=1                lib/netdev.h; batch: requests to a doorbell
//   queues=1                                  raw: pairs of virtio-net's, up to 4; a doorbell's requests go to one,
//                                             the next doorbell's to the next
//   vcpus=1                                   raw tx: as many as pairs, each of which sends by one of its own
//   seconds=2 count=N                         raw: for how long, or how many
//   ip=10.77.0.2 peer=10.77.0.1 port=5001 bytes=N   tcp: to whom, how much; word k (64 bits) holds k
//
// It prints READY, waits for a byte on the serial port, and does it; then it prints, in one line,
//
//   STREAM card=C stream=S dir=D unit=U frames=N segments=N bytes=N cycles=N interrupts=N polls=N kicks=N
//
// with lost=N behind it for rx, retransmits=N for tcp, and with several pairs how many frames went through
// each (pair0=N pair1=N), waits for another byte, and ends. Bytes are those of uncut frames with their
// Ethernet headers; cycles those of the TSC, for rx from the first frame on. What a card cannot do ends with
// UNSUPPORTED instead, and what goes wrong with FAIL.
//
// Raw frames have a number (64 bits, little endian, from 0): behind the Ethernet header with mtu, where a TCP
// payload begins with big. rx ends after `count` frames, or at a frame of EtherType 0x88B6: it has the number
// of all there were where theirs is, and what other pairs still hold of them is awaited. 0 is unknown.
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "e1000/e1000_netdev.h"
#include "exit.h"
#include "inet.h"
#include "netdev.h"
#include "printf.h"
#include "ring3.h"
#include "senders.h"
#include "string.h"
#include "tcpsend.h"
#include "uart.h"
#include "virtio/virtio_netdev.h"

enum { ETHER = 14, HEADERS = NETDEV_HEADERS, MSS = 1460, SEGMENTS = 44, MTU = 1514, NUMBER = 8 };
enum { TYPE_DATA = 0x88B5, TYPE_END = 0x88B6, CONNECT_MS = 10000, SILENCE_MS = 60000, LATE_MS = 1000 };

static char card[16] = "auto", stream[8] = "raw", dir[8] = "tx", unit[8] = "mtu", style[8] = "linux";
static struct netdev dev = {.batch = 1};
static struct tcpsend tcp = {.dev = &dev};
static struct sending sending = {.dev = &dev};
static u64 count, total; // as asked for
static u64 frames, segments, bytes, cycles, lost;
static unsigned queues;
static const char *failed;
static bool big;

// Transmit ------------------------------------------------------------------------------------------------

static u8 payload[MSS * SEGMENTS];
static u8 headers[HEADERS]; // of a big request

static void write_headers(void)
{
    memcpy(headers, "\x02\0\0\0\0\1", 6);
    memcpy(headers + 6, dev.mac, 6);
    put_be16(headers + 12, big ? 0x0800 : TYPE_DATA);
    if (!big)
        return;
    // IPv4 and TCP to an address that nobody has: version, TTL, protocol; data offset, ACK.
    memcpy(headers + 14, "\x45\0\0\0\0\1\x40\0\x40\x06\0\0\x0a\0\0\2\x0a\0\0\1", 20);
    memcpy(headers + 34, "\x30\x39\0\x50\0\0\0\1\0\0\0\1\x50\x10\xff\xff\0\0\0\0", 20);
    put_be16(headers + 16, 40 + sizeof payload);
    put_be16(headers + 24, (u16)~ones_sum(headers + 14, 20, 0));
}

static void queue_one(struct netdev *d, u8 *out, u64 number)
{
    u32 at = big ? HEADERS : ETHER;
    struct request r = {.linear = big ? HEADERS + NUMBER : MTU};
    memcpy(out, headers, at);
    memcpy(out + at, &number, NUMBER);
    if (big) {
        // The rest of the payload is the same memory each time.
        put_be32(out + 38, (u32)(number * sizeof payload));
        r.parts = 1;
        r.part[0].data = payload;
        r.part[0].length = sizeof payload - NUMBER;
        r.sum = true;
        r.mss = MSS;
    } else {
        memset(out + at + NUMBER, 0xA5, MTU - ETHER - NUMBER);
    }
    netdev_queue(d, out, &r);
}

static u64 transmit(u64 unused)
{
    frames = senders_run((u64)&sending);
    if (sending.failed)
        failed = "the card does not send";
    cycles = sending.cycles;
    segments = frames * (big ? SEGMENTS : 1);
    bytes = frames * (big ? HEADERS + sizeof payload : MTU);
    return unused;
}

// Receive -------------------------------------------------------------------------------------------------

static u64 first_tsc, last_tsc, expected, numbers; // numbers: the sum of those that came
static u64 all, late; // after the end of the stream: frames there were, and when we give up
static bool ended;

static void take(void *to, const struct received *frame)
{
    (void)to;
    if (ended || frame->first < ETHER)
        return;
    u16 type = get_be16(frame->data + 12);
    u32 at = type == TYPE_DATA ? ETHER : HEADERS;
    u64 number;
    if (type == TYPE_END && !late && frame->first >= ETHER + NUMBER) {
        memcpy(&all, frame->data + ETHER, NUMBER);
        late = deadline_ms(LATE_MS);
        ended = frames >= all;
    }
    if (frame->first < at + NUMBER || (type != TYPE_DATA && type != 0x0800))
        return;
    memcpy(&number, frame->data + at, NUMBER);
    if (number >= expected)
        expected = number + 1;
    numbers += number;
    last_tsc = rdtsc();
    if (!frames++)
        first_tsc = last_tsc;
    segments += frame->mss ? (frame->length - HEADERS + frame->mss - 1) / frame->mss : 1;
    bytes += frame->length;
    ended = (count && frames == count) || (late && frames >= all);
}

static u64 receive(u64 unused)
{
    u64 silence = deadline_ms(SILENCE_MS), before = 0;
    netdev_start(&dev);
    while (!ended) {
        netdev_wait(&dev);
        if (frames != before)
            silence = deadline_ms(SILENCE_MS);
        before = frames;
        if (late && deadline_passed(late))
            break;
        if (deadline_passed(silence)) {
            failed = "no frame comes";
            break;
        }
    }
    cycles = last_tsc - first_tsc;
    if (expected < all)
        expected = all;
    lost = expected > frames ? expected - frames : 0;
    // With several pairs they come in any order; what makes up for a lost one would be one that came twice.
    if (!lost && numbers != frames * (frames - 1) / 2)
        failed = "a frame came twice";
    return unused;
}

static void drop(void *to, const struct received *frame) { (void)to, (void)frame; }

// TCP -----------------------------------------------------------------------------------------------------

static void produce(u8 *at, u64 offset, u32 length)
{
    u64 *word = (u64 *)at, k = offset / 8;
    for (u64 *end = word + length / 8; word < end; word++, k++) {
        *word = k;
        __asm__("" : "+r"(k)); // not unrolled into vectors
    }
}

static u64 run_tcp(u64 unused)
{
    netdev_start(&dev);
    if (tcpsend_connect(&tcp, CONNECT_MS)) {
        u64 start = rdtsc();
        tcpsend_stream(&tcp, total);
        cycles = rdtsc() - start;
    }
    failed = tcp.failed;
    frames = tcp.requests;
    segments = tcp.sent_segments;
    bytes = tcp.wire_bytes;
    return unused;
}

// -----------------------------------------------------------------------------------------------------------

static bool is(const char *value, const char *wanted) { return strcmp(value, wanted) == 0; }

static const char *options(void)
{
    cmdline_get("card", card, sizeof card);
    cmdline_get("stream", stream, sizeof stream);
    cmdline_get("dir", dir, sizeof dir);
    cmdline_get("unit", unit, sizeof unit);
    cmdline_get("driver", style, sizeof style);
    dev.batch = (unsigned)cmdline_u64("batch", 1);
    dev.queues = queues = (unsigned)cmdline_u64("queues", 1);
    dev.polled = is(style, "poll");
    sending.queue = queue_one;
    sending.cpus = (unsigned)cmdline_u64("vcpus", 1);
    sending.count = count = cmdline_u64("count", 0);
    sending.seconds = cmdline_u64("seconds", 2);
    total = cmdline_u64("bytes", 64 << 20);
    big = is(unit, "big");
    tcp.address = cmdline_ipv4("ip", 0x0A4D0002);
    tcp.peer = cmdline_ipv4("peer", 0x0A4D0001);
    tcp.port = (u16)cmdline_u64("port", 5001);
    tcp.segments = big ? SEGMENTS : 1;
    tcp.produce = produce;
    return !is(card, "auto") && !is(card, "e1000") && !is(card, "virtio-net") ? "card="
           : !is(stream, "raw") && !is(stream, "tcp")                         ? "stream="
           : !is(dir, "tx") && !is(dir, "rx")                                 ? "dir="
           : !big && !is(unit, "mtu")                                         ? "unit="
           : !dev.polled && !is(style, "linux")                               ? "driver="
           : !dev.batch                                                       ? "batch="
           : !queues || queues > NETDEV_QUEUES                                ? "queues="
           : sending.cpus != 1 && sending.cpus != queues                      ? "vcpus="
                                                                              : NULL;
}

static bool open(void)
{
    dev.deliver = is(dir, "rx") ? take : drop;
    dev.merges = big && is(dir, "rx");
    return (!is(card, "virtio-net") && e1000_netdev(&dev)) || (!is(card, "e1000") && virtio_netdev(&dev));
}

static int fail(const char *why, const char *what)
{
    printf("FAIL: %s%s\n", why, what);
    return EXIT_FAIL;
}

static void wait_for_byte(void)
{
    while (uart_getc() < 0)
        cpu_pause();
}

int main(void)
{
    bool rx, by_tcp;
    clock_init();
    const char *wrong = options();
    if (wrong)
        return fail("there is no such ", wrong);
    if (!open())
        return fail("no card: ", card);
    rx = is(dir, "rx");
    by_tcp = is(stream, "tcp");
    // A connection stays on one pair: it is in order.
    if ((by_tcp && (rx || queues > 1)) || (big && !(rx ? dev.merges : dev.cuts)) || dev.queues != queues ||
        (sending.cpus > 1 && (rx || !senders_share(&sending)))) {
        printf("UNSUPPORTED card=%s stream=%s dir=%s unit=%s queues=%u\n", dev.name, stream, dir, unit, queues);
        return EXIT_PASS;
    }
    netdev_tick();
    write_headers();
    printf("READY\n");
    wait_for_byte();
    u32 interrupts = dev.polled ? 0 : *dev.interrupts;
    u64 kicks = dev.driver->kicks(&dev);
    irq_enable();
    senders_go(&sending);
    ring3_call(by_tcp ? run_tcp : rx ? receive : transmit, 0);
    irq_disable();
    if (failed)
        return fail(failed, "");
    printf("STREAM card=%s stream=%s dir=%s unit=%s frames=%lu segments=%lu bytes=%lu cycles=%lu interrupts=%u "
           "polls=%lu kicks=%lu", dev.name, stream, dir, unit, frames, segments, bytes, cycles,
           dev.polled ? 0 : *dev.interrupts - interrupts, dev.polls, dev.driver->kicks(&dev) - kicks);
    if (rx)
        printf(" lost=%lu", lost);
    if (by_tcp)
        printf(" retransmits=%lu", tcp.retransmits);
    for (unsigned pair = 0; queues > 1 && pair < queues; pair++)
        printf(" pair%u=%lu", pair, dev.moved[pair]);
    printf("\n");
    wait_for_byte();
    return EXIT_PASS;
}
