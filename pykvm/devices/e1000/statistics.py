"""The statistics registers: counted per frame, cleared by reading (manual, 13.7)."""

from __future__ import annotations

from pykvm.devices.e1000.registers import STATISTICS, STATISTICS_BASE, STATISTICS_WIDE

_INDEX = {name: n for n, name in enumerate(STATISTICS) if name != "_"}
_LIMITS = ((64, "64"), (127, "127"), (255, "255"), (511, "511"), (1023, "1023"))
_FCS = 4
_TOP = 0xFFFF_FFFF


class Counters:
    """All of them, by name, in the register window's ``cells``. 32-bit ones stick at their highest
    value, 64-bit ones wrap."""

    def __init__(self, cells: memoryview) -> None:
        first = STATISTICS_BASE // 4
        self.cells = cells[first : first + len(STATISTICS)]

    def add(self, name: str, amount: int = 1) -> None:
        """Count; ``GORC``, ``GOTC``, ``TOR`` and ``TOT`` are the 64-bit ones."""
        if name in STATISTICS_WIDE:
            low, high = _INDEX[name + "L"], _INDEX[name + "H"]
            value = (self.cells[high] << 32 | self.cells[low]) + amount
            self.cells[low], self.cells[high] = value & _TOP, value >> 32 & _TOP
        else:
            at = _INDEX[name]
            self.cells[at] = min(self.cells[at] + amount, _TOP)

    def received(self, frame: bytes) -> None:
        """A good frame that was stored."""
        self._frame("R", frame)
        self.add("GPRC")
        self.add("GORC", len(frame) + _FCS)
        if frame[0] & 1:
            self.add("BPRC" if frame[:6] == b"\xff" * 6 else "MPRC")

    def seen(self, frame: bytes) -> None:
        """Any frame that came in, stored or not."""
        self.add("TPR")
        self.add("TOR", len(frame) + _FCS)

    def sent(self, frame: bytes) -> None:
        """A frame that went out."""
        self._frame("T", frame)
        self.add("TPT")
        self.add("TOT", len(frame) + _FCS)
        self.add("GPTC")
        self.add("GOTC", len(frame) + _FCS)
        if frame[0] & 1:
            self.add("BPTC" if frame[:6] == b"\xff" * 6 else "MPTC")

    def _frame(self, side: str, frame: bytes) -> None:
        size = len(frame) + _FCS
        for limit, name in _LIMITS:
            if size <= limit:
                self.add(f"P{side}C{name}")
                return
        self.add(f"P{side}C1522")

    def read(self, offset: int) -> int:
        """The register at ``offset`` of the window; reading clears it."""
        at = (offset - STATISTICS_BASE) // 4
        value = self.cells[at]
        name = STATISTICS[at]
        if name[:-1] in STATISTICS_WIDE and name.endswith("L"):
            return value  # the high half clears both
        self.cells[at] = 0
        if name[:-1] in STATISTICS_WIDE:
            self.cells[at - 1] = 0
        return value
