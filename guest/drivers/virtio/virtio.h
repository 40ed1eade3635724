// A virtio device as its driver sees it, whatever carries it (VIRTIO 1.2, chapters 2 and 3).
//
// The way up: virtio_open, virtio_negotiate, virtio_queue for each queue, virtio_ready.
#pragma once
#include "msix.h"
#include "pci.h"
#include "queue.h"
#include "types.h"

enum { VIRTIO_VENDOR = 0x1AF4, VIRTIO_NET = 1, VIRTIO_BLK = 2, VIRTIO_CONSOLE = 3, VIRTIO_RNG = 4 };

// Device status (2.1).
enum {
    STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 0x40, STATUS_FAILED = 0x80,
};

// Feature bits that belong to no device type (chapter 6).
#define FEATURE(bit)     (1ull << (bit))
#define F_ANY_LAYOUT     FEATURE(27) // legacy only: a header may share its descriptor
#define F_INDIRECT_DESC  FEATURE(28)
#define F_EVENT_IDX      FEATURE(29)
#define F_VERSION_1      FEATURE(32)
#define F_RING_PACKED    FEATURE(34)
#define F_IN_ORDER       FEATURE(35)
#define F_RING_RESET     FEATURE(40)
#define F_RING           (F_INDIRECT_DESC | F_EVENT_IDX)

enum { VIRTIO_QUEUES = 16, NO_VECTOR = 0xFFFF };

struct virtio {
    const struct virtio_transport *transport;
    struct pci_device pci;
    u64 offered, features; // what the device has; what was agreed on
    u16 io;                // legacy: the I/O BAR
    u64 common, notify, isr, config; // modern: where the four structures are, 0 for none
    u32 notify_multiplier;
    struct msix msix;      // .vectors is 0 while it is not used
    bool wired;            // interrupts come by the wire (INTx)
    struct queue *queues[VIRTIO_QUEUES];
    volatile u32 interrupts, config_changes;
};

// One way to reach a device. Offsets and sizes are in bytes.
struct virtio_transport {
    const char *name;
    bool (*open)(struct virtio *v); // finds the registers; false: not a device for this driver
    u64 (*offered)(const struct virtio *v);
    void (*accept)(const struct virtio *v, u64 features);
    u8 (*status)(const struct virtio *v);
    void (*set_status)(const struct virtio *v, u8 status);
    void (*config_read)(const struct virtio *v, u16 offset, void *out, u16 size);
    void (*config_write)(const struct virtio *v, u16 offset, const void *in, u16 size);
    u8 (*generation)(const struct virtio *v);             // always 0 where there is none
    u16 (*queue_max)(const struct virtio *v, u16 index);  // entries; 0: no such queue
    u16 (*queue_size)(u16 max, u16 wanted);               // what the driver may make of it
    bool (*queue_start)(const struct virtio *v, struct queue *q, u16 vector);
    bool (*queue_reset)(const struct virtio *v, u16 index); // false: cannot
    bool (*config_vector)(const struct virtio *v, u16 vector);
    u8 (*isr_read)(const struct virtio *v);
};

extern const struct virtio_transport virtio_legacy, virtio_modern;

// The transport of this name, or NULL.
const struct virtio_transport *virtio_transport(const char *name);

// Finds the nth device of a type, resets it, says hello, reads what it offers.
bool virtio_open(struct virtio *v, u16 type, unsigned nth, const struct virtio_transport *transport);

// Agrees on what is wanted and offered; false if the device does not take it.
bool virtio_negotiate(struct virtio *v, u64 wanted);

// Sets up queue `index` with at most `size` entries (0: as many as the device has); `indirect` is the
// longest chain that goes through a table of its own (0: none does). Keeps its memory over a reset.
bool virtio_queue(struct virtio *v, struct queue *q, u16 index, u16 size, u16 indirect);

void virtio_ready(struct virtio *v); // DRIVER_OK
void virtio_reset(struct virtio *v); // and waits until it is done

// Reads a field that the device may change meanwhile (2.5.1): again until it held still.
void virtio_config(const struct virtio *v, u16 offset, void *out, u16 size);

// Interrupts for this device from now on, to be called before the queues are set up: a message per
// queue where the transport has MSI-X, else the wire. Queues count them. Leaves them off in RFLAGS.
bool virtio_interrupts(struct virtio *v);

// This queue's come to the processor that calls this. False: they cannot, there is no message of its own.
bool virtio_interrupts_here(const struct queue *q);
