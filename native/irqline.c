#include "irqline.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define PAGE_SIZE 4096
#include <linux/kvm.h>

struct pk_gsi {
    pthread_mutex_t lock;
    int vm;
    uint32_t number;
    uint32_t up; /* lines that are */
    uint64_t rises;
};

struct pk_gsi *pk_gsi_new(int vm, uint32_t number)
{
    struct pk_gsi *gsi = calloc(1, sizeof *gsi);
    if (!gsi)
        return NULL;
    gsi->vm = vm;
    gsi->number = number;
    pthread_mutex_init(&gsi->lock, NULL);
    return gsi;
}

void pk_gsi_free(struct pk_gsi *gsi)
{
    if (!gsi)
        return;
    pthread_mutex_destroy(&gsi->lock);
    free(gsi);
}

uint64_t pk_gsi_rises(struct pk_gsi *gsi)
{
    return __atomic_load_n(&gsi->rises, __ATOMIC_RELAXED);
}

int pk_line_set(struct pk_line *line, bool level)
{
    struct pk_gsi *gsi = line->gsi;
    int error = 0;
    if (!gsi) {
        line->level = level;
        return 0;
    }
    pthread_mutex_lock(&gsi->lock);
    if (line->level != (uint32_t)level) {
        line->level = level;
        uint32_t before = gsi->up;
        gsi->up += level ? 1u : -1u;
        if ((gsi->up > 0) != (before > 0)) {
            struct kvm_irq_level change = {.irq = gsi->number, .level = gsi->up > 0};
            if (level)
                __atomic_store_n(&gsi->rises, gsi->rises + 1, __ATOMIC_RELAXED);
            if (ioctl(gsi->vm, KVM_IRQ_LINE, &change) < 0)
                error = errno;
        }
    }
    pthread_mutex_unlock(&gsi->lock);
    return error;
}

int pk_line_vm(const struct pk_line *line) { return line->gsi ? line->gsi->vm : -1; }
