/* A virtio function's interrupt status, and a queue's way to interrupt (VIRTIO 1.2, 4.1.4.5).
 *
 * Python's reference is pykvm/devices/virtio/interrupts.py. Any thread may raise.
 */
#ifndef PYKVM_ISR_H
#define PYKVM_ISR_H

#include "irqline.h"

#include <stdbool.h>
#include <stdint.h>

enum { PK_ISR_QUEUE = 1, PK_ISR_CONFIG = 2 };

struct pk_isr;

/* `line` is INTA#. NULL when there is no memory. */
struct pk_isr *pk_isr_new(struct pk_line *line);
void pk_isr_free(struct pk_isr *isr);

/* Set a bit and hold INTA#, unless INTX_DIS forbids that. */
void pk_isr_raise(struct pk_isr *isr, uint32_t bits);
/* Reading clears, and lets go of INTA#. */
uint32_t pk_isr_read(struct pk_isr *isr);
/* The bits as they are. */
uint32_t pk_isr_bits(struct pk_isr *isr);
/* INTX_DIS. */
void pk_isr_disable(struct pk_isr *isr, bool disabled);

/* The VM's descriptor, which driving the line needs; -1: none. */
int pk_isr_vm(const struct pk_isr *isr);

/* How a queue's thread interrupts: a signal on `fd`, or by the ISR where that is below 0. */
struct pk_call {
    struct pk_isr *isr;
    int fd;
    uint32_t reserved;
    uint64_t count;
    uint64_t spared; /* times that the driver wanted none */
};
void pk_call(struct pk_call *call);

#endif
