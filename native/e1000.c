/* Its life, and the registers that vCPUs read and write without Python. Holds no lock by itself. */
#include "e1000_card.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct pk_e1000 *pk_e1000_new(const struct pk_memory *memory, int fd, uint32_t offloads,
                              struct pk_line *line)
{
    struct pk_e1000 *card = calloc(1, sizeof *card);
    if (!card)
        return NULL;
    card->memory = memory;
    card->fd = fd;
    card->offloads = offloads;
    card->irq.line = line;
    card->irq.rx.cause = CAUSE_RXT0;
    card->irq.tx.cause = CAUSE_TXDW;
    card->unfinished.vlan = -1;
    card->cells = calloc(E_WINDOW, 1);
    card->unfinished.data = malloc(SENDABLE);
    if (offloads & PK_E1000_COALESCE)
        card->train = calloc(1, sizeof *card->train);
    card->segment = malloc(UINT8_MAX + UINT16_MAX);
    card->incoming = calloc(10 + FROM_WIRE + FCS, 1);
    card->notice = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&card->irq.lock, NULL);
    int error = pk_worker_init(&card->worker, &pk_e1000_work, card);
    if (!error && card->cells && card->unfinished.data && card->segment && card->incoming &&
        card->notice >= 0 && (card->train || !(offloads & PK_E1000_COALESCE)))
        return card;
    pk_e1000_free(card);
    return NULL;
}

void pk_e1000_free(struct pk_e1000 *card)
{
    if (!card)
        return;
    pk_e1000_stop(card);
    pk_worker_free(&card->worker);
    pthread_mutex_destroy(&card->irq.lock);
    if (card->notice >= 0)
        close(card->notice);
    free(card->cells);
    free(card->unfinished.data);
    free(card->train);
    free(card->segment);
    free(card->incoming);
    free(card);
}

uint32_t *pk_e1000_cells(struct pk_e1000 *card) { return card->cells; }
struct pk_e1000_context *pk_e1000_context(struct pk_e1000 *card) { return &card->context; }
struct pk_e1000_unfinished *pk_e1000_unfinished(struct pk_e1000 *card) { return &card->unfinished; }
void pk_e1000_counts(const struct pk_e1000 *card, struct pk_net_counts *counts)
{
    pk_net_counts_read(&card->worker.counts, counts);
}

int pk_e1000_notice(struct pk_e1000 *card) { return card->notice; }

void pk_e1000_acquire(struct pk_e1000 *card) { pk_worker_acquire(&card->worker); }
void pk_e1000_release(struct pk_e1000 *card) { pk_worker_release(&card->worker); }

void pk_e1000_set_flags(struct pk_e1000 *card, uint32_t flags)
{
    card->flags = flags;
    pk_e1000_update(card);
}

void pk_e1000_reset(struct pk_e1000 *card)
{
    pk_e1000_forget_frame(card);
    pk_e1000_forget_causes(card);
    pk_worker_rung(&card->worker);
}

void pk_e1000_kick(struct pk_e1000 *card)
{
    if (pk_worker_runs(&card->worker))
        pk_worker_leave(&card->worker);
    else
        while (pk_e1000_transmit(card, E1000_TURN))
            ;
}

void pk_e1000_resume(struct pk_e1000 *card) { pk_worker_wake(&card->worker); }

/* -- registers ------------------------------------------------------------------------------- */

/* TDT, in a vCPU. */
static void ring(struct pk_e1000 *card)
{
    __atomic_fetch_add(&card->bells.burst, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&card->worker.counts.kicks, 1, __ATOMIC_RELAXED); /* by any vCPU */
    if (pk_worker_runs(&card->worker)) {
        pk_worker_ring(&card->worker);
    } else {
        pk_e1000_acquire(card);
        pk_e1000_kick(card);
        pk_e1000_release(card);
    }
}

static bool read_register(struct pk_e1000 *card, uint64_t offset, uint64_t *value)
{
    switch (offset) {
    case E_ICR:
        *value = pk_e1000_read_icr(card);
        return true;
    case E_IMS: case E_TDH: case E_TDT: case E_RDH: case E_RDT:
        *value = cell(card, (uint32_t)offset);
        return true;
    }
    return false;
}

static bool write_register(struct pk_e1000 *card, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case E_TDT:
        set_cell(card, E_TDT, value & 0xFFFF);
        ring(card);
        return true;
    case E_RDT:
        set_cell(card, E_RDT, value & 0xFFFF);
        if (__atomic_load_n(&card->hungry, __ATOMIC_SEQ_CST))
            pk_worker_wake(&card->worker);
        return true;
    case E_ICR:
        pk_e1000_cause(card, 0, value);
        return true;
    case E_ICS:
        pk_e1000_cause(card, value & CAUSE_ALL, 0);
        return true;
    case E_IMS:
        pk_e1000_mask(card, value & CAUSE_ALL, 0);
        return true;
    case E_IMC:
        pk_e1000_mask(card, 0, value);
        return true;
    }
    return false;
}

bool pk_e1000_answer(void *card, bool write, uint64_t offset, uint32_t size, uint64_t *value)
{
    if (size != 4)
        return false;
    return write ? write_register(card, offset, (uint32_t)*value) : read_register(card, offset, value);
}
