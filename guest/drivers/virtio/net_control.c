#include "virtio/net_control.h"

#include "string.h"

enum { PATIENCE_MS = 2000, LARGEST = 512 };

bool net_command(struct net *net, u8 class, u8 command, const void *data, u32 size, u32 first)
{
    static u8 header[2];
    static volatile u8 status;
    header[0] = class;
    header[1] = command;
    status = 0xFF;
    struct piece pieces[4];
    unsigned out = 0;
    pieces[out++] = (struct piece){(u64)header, sizeof header};
    if (first)
        pieces[out++] = (struct piece){(u64)data, first};
    if (size > first)
        pieces[out++] = (struct piece){(u64)data + first, size - first};
    pieces[out] = (struct piece){(u64)&status, 1};
    u64 token;
    u32 length;
    if (!queue_add(&net->control, pieces, out, 1, 0))
        return false;
    queue_kick(&net->control);
    return queue_wait(&net->control, 1, PATIENCE_MS) && queue_take(&net->control, &token, &length) &&
           status == 0;
}

bool net_rx_mode(struct net *net, u8 mode, bool on)
{
    u8 value = on;
    return net_command(net, CLASS_RX, mode, &value, 1, 0);
}

bool net_mac_set(struct net *net, const u8 *mac)
{
    return net_command(net, CLASS_MAC, MAC_ADDR_SET, mac, 6, 0);
}

bool net_mac_table(struct net *net, const u8 *unicast, u32 unicasts, const u8 *multicast, u32 multicasts)
{
    static u8 table[LARGEST];
    u32 first = 4 + unicasts * 6, size = first + 4 + multicasts * 6;
    if (size > sizeof table)
        return false;
    memcpy(table, &unicasts, 4);
    memcpy(table + 4, unicast, unicasts * 6);
    memcpy(table + first, &multicasts, 4);
    memcpy(table + first + 4, multicast, multicasts * 6);
    return net_command(net, CLASS_MAC, MAC_TABLE_SET, table, size, first);
}

bool net_vlan(struct net *net, u16 id, bool accept)
{
    return net_command(net, CLASS_VLAN, accept ? VLAN_ADD : VLAN_DELETE, &id, 2, 0);
}

bool net_announce_ack(struct net *net) { return net_command(net, CLASS_ANNOUNCE, ANNOUNCE_ACK, NULL, 0, 0); }

bool net_use_pairs(struct net *net, u16 pairs)
{
    return net_command(net, CLASS_MQ, MQ_PAIRS_SET, &pairs, 2, 0);
}
