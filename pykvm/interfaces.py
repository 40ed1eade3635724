"""The seams of the machine, on one page.

Data flows one way::

    guest -> KVM exit -> vcpu loop -> bus -> Device -> backend -> host
    host fd ready -> EventLoop -> backend -> Device -> guest memory -> IrqLine -> guest

A device knows offsets, an ``IrqLine``, ``GuestMemory`` and a backend Protocol; it imports no
machine, no KVM and no concrete backend. A backend knows file descriptors and imports no device.

Threads and the lock: every call into a device (from a vCPU or from the event loop) is made with
the machine's one lock held, so devices need no locks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pykvm.hints import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pykvm.net.vnet import Offload, VnetHeader
    from pykvm.registers import RegisterMap
    from pykvm.trace.events import Event

State = Mapping[str, Any]
"""A device's whole guest-visible state: JSON-like plain data (bytes allowed) with a ``version``."""


class Device(Protocol):
    """One window of registers, as the guest sees it."""

    name: str
    """Short, lower case, unique in a machine: ``uart0``, ``rtc``."""

    registers: RegisterMap
    """The register table: model, tracer, tests and docs all read this one."""

    access_width: int
    """The widest access in bytes that the device takes at once; the bus splits wider ones."""

    @property
    def bank(self) -> int:
        """Which register bank is selected now (0 unless the device has banks, see RegisterMap)."""

    def read(self, offset: int, size: int) -> int:
        """The guest reads ``size`` bytes (1, 2, 4 or 8) at ``offset``; little endian."""

    def write(self, offset: int, size: int, value: int) -> None:
        """The guest writes ``value`` (already masked to ``size`` bytes) at ``offset``."""

    def reset(self) -> None:
        """Back to the state after power-on."""

    def state(self) -> State:
        """Everything that the guest could observe, as plain data."""

    def restore(self, state: State) -> None:
        """The inverse of ``state``; raises ValueError on a version it does not know."""


class IrqLine(Protocol):
    """A wire from a device to the interrupt controller."""

    def set(self, level: bool) -> None:
        """Drive the line; setting the level that it already has costs nothing."""


class Messages(Protocol):
    """Message-signalled interrupts, as a function sends them."""

    def send(self, address: int, data: int) -> None:
        """Deliver one."""

    def connect(self, fd: int, address: int, data: int) -> None:
        """Deliver one whenever eventfd ``fd`` is signalled, also if it is already; takes the place
        of what ``fd`` did before."""

    def disconnect(self, fd: int) -> None:
        """No more; does nothing for one that is not connected."""


class Kicks(Protocol):
    """Writes that KVM turns into the signal of an eventfd, without an exit."""

    def listen(self, fd: int, address: int, *, io: bool, value: int | None = None) -> None:
        """Signal eventfd ``fd`` when the guest writes 16 bits at port (``io``) or guest-physical
        ``address``; only for ``value`` if given."""

    def ignore(self, fd: int) -> None:
        """No more; does nothing for one that does not listen."""

    def native(self, fd: int) -> Any:
        """C's ``struct pk_kicks *`` (``native/kicks.h``), by which the thread behind ``fd`` lets
        kicks exit while it has no processor; None where they cannot."""


class CharReceiver(Protocol):
    """What a character backend hands its input to: the device's receiving side."""

    def room(self) -> int:
        """How many bytes ``receive`` would take now without loss."""

    def receive(self, data: bytes) -> None:
        """Bytes from the host; at most ``room()`` of them."""


class CharBackend(Protocol):
    """Where a serial port's bytes go on the host: stdio, a pty, a file, nowhere."""

    def connect(self, receiver: CharReceiver) -> None:
        """Start to deliver input to ``receiver``."""

    def write(self, data: bytes) -> None:
        """Bytes from the guest. Loses nothing: waits while the host side is full, but never past
        ``close`` (so that a stopping machine is never stuck behind a reader that sleeps)."""

    def resume(self) -> None:
        """The receiver has room again after ``room()`` was 0."""

    def close(self) -> None:
        """Flush what can be flushed, restore the terminal, close what was opened. Idempotent."""


class DiskBackend(Protocol):
    """Where a disk's bytes are on the host: a file, a block device. The machine's lock is not held
    around I/O: it comes from several threads at once, waits for the host, and raises OSError."""

    size: int
    """Bytes, whole sectors of 512."""
    readonly: bool

    def read(self, pieces: Sequence[memoryview], offset: int) -> None:
        """Fill ``pieces``, in order, with the bytes from ``offset`` on."""

    def write(self, pieces: Sequence[memoryview], offset: int, *, stable: bool) -> None:
        """Store ``pieces``, in order, from ``offset`` on; if ``stable``, a crash of the host does
        not lose them once this returns."""

    def flush(self) -> None:
        """Make all writes stable that returned before the call."""

    def discard(self, offset: int, length: int) -> None:
        """What is there is of no use any more."""

    def zero(self, offset: int, length: int, *, unmap: bool, stable: bool) -> None:
        """Make it read as zeroes; ``unmap`` allows to give the space back."""

    def close(self) -> None:
        """Give everything back. Idempotent; no I/O is under way."""


class Timer(Protocol):
    """A pending call of ``EventLoop.call_at``."""

    def cancel(self) -> None:
        """Forget the call; does nothing if it was made or cancelled already."""


class EventLoop(Protocol):
    """Host readiness and time, delivered with the machine's lock held."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Timer:
        """Call once when ``now_ns()`` has reached ``when_ns``; from any thread."""

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call whenever ``fd`` is readable; from any thread."""

    def remove_reader(self, fd: int) -> None:
        """Stop watching ``fd``; unknown fds are ignored."""


class TraceSink(Protocol):
    """Receives events. One that raises is detached and reported once; the guest goes on."""

    wants_code: bool
    """Whether exit events must carry RIP and the bytes around it (costs ioctls per exit)."""

    def event(self, event: Event) -> None:
        """One thing that happened."""

    def close(self) -> None:
        """The run is over: flush."""


Frame = list[memoryview]
"""One frame as pieces of memory in order, without preamble and FCS: scatter-gather, no copy."""


class NetReceiver(Protocol):
    """What a network backend hands frames to: the device's receiving side."""

    def can_receive(self) -> bool:
        """Whether a frame that comes now has a place to go; if not, the backend holds back what it
        can hold back, until ``NetBackend.resume``."""

    def receive(self, frame: bytes) -> None:
        """A frame from the host. The device drops and counts what it has no place for."""


class NetBackend(Protocol):
    """Where a network card's frames go on the host: a TAP, a socket, the card itself, nowhere."""

    offloads: Offload
    """What the host side finishes by itself when ``send`` is given a header that asks for it."""

    @property
    def native_fd(self) -> int | None:
        """For C: a descriptor that takes a frame behind its virtio-net header in one ``writev``;
        -1 where frames may just be forgotten; None where only ``send`` will do."""

    @property
    def native_fds(self) -> Sequence[int]:
        """The same, one for each queue pair; empty where only ``send`` will do."""

    def tune(self, header: int, receive: Offload, pairs: int) -> None:
        """For C: frames have virtio-net headers of ``header`` bytes from now on, those that come in
        may be left as ``receive`` says, and the first ``pairs`` of ``native_fds`` are used."""

    def connect(self, receiver: NetReceiver) -> None:
        """Start to deliver frames to ``receiver``."""

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        """A frame from the guest; ``header`` asks only for what ``offloads`` has. A network may
        drop frames: this never waits for the host."""

    def resume(self) -> None:
        """The receiver can receive again after ``can_receive()`` was False."""

    def close(self) -> None:
        """Give everything back. Idempotent."""
