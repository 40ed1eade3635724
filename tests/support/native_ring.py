"""The ring in C behind the interface of the references."""

from pykvm._native import ffi, lib
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.devices.virtio.ring import MAX_PIECES, RingError

BITS = (
    (Feature.RING_PACKED, lib.PK_VQ_PACKED),
    (Feature.EVENT_IDX, lib.PK_VQ_EVENT_IDX),
    (Feature.INDIRECT_DESC, lib.PK_VQ_INDIRECT),
)


class NativeChain:
    def __init__(self, native, pieces):
        self.native = native
        self.id, self.slots = native.id, native.slots
        views = [
            memoryview(ffi.buffer(pieces[n].data, pieces[n].length))
            for n in range(native.out_count + native.in_count)
        ]
        self.readable = views[: native.out_count]
        self.writable = views[native.out_count :]
        assert sum(map(len, self.readable)) == native.out_bytes
        assert sum(map(len, self.writable)) == native.in_bytes


class NativeRing:
    def __init__(self, dma, layout, features):
        self.vq = ffi.new("struct pk_vq *")
        self.pieces = ffi.new("struct pk_piece[]", MAX_PIECES)
        mode = sum(bit for feature, bit in BITS if features & feature)
        error = lib.pk_vq_init(self.vq, dma.native(), mode, *layout)
        if error:
            raise RingError(f"error {error}")

    def pop(self):
        chain = ffi.new("struct pk_chain *")
        got = lib.pk_vq_pop(self.vq, chain, self.pieces)
        if got < 0:
            raise RingError(f"error {self.vq.error}")
        return NativeChain(chain, self.pieces) if got else None

    def unpop(self, chain):
        lib.pk_vq_unpop(self.vq, chain.native)

    def push(self, chain, written):
        lib.pk_vq_push(self.vq, chain.native, written)

    def flush(self):
        return lib.pk_vq_flush(self.vq)

    def disable_kicks(self):
        lib.pk_vq_disable_kicks(self.vq)

    def enable_kicks(self):
        return lib.pk_vq_enable_kicks(self.vq)
