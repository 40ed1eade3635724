// The control queue of virtio-net: what the card takes in, its address, pairs of queues.
//
//   pairs=1 (how many the card must have), and the keys of net_options.h
#include "clock.h"
#include "cmdline.h"
#include "inet.h"
#include "report.h"
#include "ring3.h"
#include "string.h"
#include "virtio/net_control.h"
#include "virtio/net_loop.h"
#include "virtio/net_options.h"

enum { SOON_MS = 1000, NEVER_MS = 50, SIZE = 64, VLAN = 0x8100 };

static struct net net;
static const u8 *to;
static u16 vlan;
static const u8 other[6] = {2, 0, 0, 0, 0, 0x99}, group[6] = {1, 0, 0x5E, 0, 0, 0x42};
static const u8 groups[12] = {1, 0, 0x5E, 0, 0, 0x41, 1, 0, 0x5E, 0, 0, 0x42};
static const u8 everybody[6] = {255, 255, 255, 255, 255, 255};

// Sends a frame to `to`, with a VLAN tag if `vlan` is set; does it come in?
static u64 arrives(u64 ms)
{
    static struct net_frame frame;
    u8 *out = net_buffer(&net, 0);
    if (!out)
        return false;
    net_loop_write(&net, out, SIZE, 0);
    memcpy(out, to, 6);
    if (vlan) {
        put_be16(out + 12, VLAN);
        put_be16(out + 14, vlan);
    }
    net_queue(&net, 0, out, SIZE);
    net_kick(&net, 0);
    u64 deadline = deadline_ms((u32)ms);
    while (!net_receive(&net, 0, &frame))
        if (deadline_passed(deadline))
            return false;
    net_release(&net, 0, &frame);
    return true;
}

static bool comes(const u8 *mac) { return (to = mac, ring3_call(arrives, SOON_MS)); }
static bool stays_out(const u8 *mac) { return (to = mac, !ring3_call(arrives, NEVER_MS)); }

static void receive_filters(void)
{
    report(net_rx_mode(&net, RX_PROMISCUOUS, false) && net_rx_mode(&net, RX_ALL_MULTICAST, false), "rx_mode",
           "both modes are switched off");
    report(comes(net.mac) && comes(everybody), "own", "its own address and broadcast come in");
    report(stays_out(other) && stays_out(group), "foreign", "another's address and a group stay out");
    report(net_rx_mode(&net, RX_PROMISCUOUS, true) && comes(other), "promiscuous", "takes everything");
    net_rx_mode(&net, RX_PROMISCUOUS, false);
    report(net_rx_mode(&net, RX_ALL_MULTICAST, true) && comes(group) && stays_out(other), "all_multicast",
           "takes groups, and nothing else");
    net_rx_mode(&net, RX_ALL_MULTICAST, false);
    report(net_mac_table(&net, other, 1, groups, 2) && comes(other) && comes(group), "mac_table",
           "one address and two groups come in");
    report(net_mac_table(&net, NULL, 0, NULL, 0) && stays_out(other) && stays_out(group), "mac_table_empty",
           "and stay out when the table is empty");
    report(!net_command(&net, CLASS_MAC, MAC_TABLE_SET, "\xff\xff\xff\x7f\0\0\0\0", 8, 4), "mac_table_count",
           "a count that is longer than the command is refused");
}

static void address(void)
{
    u8 before[6], got[6];
    memcpy(before, net.mac, 6);
    report(net_mac_set(&net, other), "mac_set", "is acknowledged");
    virtio_config(&net.device, NET_CONFIG_MAC, got, 6);
    report(memcmp(got, other, 6) == 0 && comes(other) && stays_out(before),
           "mac_new", "the card has the new address");
    net_mac_set(&net, before);
}

static void vlans(void)
{
    vlan = 5;
    report(stays_out(net.mac), "vlan_closed", "a VLAN that was not added stays out");
    report(net_vlan(&net, 5, true) && comes(net.mac), "vlan_added", "one that was comes in");
    report(net_vlan(&net, 5, false) && stays_out(net.mac), "vlan_removed", "and stays out again");
    vlan = 0;
}

static u64 on_pair(u64 pair) { return net_loop_trip(&net, (unsigned)pair, SIZE, (u32)pair, SOON_MS); }

static void queue_pairs(u16 pairs)
{
    u16 most = 1;
    virtio_config(&net.device, NET_CONFIG_MAX_PAIRS, &most, 2);
    report(most == pairs, "max_pairs", "%u", most);
    report(net_use_pairs(&net, pairs), "pairs", "are switched on");
    bool all = true;
    for (u64 pair = 0; pair < pairs; pair++)
        all = all && ring3_call(on_pair, pair);
    report(all, "pairs_send", "each of them sends");
    report(!net_use_pairs(&net, 0) && !net_use_pairs(&net, (u16)(pairs + 1)), "pairs_wrong",
           "none, and more than there are, are refused");
    report(net_use_pairs(&net, 1) && ring3_call(on_pair, 0), "pairs_one", "one alone goes on");
}

int main(void)
{
    struct net_options options = net_options();
    u16 pairs = (u16)cmdline_u64("pairs", 1);
    options.pairs = pairs;
    options.wanted |= NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_MAC_ADDR | (pairs > 1 ? NET_F_MQ : 0);
    clock_init();
    if (!net_open_checked(&net, &options))
        return report_summary();
    receive_filters();
    if (report(net.device.features & NET_F_CTRL_MAC_ADDR, "offer_mac", "CTRL_MAC_ADDR"))
        address();
    report(!net_command(&net, 99, 0, NULL, 0, 0), "unknown", "an unknown class is refused");
    if (pairs > 1)
        queue_pairs(pairs);
    virtio_reset(&net.device);
    options.wanted |= NET_F_CTRL_VLAN;
    options.wanted &= ~NET_F_MQ;
    options.pairs = 1;
    if (report(net_open(&net, 0, &options) && net.device.features & NET_F_CTRL_VLAN,
               "offer_vlan", "CTRL_VLAN")) {
        net_rx_mode(&net, RX_PROMISCUOUS, false);
        vlans();
    }
    report(comes(net.mac), "goes_on", "untagged frames still come in");
    return report_summary();
}
