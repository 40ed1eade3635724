// A network card as code above it sees one, whatever its make.
#pragma once
#include "types.h"

struct nic {
    u8 mac[6];
    bool (*send)(const u8 *frame, u16 length);  // copies; false while there is no room
    const u8 *(*receive)(u16 *length);          // the next frame, or NULL
    void (*release)(void);                      // done with that frame
};
