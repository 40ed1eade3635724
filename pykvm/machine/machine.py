"""The machine: builds everything from a Config, runs it, says how it ended, gives everything back.

Threads: one per vCPU (``vcpu_thread.py``), one for host events (``pykvm/eventloop.py``), and the
caller's, which only waits. One lock, ``Machine.lock``, is held around every call into a device; the
thread that waits never takes it, so it can always stop the machine.
"""

from __future__ import annotations

import threading
import time
from _queue import Empty, SimpleQueue
from collections.abc import Callable
from contextlib import ExitStack

from pykvm.backends.char import open_char_backend
from pykvm.boot.plan import Handover, Mode
from pykvm.devices.fwcfg import SIZE as FW_CFG_SIZE
from pykvm.errors import DeviceError, HostError, MachineError
from pykvm.eventloop import EpollLoop
from pykvm.hints import TYPE_CHECKING, Any, Protocol
from pykvm.interfaces import CharBackend, IrqLine
from pykvm.kvm.abi import ffi, lib
from pykvm.kvm.system import Kvm, install_kick
from pykvm.kvm.vm import GSI_COUNT, Vm
from pykvm.machine import board, cpu, cpuid, fwcfg, placing, probe_syscall
from pykvm.machine.cards import plug_cards
from pykvm.machine.complaints import Complaints
from pykvm.machine.config import Config
from pykvm.machine.cpumodel import HOST, CpuModel
from pykvm.machine.halt import HaltWatch
from pykvm.machine.irq import Gsi, GsiLine
from pykvm.machine.kicks import IoeventfdKicks
from pykvm.machine.life import Life, Use
from pykvm.machine.messages import IrqfdMessages
from pykvm.machine.outcome import CRASH_STATUS, TIMEOUT_STATUS, Outcome
from pykvm.machine.pci import PciBus
from pykvm.machine.plugging import check_line
from pykvm.machine.vcpu_thread import VcpuThread
from pykvm.memory import GuestMemory

if TYPE_CHECKING:
    from pykvm.trace.recorder import Tracer

Say = Callable[[str], None]


class Terminal(Protocol):
    """What may wait for somebody who reads."""

    def close(self) -> None:
        """The run is over: wait no more. From any thread, idempotent."""


class NetworkCard(Protocol):
    """What the machine itself asks of a network card."""

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it."""

    def counts(self) -> list[dict[str, int]]:
        """What C has done for it, by the names of ``native/netcounts.h``: one for each pair of
        queues, none where C does not move its frames."""


class Machine:
    """A PC described by ``config``, ready to ``run`` once. A context manager.

    ``say`` receives pykvm's own lines for the user, ``tracer`` the events; one without sinks (they
    may be added as late as in ``add``) costs nothing.
    ``serial`` takes the place of the backend that ``config.serial`` names. ``add`` is called with
    the finished board, to plug in devices of one's own.
    Raises UsageError, ImageError or HostError; nothing stays open then.
    """

    def __init__(
        self,
        config: Config,
        *,
        say: Say = lambda line: None,
        tracer: Tracer | None = None,
        serial: CharBackend | None = None,
        add: Callable[[Machine], None] | None = None,
    ) -> None:
        self.config = config
        self.say = say
        self.tracer = tracer
        self.lock = threading.Lock()
        self.threads: list[VcpuThread] = []
        self.cards: dict[str, NetworkCard] = {}
        self.terminals: list[Terminal] = []
        self.resized: Callable[[], None] = lambda: None
        """The user's terminal has another size; also from a signal handler."""
        self._plugged = True
        self.complaints = Complaints(say)
        self._open = True
        self._gsis: dict[int, Gsi] = {}
        self.started_ns = time.monotonic_ns()
        self._life = Life()
        # Both are changed by signal handlers, which may interrupt any line of ours: in one step,
        # without a lock that the interrupted line may hold.
        self._outcomes: list[Outcome] = []
        self._stopped: SimpleQueue[None] = SimpleQueue()
        self._stack = ExitStack()
        try:
            with ExitStack() as stack:
                stack.callback(self.complaints.close)
                self._build(stack, serial, add)
                self._stack = stack.pop_all()
        finally:
            self._life.user = None
            self._life.tell()

    def _build(
        self, stack: ExitStack, serial: CharBackend | None, add: Callable[[Machine], None] | None
    ) -> None:
        config = self.config
        # The plan stays in here: it has the image mapped.
        plan, rom = placing.read(config)
        self.mode = plan.mode
        kvm = stack.enter_context(Kvm())
        _check_cpus(kvm, config.cpus)
        self.memory = stack.enter_context(GuestMemory(config.memory, rom=rom))
        handover = placing.place(plan, config, self.memory)
        watched = cpu.LSTAR if probe_syscall.may_stay(kvm) else None
        self.vm = stack.enter_context(Vm(kvm, self.memory, watched=watched))
        if kvm.capability("EXIT_ON_EMULATION_FAILURE"):
            self.vm.enable("EXIT_ON_EMULATION_FAILURE", 1)  # in ring 3 too, instead of a #UD
        self.messages = IrqfdMessages(self.vm)
        self.kicks = IoeventfdKicks(self.vm)
        self.loop = EpollLoop(self.lock, on_error=self._bug)
        stack.callback(self.loop.stop)
        self.serial = (
            serial if serial is not None else self.open_terminal("--serial", config.serial)
        )
        self.terminals.append(self.serial)
        stack.callback(self.serial.close)
        self.board = board.pc(
            self,
            serial=self.serial,
            debug=self._open_debugcon(stack),
            # pc-testdev has the other port.
            debug_ports=board.DEBUG_CONSOLES[1:] if config.testdev else board.DEBUG_CONSOLES,
            memory_low=self.memory.low_size,
            memory_high=self.memory.high_size,
        )
        self.vm.set_level_triggered([board.SCI])
        self.board.plug(self.board.pio, board.FW_CFG, FW_CFG_SIZE, fwcfg.device(self))
        self.pci = PciBus(self.board, self.board.bridge, self.publish_map)
        plug_cards(self, stack)
        if add is not None:
            add(self)
        self.pci.assign()
        self.publish_map()
        self._start_cpus(kvm, plan.entry, handover)

    def _open_debugcon(self, stack: ExitStack) -> CharBackend:
        backend = self.open_terminal("--debugcon", self.config.debugcon)
        self.terminals.append(backend)
        stack.callback(backend.close)
        return backend

    def publish_map(self) -> None:
        """Give the C side its copy of the map."""
        for space, bus in ((lib.PK_PIO, self.board.pio), (lib.PK_MMIO, self.board.mmio)):
            ranges = []
            for r in bus:
                answer, opaque = r.native or (ffi.NULL, ffi.NULL)
                row = (r.base, r.last, r.number, r.device.access_width, answer, opaque)
                ranges.append(row)
            self.vm.set_native_ranges(space, ranges)

    def _start_cpus(self, kvm: Kvm, entry: int, handover: Handover) -> None:
        install_kick()
        supported = kvm.supported_cpuid()
        model = self._model(kvm)
        observer = None
        if self.tracer is not None and self.tracer.enabled:
            from pykvm.machine.observe import Observer

            observer = Observer(self, self.tracer)
        for number in range(self.config.cpus):
            vcpu = self.vm.create_vcpu()
            vcpu.native.doorbells = self.vm.doorbells
            vcpu.set_cpuid(cpuid.shown(supported, model, number, self.config.cpus))
            if number == 0 and self.config.firmware:
                pass  # KVM makes a vCPU as a reset does
            elif number == 0:
                cpu.start(vcpu, self.mode, entry, handover)
            else:
                cpu.wait_for_sipi(vcpu)
            self.threads.append(VcpuThread(self, vcpu, observer))

    def _model(self, kvm: Kvm) -> CpuModel:
        """What CPUID shall show, as far as this KVM goes along."""
        model, cpus = self.config.cpu, self.config.cpus
        if model == HOST and cpus == 1:
            return model
        from pykvm.machine import probe

        if model != HOST and not probe.shows_features(kvm):
            self.say(
                "--cpu: this host's KVM shows guests its own features, whatever is asked of it"
            )
        if cpus > 1 and not probe.takes_hypercalls(kvm):
            return model.without_hypercalls()  # an IPI by hypercall would never end
        return model

    # -- life ---------------------------------------------------------------------------------

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self) -> Outcome:
        """Run until the guest ends, ``stop`` or ``close`` is called or ``config.timeout`` is over.

        Raises MachineError for a machine that has run, or is closed; and the exception of a bug of
        ours. A crash of the guest is an Outcome.
        """
        use = Use()
        try:
            self._life.begin(use)
            return self._run()
        finally:
            if self._life.user is use:
                self._life.user = None
                self._life.tell()

    def _run(self) -> Outcome:
        deadline = None
        if self.config.timeout is not None:
            deadline = time.monotonic() + self.config.timeout
        watch = HaltWatch(self.threads)
        try:
            for thread in self.threads:
                thread.start()
            self._wait(watch, deadline)
        finally:
            self._come_to_rest(Outcome("interrupted", status=130))
        assert self.outcome is not None
        if self.outcome.error is not None:
            raise self.outcome.error
        return self.outcome

    def _wait(self, watch: HaltWatch, deadline: float | None) -> None:
        while not self._stopped_within(watch.pause(deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                self.stop(Outcome("timeout", status=TIMEOUT_STATUS))
            elif watch.all_halted():
                self.stop(Outcome("the guest halted for good"))

    def _stopped_within(self, seconds: float) -> bool:
        try:
            self._stopped.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _come_to_rest(self, outcome: Outcome) -> None:
        """Stop, and wait for every thread that runs the guest or calls a device. May be repeated,
        should a KeyboardInterrupt have cut it short."""
        self.stop(outcome)
        for terminal in self.terminals:
            terminal.close()
        for thread in self.threads:
            thread.join()
        self.loop.stop()
        self.complaints.close()

    def stop(self, outcome: Outcome) -> None:
        """End the run; from any thread, also from a signal handler, with or without the lock. The
        first outcome wins."""
        if not self._outcomes:
            self._outcomes.append(outcome)
        for thread in self.threads:
            thread.vcpu.kick()
        self.loop.rest()
        self._stopped.put(None)

    @property
    def outcome(self) -> Outcome | None:
        """How the run ended; None while it has not."""
        return self._outcomes[0] if self._outcomes else None

    @property
    def stopping(self) -> bool:
        return bool(self._outcomes)

    def vcpu(self, number: int) -> VcpuThread:
        """vCPU ``number``, to ask for its registers or for more while it runs."""
        return self.threads[number]

    def close(self) -> None:
        """Stop the guest, wait for ``run`` to return, give everything back.

        At any time, as often as one likes, from any thread without the lock: returns when it is
        done. One of the machine's own threads, which calls a device with the lock, cannot wait
        for that: another thread does it, and this returns at once.
        """
        self.stop(Outcome("the machine was closed", status=130))
        me = threading.current_thread()
        is_part = self.loop.runs_in(me) or any(thread.runs_in(me) for thread in self.threads)
        self._life.close(is_part, self._give_back)

    def _give_back(self) -> None:
        self._come_to_rest(Outcome("the machine was closed", status=130))
        with self.lock:  # whoever checks that it is open, and goes on, holds it
            self._open = False
        self._stack.close()

    def _check_open(self) -> None:
        """Raises MachineError for a machine that is given back: its descriptors are others' now.
        Called with the lock held."""
        if not self._open:
            raise MachineError("this machine is closed")

    # -- what devices ask for (board.Wiring) ---------------------------------------------------

    @property
    def traced(self) -> bool:
        """Whether somebody may want to see what happens inside devices."""
        return self.tracer is not None and self.tracer.inside

    def irq(self, device: str, gsi: int) -> IrqLine:
        """A line to ``gsi``, traced if anybody listens. Raises PlugError when there is none."""
        check_line(device, gsi, GSI_COUNT)
        line = GsiLine(self._gsis.setdefault(gsi, Gsi(self.vm, gsi)))
        if self.tracer is not None and self.tracer.inside:
            from pykvm.machine.observe import traced_line

            traced_line(self, self.tracer, device, line)
        return line

    def teller(self, device: str) -> Callable[[str, dict[str, Any]], None] | None:
        """Where ``device`` tells what happens inside it; None when nobody listens."""
        if self.tracer is None or not self.tracer.inside:
            return None
        from pykvm.machine.observe import teller

        return teller(self, self.tracer, device)

    def open_terminal(self, option: str, where: str) -> CharBackend:
        """What ``option`` names as the place of a terminal. Raises UsageError, HostError."""
        keys = {"x": self._quit, "n": self._toggle_cables, "p": self._press_power_button}
        return open_char_backend(where, self.loop, keys, self.complaints.tell, option=option)

    def guest_exit(self, status: int) -> None:
        self.stop(Outcome("the guest exited", status=status))

    def power_off(self) -> None:
        self.stop(Outcome("the guest powered off"))

    def reset(self) -> None:
        self.stop(Outcome("the guest asked for a reset"))

    def panic(self) -> None:
        self.stop(Outcome("the guest panicked, and said so by pvpanic", status=CRASH_STATUS))

    def device_error(self, device: str, error: DeviceError) -> None:
        """The guest asked ``device`` for the impossible: the user is told, the guest goes on.
        Called with the lock held. ``device`` is one of the machine's, or a bus: nothing that the
        guest has a say in."""
        self.complaints.add(device, error)
        tell = self.teller(device)
        if tell is not None:
            tell("error", {"message": str(error)})

    def add_card(self, name: str, card: NetworkCard) -> None:
        """Its cable is as the others' are: somebody may have pulled them already."""
        with self.lock:
            self.cards[name] = card
            if not self._plugged:
                card.set_link(False)

    def set_cables(self, plugged: bool) -> None:
        """Plug the network cards' cables in, or pull them; from any thread without the lock.
        Raises MachineError for a closed machine."""
        with self.lock:
            self._check_open()
            self._set_cables(plugged)

    def _set_cables(self, plugged: bool) -> None:
        self._plugged = plugged
        for card in self.cards.values():
            card.set_link(plugged)

    def _toggle_cables(self) -> None:
        self._set_cables(not self._plugged)
        self.complaints.tell("network cables are " + ("plugged in" if self._plugged else "pulled"))

    def press_power_button(self) -> None:
        """As a person would; from any thread without the lock. What follows is up to the guest.
        Raises MachineError for a closed machine."""
        with self.lock:
            self._check_open()
            self._press_power_button()

    def _press_power_button(self) -> None:
        if not self.board.acpi.press_button():
            self.complaints.tell("the guest does not listen to its power button; Ctrl-A x quits")

    def _quit(self) -> None:
        self.stop(Outcome("the user quit", status=130))

    def _bug(self, error: BaseException) -> None:
        self.stop(Outcome("a bug in pykvm", status=1, error=error))


def _check_cpus(kvm: Kvm, cpus: int) -> None:
    most = kvm.capability("MAX_VCPUS") or 1
    if cpus > most:
        raise HostError(f"--cpus {cpus}: this host's KVM takes at most {most}")


__all__ = ["Machine", "Mode", "Say"]
