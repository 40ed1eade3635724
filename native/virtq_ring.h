/* What both layouts of a virtqueue share, inside native/virtq*.c. */
#ifndef PYKVM_VIRTQ_RING_H
#define PYKVM_VIRTQ_RING_H

#include "virtq.h"

#include <string.h>

enum { VQ_NEXT = 1, VQ_WRITE = 2, VQ_INDIRECT = 4, VQ_DESCRIPTOR = 16 };

/* A descriptor. The third and fourth word are flags and next in a split ring, id and flags in a packed
 * one. */
struct pk_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t a, b;
};

/* The two layouts. */
int pk_vq_pop_split(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces);
int pk_vq_pop_packed(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces);
void pk_vq_push_split(struct pk_vq *vq, const struct pk_chain *chain, uint32_t written);
void pk_vq_push_packed(struct pk_vq *vq, const struct pk_chain *chain, uint32_t written);
bool pk_vq_flush_split(struct pk_vq *vq);
bool pk_vq_flush_packed(struct pk_vq *vq);
void pk_vq_kicks_split(struct pk_vq *vq, bool on);
void pk_vq_kicks_packed(struct pk_vq *vq, bool on);
bool pk_vq_offered_split(struct pk_vq *vq);
bool pk_vq_offered_packed(struct pk_vq *vq);

/* Break the ring; returns -1. */
int pk_vq_fail(struct pk_vq *vq, uint32_t error);

/* Add a descriptor's buffer to the chain; an error of virtq.h. */
int pk_vq_add(const struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces, uint64_t address,
              uint32_t length, uint32_t flags);

/* An indirect table's rows in guest memory and their number; NULL for a bad one, with *error set. */
const uint8_t *pk_vq_table(const struct pk_vq *vq, uint64_t address, uint32_t length, uint32_t *rows,
                           int *error);

static inline uint16_t vq_load(const uint8_t *at)
{
    return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static inline void vq_store(uint8_t *at, uint32_t value)
{
    __atomic_store_n((uint16_t *)(void *)at, (uint16_t)value, __ATOMIC_RELEASE);
}

/* Descriptors change under us: copy one once, and look at the copy. A table may lie at any address. */
static inline struct pk_descriptor vq_descriptor(const uint8_t *at)
{
    struct pk_descriptor copy;
    memcpy(&copy, at, sizeof copy);
    __asm__ volatile("" : "+m"(copy));
    return copy;
}

/* Whether moving from `old` to `new` passes `event` (2.7.7.2). */
static inline bool vq_need_event(uint32_t event, uint32_t new, uint32_t old)
{
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

#endif
