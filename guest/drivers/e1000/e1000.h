// An e1000 driver, polled: what a case needs and no more. After e1000_open() everything works from
// ring 3, too: the rings are plain memory and the registers are mapped for it.
#pragma once
#include "pci.h"
#include "regs.h"
#include "types.h"

enum { E1000_RING = 256, E1000_BUFFER = 2048 };

struct tx_descriptor {
    u64 address;
    u16 length;
    u8 cso, command, status, css;
    u16 special;
};

struct rx_descriptor {
    u64 address;
    u16 length, checksum;
    u8 status, errors;
    u16 special;
};

struct e1000 {
    struct pci_device pci;
    u64 registers; // where BAR 0 is
    u8 mac[6];
    u32 tx_next, tx_clean, rx_next;
};

static inline u32 reg_read(const struct e1000 *card, u32 offset)
{
    return *(volatile u32 *)(card->registers + offset);
}

static inline void reg_write(const struct e1000 *card, u32 offset, u32 value)
{
    *(volatile u32 *)(card->registers + offset) = value;
}

// Finds the nth card, resets it, reads its address, sets up both rings. `rctl` is added to what the
// receiver is started with. There is one set of rings: one card at a time.
bool e1000_open(struct e1000 *card, unsigned nth, u32 rctl);

// Loops what is sent back inside the PHY. RCTL's MAC loopback would do, but QEMU's card lacks it.
void e1000_loop_back(const struct e1000 *card);

u16 e1000_eeprom(const struct e1000 *card, u8 word);

// A buffer for the next frame, or NULL while the ring is full; then e1000_send() queues it.
u8 *e1000_buffer(struct e1000 *card);
void e1000_queue(struct e1000 *card, u16 length);
void e1000_kick(struct e1000 *card); // the doorbell: TDT
bool e1000_idle(struct e1000 *card); // everything queued has been sent

// The next received frame, or NULL; it is the card's again after e1000_release().
const u8 *e1000_receive(struct e1000 *card, u16 *length);
void e1000_release(struct e1000 *card);
