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

// What a context descriptor says (3.3.6).
struct e1000_context {
    u8 ipcss, ipcso;
    u16 ipcse;
    u8 tucss, tucso;
    u16 tucse;
    u32 paylen;
    u8 tucmd, hdrlen;
    u16 mss;
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
    u8 report; // how a descriptor says that it is done: TX_RS, and TX_IDE where that may wait
    u64 kicks; // writes of TDT and RDT
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
void e1000_queue_sum(struct e1000 *card, u16 length, u8 cso, u8 css); // with a checksum from css on
void e1000_queue_delayed(struct e1000 *card, u16 length);            // its interrupt may wait (IDE)
void e1000_queue_tagged(struct e1000 *card, u16 length, u16 tag);    // with a VLAN tag
void e1000_kick(struct e1000 *card); // the doorbell: TDT
bool e1000_idle(struct e1000 *card); // everything queued has been sent, as TDH says
bool e1000_sent(struct e1000 *card); // the same, as the descriptors say: no register is touched

bool e1000_done(unsigned n); // whether descriptor n was written back

// Free descriptors, and raw ones for who drives the offloads. A context holds for what follows it.
unsigned e1000_room(struct e1000 *card);
unsigned e1000_known_room(const struct e1000 *card); // without looking at what was sent
void e1000_queue_context(struct e1000 *card, const struct e1000_context *context);
void e1000_queue_data(struct e1000 *card, const void *data, u32 length, u8 command, u8 popts);
u8 *e1000_tx_buffer(unsigned n); // the buffer that e1000_buffer() gives for descriptor n

// The next received frame, or NULL; it is the card's again after e1000_release().
const u8 *e1000_receive(struct e1000 *card, u16 *length);
const struct rx_descriptor *e1000_received(const struct e1000 *card); // that frame's descriptor
void e1000_release(struct e1000 *card);

// The PHY's registers (MDIC).
u16 e1000_phy_read(const struct e1000 *card, u8 number);
void e1000_phy_write(const struct e1000 *card, u8 number, u16 value);
