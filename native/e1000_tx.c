/* The transmit ring (manual, 3.3). The worker's lock is held. */
#include "e1000_frame.h"
#include "inet.h"

#include <string.h>

enum {
    WRITE_BACK = 16, /* frames to a write-back */
    AHEAD = 8,       /* descriptors whose memory is fetched ahead: two lines */
    MERGED = 8,      /* frames in a train that cost as much as one written by itself */
};

/* Command bits (manual, 3.3.3, 3.3.6, 3.3.7); TSE and IC share a bit. */
enum { EOP = 0x01, IC = 0x04, TSE = 0x04, RS = 0x08, RPS = 0x10, DEXT = 0x20, VLE = 0x40, IDE = 0x80 };
enum { TYPE_DATA = 1, DD = 0x01 };

/* What a walk has to report when it is over. */
struct report {
    uint32_t work;  /* roughly, in writes of a plain frame: what a turn is measured by */
    bool reported;  /* a descriptor with RS was written back */
    bool immediate; /* ... one that allows no delay */
};

/* The pieces stay as they are: clearing them would cost as much as the rest of a short frame. */
static void renew(struct pk_e1000_frame *frame)
{
    frame->count = frame->length = 0;
    frame->started = frame->bad = frame->segment = frame->legacy_sum = false;
    frame->popts = frame->css = frame->cso = 0;
    frame->vlan = -1;
}

static void gather(struct pk_e1000 *card, struct pk_e1000_frame *frame, uint64_t address, uint32_t length)
{
    if (frame->bad || !length)
        return;
    uint8_t *data = NULL;
    if (frame->length + length > SENDABLE)
        pk_e1000_complain(card, PK_E1000_TOO_LONG);
    else if (!(data = pk_guest_ptr(card->memory, address, length, false)))
        pk_e1000_complain(card, PK_E1000_NO_RAM);
    if (!data) { /* the frame is dropped at its end */
        frame->bad = true;
        frame->count = frame->length = 0;
        return;
    }
    if (frame->count == MOST_PIECES)
        pk_e1000_flatten(card, frame);
    frame->pieces[frame->count++] = (struct iovec){data, length};
    frame->length += length;
}

static bool is_context(const uint8_t *raw) { return raw[11] & DEXT && raw[10] >> 4 != TYPE_DATA; }

/* A context descriptor (3.3.6). */
static struct pk_e1000_context context_of(const uint8_t *raw)
{
    return (struct pk_e1000_context){
        .ipcss = raw[0], .ipcso = raw[1], .ipcse = (uint16_t)pk_le16(raw + 2),
        .tucss = raw[4], .tucso = raw[5], .tucse = (uint16_t)pk_le16(raw + 6),
        .paylen = pk_le32(raw + 8) & 0xFFFFF, .tucmd = raw[11], .hdrlen = raw[13],
        .mss = (uint16_t)pk_le16(raw + 14)};
}

/* A legacy or data descriptor; true at a frame's end. */
static bool consume(struct pk_e1000 *card, struct pk_e1000_frame *frame, const uint8_t *raw)
{
    uint8_t command = raw[11];
    bool extended = command & DEXT, last = command & EOP;
    int32_t special = command & VLE ? (int32_t)pk_le16(raw + 14) : -1;
    if (!frame->started && extended) { /* these hold in a frame's first descriptor only (3.3.7) */
        frame->segment = command & TSE;
        frame->popts = raw[13];
        if (frame->segment)
            frame->vlan = special;
    }
    frame->started = true;
    gather(card, frame, pk_le64(raw), extended ? pk_le32(raw + 8) & 0xFFFFF : pk_le16(raw + 8));
    if (!last)
        return false;
    if (!extended) {
        frame->legacy_sum = command & IC;
        frame->cso = raw[10];
        frame->css = raw[13];
    }
    if (!extended || !frame->segment)
        frame->vlan = special;
    return true;
}

/* Returns how much work it was. */
static uint32_t finish(struct pk_e1000 *card, struct pk_e1000_frame *frame)
{
    if (frame->bad || !frame->length)
        return 1;
    if (frame->segment)
        return pk_e1000_send_segments(card, frame);
    pk_e1000_send_plain(card, frame);
    return holding(card) && (card->train->frames - 1) % MERGED ? 0 : 1;
}

/* The ring while it is walked. It is checked whole, once; where it is not whole in RAM, each descriptor
 * is by itself. */
struct ring {
    uint64_t base;
    uint32_t count;
    uint8_t *whole;
};

static uint8_t *slot(const struct pk_e1000 *card, const struct ring *ring, uint32_t at)
{
    uint64_t offset = (uint64_t)at * DESCRIPTOR;
    return ring->whole ? ring->whole + offset
                       : pk_guest_ptr(card->memory, ring->base + offset, DESCRIPTOR, true);
}

/* What the driver has just written on another processor costs as much to get as a third of a short frame
 * to send: ask for descriptors, and for what the next but one points at, while others are worked on. */
static void fetch_ahead(const struct pk_e1000 *card, const struct ring *ring, uint32_t at)
{
    if (!ring->whole)
        return;
    uint32_t far = at + AHEAD < ring->count ? at + AHEAD : at + AHEAD - ring->count;
    uint32_t near = at + 2 < ring->count ? at + 2 : at + 2 - ring->count;
    if (far < ring->count)
        __builtin_prefetch(slot(card, ring, far), 1);
    if (near < ring->count) {
        const uint8_t *raw = slot(card, ring, near);
        const uint8_t *data = pk_guest_ptr(card->memory, pk_le64(raw), 1, false);
        if (data) {
            __builtin_prefetch(data);
            __builtin_prefetch(data + 64);
        }
    }
}

/* Set DD where RS asks for it, from TDH up to the descriptor before `end`, and move TDH there. False
 * when the ring cannot be written. */
static bool write_back(struct pk_e1000 *card, const struct ring *ring, uint32_t end,
                       struct report *report)
{
    for (uint32_t head = cell(card, E_TDH); head != end;
         head = head + 1 == ring->count ? 0 : head + 1) {
        uint8_t *raw = slot(card, ring, head);
        if (!raw)
            return false;
        uint8_t command = raw[11];
        if (command & (RS | RPS)) {
            __atomic_store_n(&raw[12], (uint8_t)(raw[12] | DD), __ATOMIC_RELEASE);
            report->reported = true;
            report->immediate |= !(command & IDE);
        }
    }
    set_cell(card, E_TDH, end);
    return true;
}

/* Take up a frame where the last walk left it, and leave one for the next. */
static void take_up(const struct pk_e1000 *card, struct pk_e1000_frame *frame)
{
    const struct pk_e1000_unfinished *u = &card->unfinished;
    renew(frame);
    frame->started = u->started;
    frame->bad = u->bad;
    frame->segment = u->segment;
    frame->popts = (uint8_t)u->popts;
    frame->vlan = u->vlan;
    frame->length = u->length;
    frame->count = u->length > 0;
    frame->pieces[0] = (struct iovec){u->data, u->length};
}

static void leave(struct pk_e1000 *card, struct pk_e1000_frame *frame)
{
    struct pk_e1000_unfinished *u = &card->unfinished;
    if (frame->started)
        pk_e1000_flatten(card, frame);
    u->started = frame->started;
    u->bad = frame->bad;
    u->segment = frame->segment;
    u->popts = frame->popts;
    u->vlan = frame->vlan;
    u->length = frame->length;
}

void pk_e1000_forget_frame(struct pk_e1000 *card)
{
    struct pk_e1000_frame none;
    renew(&none);
    leave(card, &none);
    card->context = (struct pk_e1000_context){0};
}

/* The walk itself; true when it stopped after work for `most` frames. */
static bool walk(struct pk_e1000 *card, uint32_t most, struct report *report)
{
    uint64_t base = (uint64_t)cell(card, E_TDBAH) << 32 | cell(card, E_TDBAL);
    uint32_t count = cell(card, E_TDLEN) / DESCRIPTOR;
    uint32_t at = cell(card, E_TDH), tail = cell(card, E_TDT);
    if (at >= count || tail >= count) {
        if (at != tail)
            pk_e1000_complain(card, PK_E1000_BAD_RING);
        return false;
    }
    struct ring ring = {.base = base, .count = count};
    ring.whole = pk_guest_ptr(card->memory, base, (uint64_t)count * DESCRIPTOR, true);
    struct pk_e1000_frame frame;
    take_up(card, &frame);
    frame.first = at; /* what came before was written back */
    uint32_t waiting = 0; /* frames that were sent, and not written back yet */
    while (at != tail && report->work < most) {
        uint8_t raw[DESCRIPTOR]; /* a copy: the guest may change its mind meanwhile */
        if (!(card->flags & PK_E1000_MASTER)) {
            pk_e1000_complain(card, PK_E1000_NO_MASTER);
            break;
        }
        const uint8_t *descriptor = slot(card, &ring, at);
        if (!descriptor) {
            pk_e1000_complain(card, PK_E1000_NO_RAM);
            break;
        }
        memcpy(raw, descriptor, sizeof raw);
        fetch_ahead(card, &ring, at);
        if (!frame.started)
            frame.first = at;
        at = at + 1 == count ? 0 : at + 1;
        if (is_context(raw)) {
            card->context = context_of(raw);
        } else if (consume(card, &frame, raw)) {
            report->work += finish(card, &frame);
            card->worker.requests++;
            renew(&frame);
            waiting++;
        }
        /* The guest looks at these lines of memory all the time: touch them now and then only. Frames
         * that wait for more of their flow are still the card's. */
        if (waiting >= WRITE_BACK && !frame.started) {
            waiting = holding(card) ? card->train->frames : 0;
            if (!write_back(card, &ring, holding(card) ? card->held : at, report))
                break;
        }
    }
    pk_e1000_send_train(card);
    leave(card, &frame);
    write_back(card, &ring, at, report);
    return at != tail && report->work >= most;
}

bool pk_e1000_transmit(struct pk_e1000 *card, uint32_t most)
{
    struct report report = {0};
    if (!(cell(card, E_TCTL) & TCTL_EN))
        return false;
    bool more = walk(card, most, &report);
    pk_tally(&card->worker.counts.batches, report.work > 0);
    uint32_t causes = 0;
    if (report.reported) {
        uint32_t delay = cell(card, E_TIDV);
        if (delay && !report.immediate)
            pk_e1000_delay(card, &card->irq.tx, delay, cell(card, E_TADV));
        else
            causes |= CAUSE_TXDW;
    }
    if (cell(card, E_TDH) == cell(card, E_TDT))
        causes |= CAUSE_TXQE;
    if (causes)
        pk_e1000_cause(card, causes, 0);
    return more;
}
