"""The near side of a pseudo-terminal, read as a person would."""

import os
import select
import time


def read(fd, until, seconds=20):
    """What comes up to ``until`` and not a byte more: that is for the next one who reads."""
    text, end = b"", time.monotonic() + seconds
    while until not in text and time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            text += os.read(fd, 1)
    return text
