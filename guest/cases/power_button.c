// Waits for the power button, as an ACPI system does: an event, its interrupt, then soft-off.
#include "clock.h"
#include "exit.h"
#include "interrupts.h"
#include "io.h"
#include "ioapic.h"
#include "lapic.h"
#include "pic.h"
#include "printf.h"

// ACPI 6.4, 4.8.3. QEMU's "pc" has the block here too, but off until its SMI port is told.
#define PM1_STS    0x600
#define PM1_EN     0x602
#define PM1_CNT    0x604
#define PWRBTN     (1u << 8)
#define SCI_EN     1u
#define SMI_CMD    0xb2
#define ACPI_ON    0xf1
#define SCI        9
#define SCI_VECTOR 0x40

static volatile u32 pressed;

static void on_sci(struct frame *f)
{
    (void)f;
    if (inw(PM1_STS) & PWRBTN) {
        outw(PM1_STS, PWRBTN);
        pressed++;
    }
    lapic_eoi();
}

int main(void)
{
    clock_init();
    pic_init();
    lapic_init();
    interrupt_set(SCI_VECTOR, on_sci);
    ioapic_route(SCI, SCI_VECTOR, lapic_id());
    if (!(inw(PM1_CNT) & SCI_EN))
        outb(SMI_CMD, ACPI_ON);
    outw(PM1_EN, PWRBTN);
    printf("READY\n");
    if (!wait_count(&pressed, 1, 20000)) {
        printf("nobody pressed it\n");
        return 1;
    }
    printf("pressed, status now %x\n", inw(PM1_STS) & PWRBTN);
    power_off();
}
