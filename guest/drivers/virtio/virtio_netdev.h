// virtio-net as a stack drives it (lib/netdev.h): what Linux's driver does. A full ring sleeps until three
// quarters of it are sent; otherwise nobody is told of what was sent.
#pragma once
#include "netdev.h"

// Opens the first card that has the modern transport. The caller sets polled, batch, queues, deliver, to and
// merges (whether it wants TCP segments put together) before it. Where there are not as many pairs of queues
// as wanted, one is used.
bool virtio_netdev(struct netdev *d);
