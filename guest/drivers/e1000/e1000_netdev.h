// The 82540EM as a stack drives it (lib/netdev.h): what Linux's driver does, with its default settings.
#pragma once
#include "netdev.h"

// Opens the first card. The caller sets polled, batch, deliver and to before it.
bool e1000_netdev(struct netdev *d);
