// How a case opens its card, as its command line says: transport=modern|legacy, packed=0|1,
// event_idx=1|0, indirect=1|0, entries=N, buffer=N (bytes of one for receiving), irq=0|1, merge=0|1,
// tso=0|1.
#pragma once
#include "virtio/net.h"

struct net_options net_options(void);

// net_open() as a check "open", that fails also when the rings are not as asked for.
bool net_open_checked(struct net *net, const struct net_options *options);
