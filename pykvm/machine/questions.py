"""Functions that other threads want run on a vCPU's own thread.

A vCPU's ioctls belong to the thread that runs it: from any other they wait until KVM_RUN returns,
which may be never. So the vCPU is kicked out of the guest, its thread calls the function between
two runs, and the guest notices nothing but the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pykvm.errors import MachineError
from pykvm.hints import Any
from pykvm.kvm.vcpu import Vcpu

Function = Callable[[Vcpu], Any]


class _Question:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.value: Any = None
        self.error: BaseException | None = None
        self.over = threading.Event()

    def answer(self, vcpu: Vcpu) -> None:
        try:
            self.value = self.function(vcpu)
        except Exception as error:  # the asker's, not the guest's
            self.error = error
        self.over.set()


class Questions:
    """Those of one vCPU. ``ask`` is for any thread, the others for the vCPU's own."""

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self._guard = threading.Lock()  # of what follows
        self._answerer: threading.Thread | None = None
        self._waiting: list[_Question] = []
        self._ended = False

    def begin(self) -> None:
        """The calling thread answers from now on."""
        with self._guard:
            self._answerer = threading.current_thread()

    def ask(self, function: Function, seconds: float) -> Any:
        """What ``function`` returns, or raises, when the vCPU's thread calls it. While no thread
        runs the vCPU yet the caller itself does.

        Raises MachineError when the vCPU has ended, and when ``seconds`` are over (twice them, if
        the function itself takes long): its thread is busy with an exit.
        """
        question = _Question(function)
        with self._guard:
            if self._ended:
                raise self._gone()
            answerer = self._answerer
            asked = answerer is not None and answerer is not threading.current_thread()
            if asked:
                self._waiting.append(question)
        if not asked:
            return function(self._vcpu)
        self._vcpu.kick()
        if not question.over.wait(seconds) and (
            self._withdraw(question) or not question.over.wait(seconds)
        ):
            raise MachineError(
                f"vCPU {self._vcpu.number} is busy with an exit: no answer within {seconds:g} s"
            )
        if question.error is not None:
            raise question.error
        return question.value

    def answer(self) -> None:
        """Call all that was asked."""
        while True:
            with self._guard:
                if not self._waiting:
                    return
                question = self._waiting.pop(0)
            question.answer(self._vcpu)

    def end(self) -> None:
        """The vCPU has ended: whoever still waits, or asks later, is told so."""
        with self._guard:
            self._ended = True
            left, self._waiting = self._waiting, []
        for question in left:
            question.error = self._gone()
            question.over.set()

    def _withdraw(self, question: _Question) -> bool:
        """Whether it was still waiting."""
        with self._guard:
            waited = question in self._waiting
            if waited:
                self._waiting.remove(question)
            return waited

    def _gone(self) -> MachineError:
        return MachineError(f"vCPU {self._vcpu.number} has ended: the machine no longer runs")
