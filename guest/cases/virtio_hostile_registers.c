// Does to the first card's registers, queue set-up, control queue and packed rings what broke other
// emulated cards, and asks the second after each whether the machine still stands.
#include "bootinfo.h"
#include "io.h"
#include "report.h"
#include "string.h"
#include "virtio/common.h"
#include "virtio/hostile.h"
#include "virtio/net_control.h"
#include "virtio/packed.h"

#define V (&victim.device)

static u8 data[4096];

static void start(void) { hostile_start(0, 0); }

static void notifications(void)
{
    start();
    mmio_write16(victim_tx()->doorbell, 0xFFFF);
    mmio_write16(victim_tx()->doorbell, 0x8000);
    mmio_write32(victim_tx()->doorbell, ~0u);
    mmio_write16(victim_tx()->doorbell + 0x800, 1);
    survived("CVE-2011-2512");
    if (hostile_start_legacy()) {
        outw(V->io + 0x10, 0xFFFF);
        outw(V->io + 0x10, 0x8000);
    }
    survived("CVE-2011-2512_legacy");
}

// Alignment and size of the rings, by either transport.
static void set_up(void)
{
    static const struct {
        const char *name;
        u16 size;
        u64 address;
    } rows[] = {
        {"CVE-2017-17381", 0, 0x400000},   {"size_odd", 7, 0x400000},        {"size_huge", 0x8000, 0x400000},
        {"address_odd", 64, 0x400001},     {"address_nowhere", 64, 0xD0000000},
        {"address_wraps", 64, ~0ull - 63}, {"address_0", 64, 0},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows) + 1; i++) {
        bool own = i == ARRAY_SIZE(rows);
        u64 address = own ? V->common : rows[i].address;
        virtio_reset(V);
        virtio_open(V, VIRTIO_NET, 0, &virtio_modern);
        virtio_negotiate(V, NET_WANTED);
        for (u16 queue = 0; queue < 2; queue++) {
            mmio_write16(V->common + QUEUE_SELECT, queue);
            mmio_write16(V->common + QUEUE_SIZE, own ? 64 : rows[i].size);
            for (u16 at = QUEUE_DESC; at <= QUEUE_DEVICE; at += 8) {
                mmio_write32(V->common + at, (u32)address);
                mmio_write32(V->common + at + 4, (u32)(address >> 32));
            }
            mmio_write16(V->common + QUEUE_ENABLE, 1);
        }
        virtio_ready(V);
        mmio_write16(V->notify, 0);
        mmio_write16(V->notify + V->notify_multiplier, 1);
        survived(own ? "ring_in_the_bar" : rows[i].name);
    }
    for (unsigned i = 0; hostile_start_legacy() && i < 2; i++) {
        virtio_reset(V);
        V->transport->set_status(V, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        outw(V->io + 0x0E, 1);
        outl(V->io + 0x08, i ? 0xFFFFFFFF : (u32)(boot_info.memory_low >> 12) - 1);
        V->transport->set_status(V, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
        outw(V->io + 0x10, 1);
    }
    survived("pfn_past_ram");
}

static void after_the_start(void)
{
    start();
    for (u16 queue = 0; queue < 2; queue++) {
        mmio_write16(V->common + QUEUE_SELECT, queue);
        mmio_write16(V->common + QUEUE_SIZE, 2);
        for (u16 at = QUEUE_DESC; at < QUEUE_NOTIFY_DATA; at += 4)
            mmio_write32(V->common + at, 0xFFFFFFF0);
    }
    report(net_loop_works(&victim, 100), "CVE-2026-5747", "a queue that runs keeps its addresses");
    survived("CVE-2026-5747_other");

    start();
    V->transport->accept(V, ~0ull);
    V->transport->set_status(V, STATUS_DRIVER_OK); // bits taken away
    V->transport->set_status(V, 0xFF);
    mmio_write16(victim_tx()->doorbell, 1);
    survived("status");

    virtio_reset(V);
    V->transport->set_status(V, STATUS_DRIVER_OK); // no queue, no features
    mmio_write16(V->notify, 0);
    mmio_write16(V->notify + V->notify_multiplier, 1);
    survived("ok_at_once");

    // Every register of every structure, with all widths.
    start();
    u64 structures[] = {V->common, V->isr, V->config, V->notify};
    for (unsigned i = 0; i < ARRAY_SIZE(structures); i++)
        for (u64 at = structures[i]; at < structures[i] + 64; at++) {
            mmio_read8(at), mmio_read16(at), mmio_read32(at);
            mmio_write32(at, ~0u), mmio_write16(at, 0xFFFF), mmio_write8(at, 0xFF);
        }
    survived("all_registers");
}

static void vectors(void)
{
    start();
    struct msix m;
    if (!msix_open(&m, V->pci))
        return;
    for (u16 queue = 0; queue < 2; queue++) {
        mmio_write16(V->common + QUEUE_SELECT, queue);
        mmio_write16(V->common + QUEUE_MSIX_VECTOR, 0x7FF);
        report(mmio_read16(V->common + QUEUE_MSIX_VECTOR) == NO_VECTOR,
               "vector", "one that is not there is refused");
    }
    for (u64 at = m.pending; at < m.pending + 64; at++) {
        mmio_read8(at), mmio_read16(at), mmio_read32(at), mmio_read64(at);
        mmio_write8(at, 0xFF), mmio_write16(at, 0xFFFF), mmio_write32(at, ~0u), mmio_write64(at, ~0ull);
    }
    survived("CVE-2015-7549");
    u64 end = m.table + m.vectors * 16u;
    for (u64 at = end - 16; at < end + 64; at++) {
        mmio_read8(at), mmio_read16(at), mmio_read32(at), mmio_read64(at);
        mmio_write8(at, 1), mmio_write16(at, 1), mmio_write32(at, 1), mmio_write64(at, 1ull << 32);
    }
    survived("CVE-2020-13754");
}

static void control(void)
{
    static const u8 garbage[512];
    u32 counts[2] = {0x7FFFFFFF, ~0u};
    hostile_start(NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_MQ | FEATURE(60), 0);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(data, &counts[i], 4);
        report(!net_command(&victim, CLASS_MAC, MAC_TABLE_SET, data, 64, 4),
               "mac_table", "a count of %u is refused",
               counts[i]);
    }
    survived("CVE-2014-0150");
    memset(data, 0xFF, sizeof data);
    net_command(&victim, CLASS_MQ, 1, data, 512, 0); // RSS: indices, key and types, all ones
    net_command(&victim, CLASS_MQ, 2, data, 512, 0);
    net_command(&victim, CLASS_MQ, 1, garbage, sizeof garbage, 0);
    survived("CVE-2024-6505");
    for (u8 n = 0; n < 32 && !(V->transport->status(V) & STATUS_NEEDS_RESET); n++)
        net_command(&victim, n / 4, n % 4, NULL, 0, 0);
    survived("control_short");
    for (unsigned i = 0; i < 100; i++) {
        struct piece piece = {(u64)data, i % 4};
        queue_add(&victim.control, &piece, i % 2, 1 - i % 2, 0); // no status, or nothing else
        queue_kick(&victim.control);
    }
    survived("control_half");
}

static void packed(void)
{
    static const u16 flags[] = {
        PACKED_AVAIL | DESC_NEXT, PACKED_AVAIL | DESC_INDIRECT, PACKED_AVAIL | DESC_INDIRECT | DESC_NEXT,
        PACKED_AVAIL | DESC_WRITE, 0xFFFF & ~PACKED_USED,
    };
    hostile_start(F_RING_PACKED, 0);
    if (!(V->features & F_RING_PACKED))
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        hostile_start(F_RING_PACKED, 0);
        struct queue *q = victim_tx();
        volatile struct packed_descriptor *ring = (struct packed_descriptor *)q->descriptors;
        for (u16 n = 0; n < q->size; n++) {
            ring[n].address = (u64)data;
            ring[n].length = i == 1 ? 17 : 64;
            ring[n].id = 0xFFFF;
            ring[n].flags = flags[i];
        }
        *(volatile u32 *)q->driver = ~0u; // the event structure, too
        queue_notify(q);
        survived("packed");
    }
}

int main(void)
{
    static const struct hostile_group groups[] = {
        {"notifications", notifications}, {"set_up", set_up}, {"after_the_start", after_the_start},
        {"vectors", vectors}, {"control", control}, {"packed", packed},
    };
    return hostile_run(groups, ARRAY_SIZE(groups));
}
