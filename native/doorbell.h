/* Doorbells without exits: KVM's coalesced MMIO ring.
 *
 * While the thread behind a doorbell is awake, writes to the doorbell need not leave the kernel: KVM
 * puts them into a ring that the thread looks at. Each write is then handed to the range's native
 * answer, in order; a vCPU that leaves the guest for another reason hands them over first, so that no
 * device sees an access before an earlier doorbell.
 */
#ifndef PYKVM_DOORBELL_H
#define PYKVM_DOORBELL_H

#include "bus.h"

#include <stdbool.h>
#include <stdint.h>

struct pk_doorbells;

/* For the VM whose descriptor is `vm`; `ring` is KVM's struct kvm_coalesced_mmio_ring, from any vCPU's
 * mapping. NULL when there is no memory. */
struct pk_doorbells *pk_doorbells_new(int vm, struct pk_bus *bus);
void pk_doorbells_free(struct pk_doorbells *doorbells);
void pk_doorbells_map(struct pk_doorbells *doorbells, void *ring);

/* Collect writes to `size` bytes at the guest-physical `address`, or stop that; false when KVM refuses.
 * Whoever stops drains once more. */
bool pk_doorbells_collect(struct pk_doorbells *doorbells, uint64_t address, uint32_t size, bool on);

/* Hand over what has been collected; true when that was anything. From any thread. */
bool pk_doorbells_drain(struct pk_doorbells *doorbells);

/* The VM's descriptor, which collecting needs; -1 for NULL. */
int pk_doorbells_vm(const struct pk_doorbells *doorbells);

#endif
