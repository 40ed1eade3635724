"""Moving frames in Python: on the thread that kicks for a turn, and on the event loop's after that
and for what comes in."""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.devices.netcounts import NetCounts
from pykvm.devices.turns import Turn
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.net.engine import LARGEST, MOST_CHAINS, Session
from pykvm.devices.virtio.queue import Queue
from pykvm.devices.virtio.ring import MAX_PIECES, Chain, Ring
from pykvm.errors import DeviceError
from pykvm.interfaces import NetBackend
from pykvm.net.finish import finish
from pykvm.net.vnet import SIZE, VnetHeader

_SHORTEST = 14
_PLAIN = VnetHeader().pack()


class ReferenceEngine:
    """See ``engine.Engine``. Everything that comes in goes to the first pair."""

    def __init__(self, device: VirtioDevice, backend: NetBackend) -> None:
        self._device = device
        self._backend = backend
        self._session: Session | None = None
        self._leaving: Iterator[bytes] | None = None  # what is left of a request, cut into frames
        self._starved = False
        self._held: bytes | None = None  # waits for more buffers than are offered
        self._header = SIZE  # of the driver that it is for
        backend.connect(self)

    def start(self, session: Session) -> None:
        self._session = session
        if session.header != self._header:
            self._header, self._held = session.header, None
        self._resume()

    def stop(self) -> None:
        if self._device.live:  # its chain is used: it is no part of a state
            self._leave(None)
        self._leaving = None
        self._session = None

    def close(self) -> None:
        """Nothing is held."""

    def counts(self) -> list[NetCounts]:
        return []

    def kicked(self, queue: Queue) -> None:
        if queue.index % 2:
            self._device.serve(queue, self._send, self._leave)
        else:
            self._resume()

    # -- transmitting -------------------------------------------------------------------------

    def _send(self, chain: Chain, turn: Turn) -> int:
        session = self._session
        if session is None or not session.link:
            return 0
        if not _SHORTEST <= chain.readable_size - session.header <= LARGEST:
            return 0
        turn.spend(chain.readable_size)
        data = chain.read()
        frame = data[session.header :]
        header = VnetHeader.unpack(data[:SIZE]).admitted(len(frame), session.requests)
        if header is None:
            self._device.tell("refused", {"frame": frame})
            return 0
        self._device.tell("sent", {"frame": frame})
        if header.needs in self._backend.offloads:
            self._backend.send([memoryview(frame)], header)
            return 0
        self._leaving = finish(header, frame)
        return 0

    def _leave(self, turn: Turn | None) -> bool:
        """Send what a request was cut into; all of it without a turn that ends. Whether it is."""
        while self._leaving is not None and not (turn is not None and turn.over):
            frame = next(self._leaving, None)
            if frame is None:
                self._leaving = None
            else:
                self._backend.send([memoryview(frame)])
                if turn is not None:
                    turn.spend(len(frame))
        return self._leaving is None

    # -- receiving ----------------------------------------------------------------------------

    def _ring(self) -> tuple[Queue, Ring] | None:
        if self._session is None:
            return None
        queue = self._session.pairs[0][0]
        return (queue, queue.ring) if queue.ring is not None else None

    def _resume(self) -> None:
        """There may be room again."""
        starved = self._starved
        if (starved or self._held is not None) and self.can_receive() and starved:
            self._backend.resume()

    def can_receive(self) -> bool:
        """Without a driver frames are taken, and lost: a cable does not wait. With one, they are
        held back for as long as there is no buffer."""
        found = self._ring()
        if found is None:
            return True
        try:
            self._starved = not self._has_room(*found)
        except DeviceError as error:
            self._device.broke(error)
        return not self._starved

    def _has_room(self, queue: Queue, ring: Ring) -> bool:
        return self._place(queue, ring) and ring.enable_kicks()

    def receive(self, frame: bytes) -> None:
        """A frame from the backend."""
        found, session = self._ring(), self._session
        if found is None or session is None or not session.link:
            return
        if not _SHORTEST <= len(frame) <= session.longest:
            return
        if not session.filters.accepts(frame):
            self._device.tell("filtered", {"frame": frame})
            return
        try:
            if self._place(*found):
                self._held = frame
                self._place(*found)
            else:  # from a backend that cannot hold it back
                self._device.tell("no room", {"frame": frame})
        except DeviceError as error:
            self._device.broke(error)

    def _place(self, queue: Queue, ring: Ring) -> bool:
        """Try to get rid of the frame that waits; whether there is none any more."""
        session, frame = self._session, self._held
        if session is None or frame is None:
            return True
        stored = self._store(ring, frame, session)
        if stored is None:
            return False
        self._held = None
        self._device.tell("received" if stored else "no room", {"frame": frame})
        self._device.flush(queue)
        return True

    def _store(self, ring: Ring, frame: bytes, session: Session) -> bool | None:
        """Put the frame into as many chains as it takes. False when it fits into no number of them
        that a frame may have, None when there are not enough yet; all are given back then."""
        needed = session.header + len(frame)
        chains: list[Chain] = []
        room = pieces = 0
        most = MOST_CHAINS if session.mergeable else 1
        while room < needed:
            full = len(chains) >= most or pieces > MAX_PIECES
            chain = None if full else ring.pop()
            if chain is not None:
                chains.append(chain)
                room += chain.writable_size
                pieces += len(chain.writable)
            elif full or not ring.enable_kicks():  # while all are popped: for the next one
                for popped in reversed(chains):
                    ring.unpop(popped)
                return False if full else None
        data = _PLAIN
        if session.header > SIZE:
            data += len(chains).to_bytes(2, "little")
        data += frame
        for chain in chains:
            written = chain.write(data)
            ring.push(chain, written)
            data = data[written:]
        return True
