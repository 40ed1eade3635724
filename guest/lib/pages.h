// Memory behind the image, for what is too big or too varied to be an array.
#pragma once
#include "types.h"

// Pages for this many bytes, never given back; what is in them is anybody's. Ends the guest with
// EXIT_EXCEPTION when there is no room.
void *pages_take(size_t bytes);
