// A virtio console's first port (VIRTIO 1.2, 5.3), polled.
#pragma once
#include "virtio/virtio.h"

struct console {
    struct virtio device;
    struct queue rx, tx;
    u32 at, length; // what was received and not taken yet
    u8 in[64];
};

bool console_open(struct console *console, unsigned nth, const struct virtio_transport *transport);
int console_getc(struct console *console); // -1: nothing there
bool console_write(struct console *console, const void *data, u32 length); // waits until it is out
