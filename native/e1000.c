#include "e1000_card.h"
#include "host.h"

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
    card->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    card->notice = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&card->gate, NULL);
    pthread_mutex_init(&card->lock, NULL);
    pthread_mutex_init(&card->irq.lock, NULL);
    if (card->cells && card->unfinished.data && card->segment && card->incoming && card->wake >= 0 &&
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
    pthread_mutex_destroy(&card->gate);
    pthread_mutex_destroy(&card->lock);
    pthread_mutex_destroy(&card->irq.lock);
    if (card->wake >= 0)
        close(card->wake);
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
int pk_e1000_notice(struct pk_e1000 *card) { return card->notice; }

/* Who waits for the lock holds the gate, so that the thread, which takes the lock again and again,
 * cannot keep others out. */
void pk_e1000_acquire(struct pk_e1000 *card)
{
    pthread_mutex_lock(&card->gate);
    pthread_mutex_lock(&card->lock);
    pthread_mutex_unlock(&card->gate);
}

void pk_e1000_release(struct pk_e1000 *card) { pthread_mutex_unlock(&card->lock); }

uint32_t pk_e1000_size_counter(uint32_t offset, uint32_t length)
{
    static const uint32_t limits[] = {64, 127, 255, 511, 1023};
    uint32_t n = 0;
    while (n < 5 && length + FCS > limits[n])
        n++;
    return offset + 4 * n;
}

void pk_e1000_complain(struct pk_e1000 *card, uint32_t error)
{
    if (running(card) && error & ~card->errors)
        pk_signal(card->notice);
    card->errors |= error;
}

uint32_t pk_e1000_errors(struct pk_e1000 *card)
{
    uint32_t errors = card->errors;
    uint64_t drained;
    card->errors = 0;
    if (errors && read(card->notice, &drained, sizeof drained) < 0)
        return errors; /* nobody had been told yet */
    return errors;
}

void pk_e1000_set_flags(struct pk_e1000 *card, uint32_t flags)
{
    card->flags = flags;
    pk_e1000_update(card);
}

void pk_e1000_reset(struct pk_e1000 *card)
{
    pk_e1000_forget_frame(card);
    pk_e1000_forget_causes(card);
    __atomic_store_n(&card->kicked, 0, __ATOMIC_SEQ_CST);
    card->more = false;
}

/* -- doorbells ------------------------------------------------------------------------------- */

static bool threaded(const struct pk_e1000 *card) { return running(card) && !card->inline_tx; }

static void ring(struct pk_e1000 *card)
{
    __atomic_fetch_add(&card->burst, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&card->kicked, 1, __ATOMIC_SEQ_CST);
    pk_e1000_wake(card);
}

void pk_e1000_kick(struct pk_e1000 *card)
{
    if (threaded(card))
        ring(card);
    else
        while (pk_e1000_transmit(card, E1000_TURN))
            ;
}

void pk_e1000_resume(struct pk_e1000 *card)
{
    pk_e1000_wake(card);
}

bool pk_e1000_answer(void *opaque, bool write, uint64_t offset, uint32_t size, uint64_t *value)
{
    struct pk_e1000 *card = opaque;
    uint32_t written = (uint32_t)*value;
    if (size != 4)
        return false;
    if (!write) {
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
    switch (offset) {
    case E_TDT:
        set_cell(card, E_TDT, written & 0xFFFF);
        if (threaded(card)) {
            ring(card);
        } else {
            pk_e1000_acquire(card);
            pk_e1000_kick(card);
            pk_e1000_release(card);
        }
        return true;
    case E_RDT:
        set_cell(card, E_RDT, written & 0xFFFF);
        if (__atomic_load_n(&card->sleeping, __ATOMIC_SEQ_CST) == E1000_HUNGRY)
            pk_e1000_wake(card);
        return true;
    case E_ICR:
        pk_e1000_cause(card, 0, written);
        return true;
    case E_ICS:
        pk_e1000_cause(card, written & CAUSE_ALL, 0);
        return true;
    case E_IMS:
        pk_e1000_mask(card, written & CAUSE_ALL, 0);
        return true;
    case E_IMC:
        pk_e1000_mask(card, 0, written);
        return true;
    }
    return false;
}
