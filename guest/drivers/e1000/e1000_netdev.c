#include "e1000/e1000_netdev.h"

#include "e1000/e1000.h"
#include "inet.h"
#include "interrupts.h"
#include "pic.h"
#include "string.h"

// Linux puts no more into a descriptor, and wakes a stopped queue when so many are free.
enum { LARGEST = 4096, WAKE = 32, MOST = 2 + 65536 / LARGEST + NETDEV_PARTS };
enum { IP = 14, IP_SUM = IP + 10, TCP = 34, TCP_SUM = TCP + 16 };
enum { CAUSES = ICR_TXDW | ICR_LSC | ICR_RXDMT0 | ICR_RXT0 };

// Linux's defaults: units of 1.024 us, and of 256 ns for the interval, 4,000 interrupts a second, which is
// what its driver comes to when frames are many and large.
enum { TX_DELAY = 8, TX_DELAY_MOST = 32, RX_DELAY = 0, RX_DELAY_MOST = 8, INTERVAL = 976 };

static struct e1000 card;
static volatile u32 interrupts;
static u8 line;

// The read of STATUS makes sure that the card has seen the write before it.
static void on_interrupt(struct frame *frame)
{
    (void)frame;
    if (reg_read(&card, ICR)) {
        reg_write(&card, IMC, ~0u);
        reg_read(&card, STATUS);
        interrupts++;
    }
    pic_eoi(line);
}

static u8 *buffer(struct netdev *d)
{
    (void)d;
    if (e1000_known_room(&card) < MOST && e1000_room(&card) < MOST)
        return NULL;
    return e1000_tx_buffer(card.tx_next);
}

static void context(const struct request *r, u8 *frame)
{
    struct e1000_context c = {.ipcss = IP, .ipcso = IP_SUM, .ipcse = TCP - 1, .tucss = TCP, .tucso = TCP_SUM,
                              .tucmd = TUCMD_TCP};
    u32 length = r->linear - TCP;
    for (unsigned i = 0; i < r->parts; i++)
        length += r->part[i].length;
    if (r->mss) {
        c.tucmd |= TUCMD_IPV4 | TUCMD_TSE;
        c.hdrlen = NETDEV_HEADERS;
        c.mss = r->mss;
        c.paylen = length - (NETDEV_HEADERS - TCP);
        put_be16(frame + IP_SUM, 0);
        length = 0; // each segment has its own: the card adds it
    }
    put_be16(frame + TCP_SUM, pseudo_sum(frame + IP, length));
    e1000_queue_context(&card, &c);
}

static void queue(struct netdev *d, u8 *frame, const struct request *r)
{
    (void)d;
    u8 command = r->mss ? DCMD_TSE : 0;
    u8 popts = (u8)((r->sum ? POPTS_TXSM : 0) | (r->mss ? POPTS_IXSM : 0));
    if (r->sum)
        context(r, frame);
    e1000_queue_data(&card, frame, r->linear, (u8)(command | (r->parts ? 0 : TX_EOP)), popts);
    for (unsigned i = 0; i < r->parts; i++) {
        const u8 *data = r->part[i].data;
        for (u32 left = r->part[i].length, some; left; left -= some, data += some) {
            some = left < LARGEST ? left : LARGEST;
            bool last = i + 1 == r->parts && some == left;
            e1000_queue_data(&card, data, some, (u8)(command | (last ? TX_EOP : 0)), 0);
        }
    }
}

static void kick(struct netdev *d) { (void)d, e1000_kick(&card); }

static bool granted(struct netdev *d)
{
    unsigned room = e1000_room(&card);
    return d->wish == NETDEV_SENT ? e1000_sent(&card) : room >= (d->polled ? E1000_RING / 2 : WAKE);
}

static bool receive(struct netdev *d, struct received *frame)
{
    (void)d;
    u16 length;
    const u8 *data = e1000_receive(&card, &length);
    if (data)
        *frame = (struct received){.data = data, .first = length, .length = length};
    return data;
}

static void release(struct netdev *d) { (void)d, e1000_release(&card); }
static void quiet(struct netdev *d) { (void)d; } // on_interrupt() has done it
static bool remind(struct netdev *d) { return (void)d, false; } // the card tells of every frame it sent
static u64 kicks(const struct netdev *d) { return (void)d, card.kicks; }

static bool listen(struct netdev *d)
{
    (void)d;
    reg_write(&card, IMS, CAUSES);
    reg_read(&card, STATUS);
    return false; // what came meanwhile is in ICR, and interrupts now
}

static const struct netdev_driver driver = {buffer, queue,  kick,   granted, receive, release,
                                            quiet,  listen, remind, kicks,   NULL};

bool e1000_netdev(struct netdev *d)
{
    if (!e1000_open(&card, 0, 0))
        return false;
    d->name = "e1000";
    d->driver = &driver;
    d->queues = 1;
    d->interrupts = &interrupts;
    d->cuts = d->sums = true;
    d->merges = false;
    memcpy(d->mac, card.mac, 6);
    pic_init();
    if (d->polled)
        return true;
    card.report = TX_RS | TX_IDE;
    reg_write(&card, TIDV, TX_DELAY);
    reg_write(&card, TADV, TX_DELAY_MOST);
    reg_write(&card, RDTR, RX_DELAY);
    reg_write(&card, RADV, RX_DELAY_MOST);
    reg_write(&card, ITR, INTERVAL);
    line = pci_read8(card.pci, PCI_INT_LINE);
    interrupt_set(PIC_VECTOR + line, on_interrupt);
    pic_unmask(line);
    return true;
}
