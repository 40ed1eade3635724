/* Run a vCPU until Python is needed.
 *
 * pk_vcpu_run() enters KVM again and again: exits that a native range answers never leave C. When
 * one does, an access to a single device range arrives decoded (the range's id is the return value,
 * the access is in vcpu->access) and everything else as PK_OTHER, to be read from struct kvm_run.
 * The GIL is not held anywhere in here.
 */
#ifndef PYKVM_VCPU_H
#define PYKVM_VCPU_H

#include "accesscount.h"
#include "bus.h"
#include "doorbell.h"

#include <linux/kvm.h>
#include <stdint.h>

enum {
    PK_OTHER = -1,       /* look at struct kvm_run */
    PK_INTERRUPTED = -2, /* kicked, or a signal came */
    PK_FAILED = -3,      /* KVM_RUN itself failed: vcpu->error is its errno */
};

#define PK_RECENT 16
#define PK_REASONS 64

struct pk_access {
    uint64_t offset;  /* in the range */
    uint64_t value;   /* what the guest wrote; 0 for a read */
    uint32_t size;    /* bytes: 1, 2, 4 or 8 */
    uint32_t write;
};

/* One line of the flight recorder that a crash report prints. */
struct pk_recent {
    uint64_t address;  /* port or guest-physical address */
    uint64_t value;    /* written, or answered where C knows it */
    uint32_t reason;   /* KVM_EXIT_... */
    uint32_t count;    /* repeats of a string instruction */
    uint32_t size;
    uint32_t write;
};

struct pk_vcpu {
    int fd;
    int error;
    int tid;             /* of the thread that runs it, for the kick; 0: none */
    int kicked;          /* from pk_vcpu_kick() to pk_vcpu_unkick() */
    int observe;         /* every exit goes to Python */
    int timed;           /* note the times below; each costs two readings of the clock an exit */
    struct kvm_run *run;
    struct pk_bus *bus;
    struct pk_doorbells *doorbells; /* handed over before every exit is answered; or NULL */
    struct pk_access_counts *counts; /* of what C answers, when timed; or NULL */
    struct pk_counted *counted;      /* the row of the last exit, until the guest runs again; or NULL */
    struct pk_access access;
    void *reply_at;      /* where the answer to a pending read goes, or NULL */
    uint32_t reply_size;
    uint32_t reserved;
    uint64_t exits;      /* all of them */
    uint64_t native;     /* those answered here */
    uint64_t runs;       /* returns of KVM_RUN: exits, kicks, instructions finished */
    uint64_t entered_ns; /* CLOCK_MONOTONIC around the last KVM_RUN, when timed */
    uint64_t exited_ns;
    uint64_t outside_ns; /* all the time between one KVM_RUN and the next, when timed */
    struct pk_recent recent[PK_RECENT]; /* exits % PK_RECENT is the next to overwrite */
    uint64_t reasons[PK_REASONS]; /* exits by KVM_EXIT_..., the last for all above */
};

/* The calling thread is (or no longer is) the one that runs this vCPU. */
void pk_vcpu_attach(struct pk_vcpu *vcpu, bool attached);

/* Finish a pending read with `reply`, then run. */
int pk_vcpu_run(struct pk_vcpu *vcpu, uint64_t reply);

/* Let KVM finish the instruction whose exit was answered, without running the guest on. */
int pk_vcpu_complete(struct pk_vcpu *vcpu, uint64_t reply);

/* Make the vCPU leave KVM_RUN now and stay out until pk_vcpu_unkick(); from any thread. */
void pk_vcpu_kick(struct pk_vcpu *vcpu);
void pk_vcpu_unkick(struct pk_vcpu *vcpu);

/* ioctl() with a whole unsigned long as argument; -errno on failure. */
int pk_ioctl(int fd, unsigned long request, unsigned long argument);

/* Install the do-nothing handler of the kick's signal; 0 or an errno. */
int pk_kick_install(void);

/* The bench's floor: KVM_RUN and nothing else for exits at the port and page given; returns as
 * pk_vcpu_run does on the first other exit. */
int pk_vcpu_floor(struct pk_vcpu *vcpu, uint64_t reply, uint16_t port, uint64_t page);

#endif
