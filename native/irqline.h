/* Interrupt lines: devices' wires to an input (GSI) of KVM's interrupt controllers.
 *
 * Several lines may share a GSI; it is up while any of them is. KVM is told by KVM_IRQ_LINE, from
 * whatever thread changes the level: that is exact, where an irqfd would stay up until the EOI.
 */
#ifndef PYKVM_IRQLINE_H
#define PYKVM_IRQLINE_H

#include <stdbool.h>
#include <stdint.h>

struct pk_gsi;

struct pk_line {
    struct pk_gsi *gsi; /* NULL: leads nowhere */
    uint32_t level;
};

/* An input of the VM whose descriptor is `vm`; NULL when there is no memory. */
struct pk_gsi *pk_gsi_new(int vm, uint32_t number);
void pk_gsi_free(struct pk_gsi *gsi);

/* How often the input has risen. */
uint64_t pk_gsi_rises(struct pk_gsi *gsi);

/* Drive a line, from any thread; 0, or the errno of KVM_IRQ_LINE. */
int pk_line_set(struct pk_line *line, bool level);

/* The VM's descriptor, which driving the line needs; -1: none. */
int pk_line_vm(const struct pk_line *line);

#endif
