"""The driver's side of a virtqueue, split and packed, over guest memory: what feeds rings."""

import struct

NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15


class SplitDriver:
    """A split ring of ``size`` at ``base``. A chain is a list of (address, length, write)."""

    def __init__(self, memory, base, size):
        self.memory, self.size = memory, size
        self.descriptors = base
        self.driver = base + 16 * size
        self.device = (self.driver + 6 + 2 * size + 3) & ~3
        self.end = (self.device + 6 + 8 * size + 15) & ~15
        self.free = list(range(size))
        self.idx = self.seen = 0
        self.chains = {}

    def row(self, at, address, length, flags, following, table=None):
        base = self.descriptors if table is None else table
        self.memory.write(base + 16 * at, struct.pack("<QIHH", address, length, flags, following))

    def _indirect(self, pieces, table):
        for n, (address, length, write) in enumerate(pieces):
            more = NEXT if n + 1 < len(pieces) else 0
            self.row(n, address, length, more | (WRITE if write else 0), n + 1, table)
        return [(table, 16 * len(pieces), INDIRECT)]

    def room(self):
        """Descriptors that are free."""
        return len(self.free)

    def add(self, pieces, table=None):
        """Offer a chain, through an indirect table at ``table`` if given; its head, or None when
        there is no room. Seen after ``publish``."""
        flagged = [(address, length, WRITE if write else 0) for address, length, write in pieces]
        rows = flagged if table is None else self._indirect(pieces, table)
        if len(rows) > len(self.free):
            return None
        slots = [self.free.pop(0) for _ in rows]
        for n, (address, length, flags) in enumerate(rows):
            more = n + 1 < len(rows)
            self.row(slots[n], address, length, flags | (NEXT if more else 0),
                     slots[n + 1] if more else 0)  # fmt: skip
        self.chains[slots[0]] = slots
        self.offer(slots[0])
        return slots[0]

    def offer(self, head):
        """The next entry of the avail ring."""
        self.memory.write_u16(self.driver + 4 + 2 * (self.idx % self.size), head)
        self.idx = (self.idx + 1) & 0xFFFF

    def publish(self):
        self.memory.write_u16(self.driver + 2, self.idx)

    def used(self):
        """[(head, written)] since the last call."""
        got = []
        while self.seen != self.memory.read_u16(self.device + 2):
            at = self.device + 4 + 8 * (self.seen % self.size)
            head, written = struct.unpack("<II", self.memory.read(at, 8))
            self.free += self.chains.pop(head, [])
            self.seen = (self.seen + 1) & 0xFFFF
            got.append((head, written))
        return got

    def want_interrupts(self, on):
        self.memory.write_u16(self.driver, 0 if on else 1)

    def want_interrupt_at(self, ahead):
        """EVENT_IDX: after ``ahead`` more used chains than are seen."""
        self.memory.write_u16(self.driver + 4 + 2 * self.size, (self.seen + ahead) & 0xFFFF)

    def kick_wanted(self, before, event_idx):
        """Whether what was offered since idx was ``before`` needs a kick."""
        if not event_idx:
            return not self.memory.read_u16(self.device) & 1
        event = self.memory.read_u16(self.device + 4 + 8 * self.size)
        return (self.idx - event - 1) & 0xFFFF < (self.idx - before) & 0xFFFF


class PackedDriver:
    """A packed ring; the same calls. Chains are given back by buffer id."""

    def __init__(self, memory, base, size):
        self.memory, self.size = memory, size
        self.descriptors = base
        self.driver = base + 16 * size
        self.device = self.driver + 4
        self.end = (self.device + 4 + 15) & ~15
        self.at, self.wrap = 0, True
        self.seen, self.seen_wrap = 0, True
        self.free = size
        self.ids = list(range(size))
        self.chains = {}
        self.held = None

    def room(self):
        return self.free

    def _put(self, at, address, length, ident, flags):
        where = self.descriptors + 16 * at
        self.memory.write(where, struct.pack("<QIH", address, length, ident))
        return where + 14, flags

    def add(self, pieces, table=None):
        flagged = [(address, length, WRITE if write else 0) for address, length, write in pieces]
        if table is not None:
            for n, (address, length, flags) in enumerate(flagged):
                self.memory.write(table + 16 * n, struct.pack("<QIHH", address, length, 0, flags))
            flagged = [(table, 16 * len(pieces), INDIRECT)]
        if len(flagged) > self.free:
            return None
        ident = self.ids.pop(0)
        for n, (address, length, flags) in enumerate(flagged):
            more = NEXT if n + 1 < len(flagged) else 0
            offered = AVAIL if self.wrap else USED
            where = self._put(self.at, address, length, ident, flags | more | offered)
            if self.held is None:  # the first descriptor of what is published shows all of it
                self.held = where
            else:
                self.memory.write_u16(*where)
            self.at += 1
            if self.at == self.size:
                self.at, self.wrap = 0, not self.wrap
        self.free -= len(flagged)
        self.chains[ident] = len(flagged)
        return ident

    def publish(self):
        if self.held is not None:
            self.memory.write_u16(*self.held)
            self.held = None

    def used(self):
        got = []
        while self.free < self.size:
            row = self.memory.read(self.descriptors + 16 * self.seen, 16)
            _, written, ident, flags = struct.unpack("<QIHH", row)
            if not bool(flags & AVAIL) == bool(flags & USED) == self.seen_wrap:
                break
            slots = self.chains.pop(ident)
            self.ids.append(ident)
            self.free += slots
            self.seen += slots
            if self.seen >= self.size:
                self.seen, self.seen_wrap = self.seen - self.size, not self.seen_wrap
            got.append((ident, written))
        return got

    def want_interrupts(self, on):
        self.memory.write_u16(self.driver + 2, 0 if on else 1)

    def want_interrupt_at(self, ahead):
        """EVENT_IDX: when the slot ``ahead`` of the next one is used."""
        at, wrap = self.seen + ahead, self.seen_wrap
        if at >= self.size:
            at, wrap = at - self.size, not wrap
        self.memory.write(self.driver, struct.pack("<HH", at % self.size | wrap << 15, 2))

    def kicks_disabled(self):
        return self.memory.read_u16(self.device + 2) == 1
