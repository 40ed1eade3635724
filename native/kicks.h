/* Where a guest kicks: writes that KVM turns into the signal of an eventfd, without an exit, for as long as
 * that is switched on.
 *
 * Python says where (pykvm/machine/kicks.py), the thread behind the eventfd whether: one that has no
 * processor rather has the vCPU that kicks do the work, for which the kick has to exit (duty.h).
 */
#ifndef PYKVM_KICKS_H
#define PYKVM_KICKS_H

#include <stdbool.h>
#include <stdint.h>

#define PK_KICKS_MOST 32

struct pk_kicks;

/* For the VM whose descriptor is `vm`; switched on. NULL when there is no memory. */
struct pk_kicks *pk_kicks_new(int vm, int fd);
void pk_kicks_free(struct pk_kicks *kicks);

/* Listen to writes of 16 bits at a port or guest-physical address, of one value alone with `match`; 0 or an
 * errno. */
int pk_kicks_add(struct pk_kicks *kicks, uint64_t address, bool port, bool match, uint64_t value);

/* Listen nowhere. */
void pk_kicks_clear(struct pk_kicks *kicks);

/* From any thread whose descriptors are those of the process's: KVM has to wait for every vCPU to have seen
 * it. Whoever switches off looks for what was signalled until then. */
void pk_kicks_switch(struct pk_kicks *kicks, bool on);

/* The VM's descriptor, which switching needs; -1 for NULL. */
int pk_kicks_vm(const struct pk_kicks *kicks);

#endif
