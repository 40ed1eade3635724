/* What every file of the card's uses: counters, and what the guest is blamed for. The worker's lock is held. */
#include "e1000_card.h"
#include "host.h"

uint32_t pk_e1000_size_counter(uint32_t offset, uint32_t length)
{
    static const uint32_t limits[] = {64, 127, 255, 511, 1023};
    uint32_t n = 0;
    while (n < 5 && length + FCS > limits[n])
        n++;
    return offset + 4 * n;
}

void pk_e1000_complain(struct pk_e1000 *card, uint32_t error)
{
    if (pk_worker_runs(&card->worker) && error & ~card->errors)
        pk_signal(card->notice);
    card->errors |= error;
}

uint32_t pk_e1000_errors(struct pk_e1000 *card)
{
    uint32_t errors = card->errors;
    uint64_t drained;
    card->errors = 0;
    if (errors && read(card->notice, &drained, sizeof drained) < 0)
        return errors; /* nobody had been told yet */
    return errors;
}
