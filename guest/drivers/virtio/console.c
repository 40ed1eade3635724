#include "virtio/console.h"

enum { RX = 0, TX = 1, PATIENCE_MS = 5000 };

static void offer(struct console *c)
{
    struct piece piece = {(u64)c->in, sizeof c->in};
    queue_add(&c->rx, &piece, 0, 1, 0);
    queue_kick(&c->rx);
}

bool console_open(struct console *c, unsigned nth, const struct virtio_transport *transport)
{
    struct virtio *v = &c->device;
    if (!virtio_open(v, VIRTIO_CONSOLE, nth, transport) || !virtio_negotiate(v, F_RING | F_ANY_LAYOUT) ||
        !virtio_queue(v, &c->rx, RX, 0, 0) || !virtio_queue(v, &c->tx, TX, 0, 0))
        return false;
    c->at = c->length = 0;
    virtio_ready(v);
    offer(c);
    return true;
}

int console_getc(struct console *c)
{
    u64 token;
    while (c->at == c->length) {
        if (!queue_take(&c->rx, &token, &c->length))
            return -1;
        if (c->length > sizeof c->in)
            c->length = sizeof c->in;
        c->at = 0;
        if (!c->length)
            offer(c);
    }
    u8 byte = c->in[c->at++];
    if (c->at == c->length)
        offer(c);
    return byte;
}

bool console_write(struct console *c, const void *data, u32 length)
{
    struct piece piece = {(u64)data, length};
    u64 token;
    u32 none;
    if (!queue_add(&c->tx, &piece, 1, 0, 0))
        return false;
    queue_kick(&c->tx);
    return queue_wait(&c->tx, 1, PATIENCE_MS) && queue_take(&c->tx, &token, &none);
}
