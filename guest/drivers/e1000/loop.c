#include "e1000/loop.h"

#include "clock.h"
#include "string.h"

enum { SOON_MS = 1000, NEVER_MS = 30 };

u8 *loop_frame(struct e1000 *card, const u8 *to, u16 size)
{
    u8 *out = e1000_buffer(card);
    if (!out)
        return NULL;
    memcpy(out, to ? to : card->mac, 6);
    memcpy(out + 6, card->mac, 6);
    out[12] = 0x88;
    out[13] = 0xB5;
    for (unsigned i = 14; i < size; i++)
        out[i] = (u8)(i * 7 + size);
    return out;
}

const u8 *loop_take(struct e1000 *card, u16 *length, u32 ms)
{
    e1000_kick(card);
    u64 deadline = deadline_ms(ms);
    const u8 *in;
    while (!(in = e1000_receive(card, length)))
        if (deadline_passed(deadline))
            return NULL;
    return in;
}

bool loop_comes_back(struct e1000 *card)
{
    u16 length;
    e1000_kick(card);
    u64 deadline = deadline_ms(SOON_MS);
    while (!e1000_sent(card) && !deadline_passed(deadline))
        ;
    if (!loop_take(card, &length, NEVER_MS))
        return false;
    e1000_release(card);
    return true;
}

void loop_warm_up(struct e1000 *card)
{
    u16 length;
    u64 deadline = deadline_ms(3000);
    bool came = false;
    while (!came && !deadline_passed(deadline)) {
        loop_frame(card, NULL, 60);
        e1000_queue(card, 60);
        came = loop_take(card, &length, 50);
        if (came)
            e1000_release(card);
    }
    for (deadline = deadline_ms(20); !deadline_passed(deadline);)
        if (e1000_receive(card, &length))
            e1000_release(card);
    reg_read(card, GPTC);
    reg_read(card, GPRC);
}
