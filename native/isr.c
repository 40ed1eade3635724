#include "isr.h"

#include "host.h"

#include <stdlib.h>

struct pk_isr {
    pthread_mutex_t lock;
    struct pk_line *line;
    uint32_t bits;
    bool disabled;
};

struct pk_isr *pk_isr_new(struct pk_line *line)
{
    struct pk_isr *isr = calloc(1, sizeof *isr);
    if (!isr)
        return NULL;
    isr->line = line;
    pthread_mutex_init(&isr->lock, NULL);
    return isr;
}

void pk_isr_free(struct pk_isr *isr)
{
    if (!isr)
        return;
    pthread_mutex_destroy(&isr->lock);
    free(isr);
}

static void drive(struct pk_isr *isr) { pk_line_set(isr->line, isr->bits && !isr->disabled); }

void pk_isr_raise(struct pk_isr *isr, uint32_t bits)
{
    pthread_mutex_lock(&isr->lock);
    isr->bits |= bits;
    drive(isr);
    pthread_mutex_unlock(&isr->lock);
}

uint32_t pk_isr_read(struct pk_isr *isr)
{
    pthread_mutex_lock(&isr->lock);
    uint32_t bits = isr->bits;
    isr->bits = 0;
    drive(isr);
    pthread_mutex_unlock(&isr->lock);
    return bits;
}

uint32_t pk_isr_bits(struct pk_isr *isr)
{
    pthread_mutex_lock(&isr->lock);
    uint32_t bits = isr->bits;
    pthread_mutex_unlock(&isr->lock);
    return bits;
}

void pk_isr_disable(struct pk_isr *isr, bool disabled)
{
    pthread_mutex_lock(&isr->lock);
    isr->disabled = disabled;
    drive(isr);
    pthread_mutex_unlock(&isr->lock);
}

int pk_isr_vm(const struct pk_isr *isr) { return pk_line_vm(isr->line); }

void pk_call(struct pk_call *call)
{
    call->count++;
    if (call->fd >= 0)
        pk_signal(call->fd);
    else if (call->isr)
        pk_isr_raise(call->isr, PK_ISR_QUEUE);
}
