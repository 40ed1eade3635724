// Commands on the control queue (VIRTIO 1.2, 5.1.6.5). Each is true when the device acknowledged it.
#pragma once
#include "virtio/net.h"

enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_VLAN = 2, CLASS_ANNOUNCE = 3, CLASS_MQ = 4 };
enum { RX_PROMISCUOUS = 0, RX_ALL_MULTICAST = 1 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1, VLAN_ADD = 0, VLAN_DELETE = 1, ANNOUNCE_ACK = 0, MQ_PAIRS_SET = 0 };

// The raw form: `size` bytes after class and command, in two pieces if `first` is not 0.
bool net_command(struct net *net, u8 class, u8 command, const void *data, u32 size, u32 first);

bool net_rx_mode(struct net *net, u8 mode, bool on);
bool net_mac_set(struct net *net, const u8 *mac);
// Replaces the filter: addresses one after the other.
bool net_mac_table(struct net *net, const u8 *unicast, u32 unicasts, const u8 *multicast, u32 multicasts);
bool net_vlan(struct net *net, u16 id, bool accept);
bool net_announce_ack(struct net *net);
bool net_use_pairs(struct net *net, u16 pairs);
