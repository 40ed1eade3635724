"""x87, XMM and MXCSR in the form in which XSAVE stores them (SDM volume 1, 10.5.1 and 13.4)."""

from __future__ import annotations

import struct
from typing import Any

from pykvm.kvm.abi import ffi
from pykvm.kvm.vcpu import Vcpu

XMM, STACK = 16, 8
_HEAD = struct.Struct("<HHBx")  # control word, status word, tags: one bit for each that is in use
_MXCSR, _STACK, _XMM, _XSTATE_BV = 24, 32, 160, 512
_YMM = 576  # CPUID leaf 0xD, 2: the same on every CPU in the form that is not compacted
_X87_AND_SSE, _AVX = 0x3, 0x4
_TOP = 11


class Fpu:
    """A vCPU's state; ``keep`` gives it back. ``stack`` and ``xmm`` are by number, as integers;
    the stack from its top on. ``high`` are the upper halves of YMM."""

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self._area: Any = vcpu.get_xsave()
        self._bytes = memoryview(ffi.buffer(self._area)).cast("B")
        data = self._bytes
        self.control, self.status, self.tags = _HEAD.unpack_from(data)
        (self.mxcsr,) = struct.unpack_from("<I", data, _MXCSR)
        self.stack = [_number(data, _STACK + n * 16, 10) for n in range(STACK)]
        self.xmm = [_number(data, _XMM + n * 16, 16) for n in range(XMM)]
        used = data[_XSTATE_BV] & _AVX
        self.high = [_number(data, _YMM + n * 16, 16) if used else 0 for n in range(XMM)]

    @property
    def top(self) -> int:
        """The number of the register that is the stack's top."""
        return int(self.status) >> _TOP & 7

    def keep(self, *, high: bool = False) -> None:
        """Make it the vCPU's; ``high`` includes the upper halves."""
        data = self._bytes
        _HEAD.pack_into(data, 0, self.control, self.status, self.tags)
        struct.pack_into("<I", data, _MXCSR, self.mxcsr)
        for n, value in enumerate(self.stack):
            data[_STACK + n * 16 : _STACK + n * 16 + 16] = value.to_bytes(16, "little")
        _keep_vectors(data, _XMM, self.xmm)
        data[_XSTATE_BV] |= _X87_AND_SSE
        if high:
            _keep_vectors(data, _YMM, self.high)
            data[_XSTATE_BV] |= _AVX
        self._vcpu.set_xsave(self._area)


def _keep_vectors(data: memoryview, at: int, values: list[int]) -> None:
    for n, value in enumerate(values):
        data[at + n * 16 : at + n * 16 + 16] = value.to_bytes(16, "little")


def _number(data: memoryview, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
