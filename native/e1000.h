/* The 82540EM's moving parts: rings, causes, timers, and the thread that works them.
 *
 * Python (pykvm/devices/e1000) owns what the registers mean; this owns what happens at speed. Both see
 * the registers in one array of cells. The reference of everything here is Python, too:
 * pykvm/devices/e1000/{tx,rx,interrupts}.py.
 *
 * Locks, in the order in which they are taken: the card's (rings, statistics; Python holds it around
 * every access), its causes', the interrupt input's. None of them is held while waiting for the host.
 */
#ifndef PYKVM_E1000_H
#define PYKVM_E1000_H

#include "doorbell.h"
#include "guestmem.h"
#include "irqline.h"
#include "netcounts.h"

#include <stdbool.h>
#include <stdint.h>

enum { PK_E1000_MASTER = 1, PK_E1000_LINK = 2, PK_E1000_PHY_LOOP = 4, PK_E1000_NO_INTX = 8 };

/* What the descriptor that frames go to finishes by itself; with COALESCE it also gets frames of one
 * flow in one write, for which it has to do all the others (coalesce.h). */
enum { PK_E1000_CSUM = 1, PK_E1000_TSO4 = 2, PK_E1000_TSO6 = 4, PK_E1000_COALESCE = 8 };

/* What the guest did wrong; a set. */
enum {
    PK_E1000_BAD_RING = 1,    /* a head or tail outside the ring */
    PK_E1000_NO_RAM = 2,      /* ring or buffer is not RAM */
    PK_E1000_TOO_LONG = 4,    /* a frame longer than any */
    PK_E1000_BAD_SEGMENT = 8, /* a TSO request whose headers make no sense */
    PK_E1000_NO_MASTER = 16,  /* COMMAND forbids DMA */
};

struct pk_e1000_context {
    uint8_t ipcss, ipcso;
    uint16_t ipcse;
    uint8_t tucss, tucso;
    uint16_t tucse;
    uint32_t paylen;
    uint8_t tucmd, hdrlen;
    uint16_t mss;
};

/* A frame of which only the first descriptors have been rung in. */
struct pk_e1000_unfinished {
    uint32_t started, bad, segment, popts;
    int32_t vlan;    /* -1: none */
    uint32_t length; /* bytes of data */
    uint8_t *data;   /* room for the longest frame */
};

struct pk_e1000;

/* A card whose frames go to and come from `fd` behind virtio-net headers (-1: nowhere, never). `line`
 * is INTA#. NULL when there is no memory. */
struct pk_e1000 *pk_e1000_new(const struct pk_memory *memory, int fd, uint32_t offloads,
                              struct pk_line *line);
void pk_e1000_free(struct pk_e1000 *card);

uint32_t *pk_e1000_cells(struct pk_e1000 *card);
struct pk_e1000_context *pk_e1000_context(struct pk_e1000 *card);
struct pk_e1000_unfinished *pk_e1000_unfinished(struct pk_e1000 *card);

void pk_e1000_acquire(struct pk_e1000 *card);
void pk_e1000_release(struct pk_e1000 *card);

/* The calls below up to pk_e1000_pending() are made between acquire and release. */
void pk_e1000_set_flags(struct pk_e1000 *card, uint32_t flags);
/* The cells have been set anew: forget frames and timers. */
void pk_e1000_reset(struct pk_e1000 *card);
/* TDT or TCTL was written. */
void pk_e1000_kick(struct pk_e1000 *card);
/* RDT or RCTL was written. */
void pk_e1000_resume(struct pk_e1000 *card);
/* RDTR's FPD: what the receive timers hold back comes now. */
void pk_e1000_flush(struct pk_e1000 *card);
/* The register window is at this guest-physical address now (0: nowhere), where `doorbells` can collect
 * writes to TDT and RDT while the thread is awake. */
void pk_e1000_place(struct pk_e1000 *card, struct pk_doorbells *doorbells, uint64_t window);
/* A frame of at most 65536 bytes from the wire. */
void pk_e1000_receive(struct pk_e1000 *card, const uint8_t *frame, uint32_t length);
/* PK_E1000_BAD_RING and so on since the last call. */
uint32_t pk_e1000_errors(struct pk_e1000 *card);

/* What it has done since it was made; from any thread. */
void pk_e1000_counts(const struct pk_e1000 *card, struct pk_net_counts *counts);

/* Causes; from any thread. */
bool pk_e1000_pending(struct pk_e1000 *card); /* INTA# before INTX_DIS */
uint32_t pk_e1000_read_icr(struct pk_e1000 *card);
void pk_e1000_cause(struct pk_e1000 *card, uint32_t set, uint32_t clear);
void pk_e1000_mask(struct pk_e1000 *card, uint32_t set, uint32_t clear);

/* The bus's native answer for the register window (bus.h). */
bool pk_e1000_answer(void *card, bool write, uint64_t offset, uint32_t size, uint64_t *value);

/* The I/O thread: it receives, keeps the timers, and transmits unless `inline_tx`, which leaves that
 * to the vCPU that rings. 0 or an errno; stopping is idempotent. */
int pk_e1000_start(struct pk_e1000 *card, bool inline_tx);
void pk_e1000_stop(struct pk_e1000 *card);

/* An eventfd that becomes readable when the thread has noted errors. */
int pk_e1000_notice(struct pk_e1000 *card);

#endif
