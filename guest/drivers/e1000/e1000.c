#include "e1000/e1000.h"

#include "clock.h"
#include "string.h"

static struct tx_descriptor tx_ring[E1000_RING] __attribute__((aligned(16)));
static struct rx_descriptor rx_ring[E1000_RING] __attribute__((aligned(16)));
static u8 tx_buffers[E1000_RING][E1000_BUFFER];
static u8 rx_buffers[E1000_RING][E1000_BUFFER];

// The card writes descriptors behind the compiler's back.
static u8 status_of(const volatile u8 *status) { return *status; }

u16 e1000_eeprom(const struct e1000 *card, u8 word)
{
    reg_write(card, EERD, EERD_START | (u32)word << 8);
    u64 deadline = deadline_ms(100);
    while (!(reg_read(card, EERD) & EERD_DONE))
        if (deadline_passed(deadline))
            return 0xFFFF;
    return (u16)(reg_read(card, EERD) >> 16);
}

// MDIC (13.4.9): operation, PHY 1, register; R says that it is done.
static u32 mdic(const struct e1000 *card, u32 operation, u8 number, u16 value)
{
    reg_write(card, MDIC, operation << 26 | 1u << 21 | (u32)number << 16 | value);
    u64 deadline = deadline_ms(100);
    u32 answer;
    while (!((answer = reg_read(card, MDIC)) & 1u << 28) && !deadline_passed(deadline))
        ;
    return answer;
}

u16 e1000_phy_read(const struct e1000 *card, u8 number) { return (u16)mdic(card, 2, number, 0); }

void e1000_phy_write(const struct e1000 *card, u8 number, u16 value) { mdic(card, 1, number, value); }

void e1000_loop_back(const struct e1000 *card)
{
    e1000_phy_write(card, 0, 0x4140); // loopback, duplex, 1000 Mb/s
}

static void start_rings(struct e1000 *card, u32 rctl)
{
    for (unsigned i = 0; i < E1000_RING; i++) {
        tx_ring[i] = (struct tx_descriptor){.address = (u64)tx_buffers[i], .status = DD};
        rx_ring[i] = (struct rx_descriptor){.address = (u64)rx_buffers[i]};
    }
    card->tx_next = card->tx_clean = card->rx_next = 0;
    card->report = TX_RS;
    reg_write(card, TDBAL, (u32)(u64)tx_ring);
    reg_write(card, TDBAH, 0);
    reg_write(card, TDLEN, sizeof tx_ring);
    reg_write(card, TDH, 0);
    reg_write(card, TDT, 0);
    reg_write(card, TCTL, TCTL_EN | TCTL_PSP | 0x10 << 4 | 0x40 << 12);
    reg_write(card, RDBAL, (u32)(u64)rx_ring);
    reg_write(card, RDBAH, 0);
    reg_write(card, RDLEN, sizeof rx_ring);
    reg_write(card, RDH, 0);
    reg_write(card, RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC | rctl);
    reg_write(card, RDT, E1000_RING - 1); // one stays ours: a full ring has head = tail
}

bool e1000_open(struct e1000 *card, unsigned nth, u32 rctl)
{
    if (!pci_find(0x8086, 0x100E, nth, &card->pci))
        return false;
    u16 command = pci_read16(card->pci, PCI_COMMAND);
    pci_write16(card->pci, PCI_COMMAND, command | PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
    card->registers = pci_bar(card->pci, 0);
    reg_write(card, IMC, ~0u);
    reg_write(card, CTRL, reg_read(card, CTRL) | CTRL_RST);
    u64 deadline = deadline_ms(100);
    while (reg_read(card, CTRL) & CTRL_RST)
        if (deadline_passed(deadline))
            return false;
    reg_write(card, IMC, ~0u);
    reg_write(card, CTRL, reg_read(card, CTRL) | CTRL_SLU);
    for (u8 word = 0; word < 3; word++) {
        u16 value = e1000_eeprom(card, word);
        card->mac[word * 2] = (u8)value;
        card->mac[word * 2 + 1] = (u8)(value >> 8);
    }
    start_rings(card, rctl);
    return true;
}

static void clean(struct e1000 *card)
{
    while (card->tx_clean != card->tx_next && status_of(&tx_ring[card->tx_clean].status) & DD)
        card->tx_clean = (card->tx_clean + 1) % E1000_RING;
}

bool e1000_sent(struct e1000 *card)
{
    clean(card);
    return card->tx_clean == card->tx_next;
}

bool e1000_done(unsigned n) { return status_of(&tx_ring[n].status) & DD; }

unsigned e1000_room(struct e1000 *card)
{
    clean(card);
    return e1000_known_room(card);
}

unsigned e1000_known_room(const struct e1000 *card)
{
    return (card->tx_clean + E1000_RING - card->tx_next - 1) % E1000_RING;
}

static void queue_raw(struct e1000 *card, u64 low, u64 high)
{
    memcpy(&tx_ring[card->tx_next], &low, 8);
    memcpy((u8 *)&tx_ring[card->tx_next] + 8, &high, 8);
    card->tx_next = (card->tx_next + 1) % E1000_RING;
}

void e1000_queue_context(struct e1000 *card, const struct e1000_context *c)
{
    u64 low = c->ipcss | (u64)c->ipcso << 8 | (u64)c->ipcse << 16 | (u64)c->tucss << 32 |
              (u64)c->tucso << 40 | (u64)c->tucse << 48;
    u64 high = c->paylen | (u64)(c->tucmd | card->report | DCMD_DEXT) << 24 | (u64)c->hdrlen << 40 |
               (u64)c->mss << 48;
    queue_raw(card, low, high);
}

void e1000_queue_data(struct e1000 *card, const void *data, u32 length, u8 command, u8 popts)
{
    u64 high = length | 1u << 20 | (u64)(command | card->report | TX_IFCS | DCMD_DEXT) << 24 | (u64)popts << 40;
    queue_raw(card, (u64)data, high);
}

u8 *e1000_tx_buffer(unsigned n) { return tx_buffers[n]; }

u8 *e1000_buffer(struct e1000 *card)
{
    // Looking at what was sent costs: only when there is no room without.
    if ((card->tx_next + 1) % E1000_RING == card->tx_clean)
        clean(card);
    return (card->tx_next + 1) % E1000_RING == card->tx_clean ? NULL : tx_buffers[card->tx_next];
}

void e1000_queue(struct e1000 *card, u16 length)
{
    struct tx_descriptor *d = &tx_ring[card->tx_next];
    d->address = (u64)tx_buffers[card->tx_next];
    d->length = length;
    d->cso = d->status = d->css = 0;
    d->special = 0;
    d->command = (u8)(TX_EOP | TX_IFCS | card->report);
    card->tx_next = (card->tx_next + 1) % E1000_RING;
}

void e1000_queue_sum(struct e1000 *card, u16 length, u8 cso, u8 css)
{
    struct tx_descriptor *d = &tx_ring[card->tx_next];
    e1000_queue(card, length);
    d->cso = cso;
    d->css = css;
    d->command |= TX_IC;
}

void e1000_queue_delayed(struct e1000 *card, u16 length)
{
    struct tx_descriptor *d = &tx_ring[card->tx_next];
    e1000_queue(card, length);
    d->command |= TX_IDE;
}

void e1000_queue_tagged(struct e1000 *card, u16 length, u16 tag)
{
    struct tx_descriptor *d = &tx_ring[card->tx_next];
    e1000_queue(card, length);
    d->special = tag;
    d->command |= TX_VLE;
}

void e1000_kick(struct e1000 *card)
{
    __asm__ volatile("" : : : "memory"); // descriptors first; x86 keeps stores in order
    card->kicks++;
    reg_write(card, TDT, card->tx_next);
}

bool e1000_idle(struct e1000 *card)
{
    return reg_read(card, TDH) == card->tx_next;
}

const u8 *e1000_receive(struct e1000 *card, u16 *length)
{
    struct rx_descriptor *d = &rx_ring[card->rx_next];
    if (!(status_of(&d->status) & DD))
        return NULL;
    __asm__ volatile("" : : : "memory");
    *length = d->length;
    return rx_buffers[card->rx_next];
}

const struct rx_descriptor *e1000_received(const struct e1000 *card) { return &rx_ring[card->rx_next]; }

void e1000_release(struct e1000 *card)
{
    rx_ring[card->rx_next].status = 0;
    u32 given = card->rx_next;
    card->rx_next = (card->rx_next + 1) % E1000_RING;
    if (given % 16 == 15) { // a doorbell for sixteen
        card->kicks++;
        reg_write(card, RDT, given);
    }
}
