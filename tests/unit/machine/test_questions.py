"""Functions that are called on a vCPU's own thread, without a vCPU."""

import threading

import pytest

from pykvm.errors import MachineError
from pykvm.machine.questions import Questions

PATIENCE = 60


class Vcpu:
    """Counts kicks; its thread answers when it is kicked."""

    number = 3

    def __init__(self):
        self.kicked = threading.Semaphore(0)

    def kick(self):
        self.kicked.release()


class Answerer(threading.Thread):
    """A vCPU's thread: waits to be kicked, answers; ends after ``rounds``."""

    def __init__(self, questions, vcpu, rounds):
        super().__init__(daemon=True)
        self.questions, self.vcpu, self.rounds = questions, vcpu, rounds
        self.ready = threading.Event()
        self.start()
        assert self.ready.wait(PATIENCE)

    def run(self):
        self.questions.begin()
        self.ready.set()
        for _ in range(self.rounds):
            assert self.vcpu.kicked.acquire(timeout=PATIENCE)
            self.questions.answer()
        self.questions.end()


@pytest.fixture
def vcpu():
    return Vcpu()


@pytest.fixture
def questions(vcpu):
    return Questions(vcpu)


def who(vcpu):
    return vcpu, threading.get_ident()


def test_before_it_runs_the_caller_calls_the_function_itself(questions, vcpu):
    assert questions.ask(who, PATIENCE) == (vcpu, threading.get_ident())


def test_the_vcpu_s_own_thread_calls_it(questions, vcpu):
    thread = Answerer(questions, vcpu, 1)
    assert questions.ask(who, PATIENCE) == (vcpu, thread.ident)


def test_the_thread_itself_may_ask(questions, vcpu):
    thread = Answerer(questions, vcpu, 1)
    asked = questions.ask(lambda vcpu: questions.ask(who, PATIENCE), PATIENCE)
    assert asked == (vcpu, thread.ident)


def test_what_the_function_raises_is_the_asker_s(questions, vcpu):
    thread = Answerer(questions, vcpu, 2)

    def fail(vcpu):
        raise KeyError("no such register")

    with pytest.raises(KeyError, match="no such register"):
        questions.ask(fail, PATIENCE)
    assert questions.ask(who, PATIENCE) == (vcpu, thread.ident)
    thread.join(PATIENCE)


def test_a_question_that_found_its_thread_busy_is_not_answered_later(questions):
    starter, called = threading.Thread(target=questions.begin), []
    starter.start()
    starter.join()
    with pytest.raises(MachineError, match=r"vCPU 3 is busy with an exit: no answer within 0.01 s"):
        questions.ask(called.append, 0.01)
    questions.answer()
    assert called == []


def test_a_function_that_takes_long_is_not_waited_for_without_end(questions, vcpu):
    thread, go_on = Answerer(questions, vcpu, 1), threading.Event()
    with pytest.raises(MachineError, match="busy"):
        questions.ask(lambda vcpu: go_on.wait(PATIENCE), 0.01)
    go_on.set()
    thread.join(PATIENCE)


def test_who_waits_at_the_end_is_told_and_so_is_who_comes_later(questions, vcpu):
    Answerer(questions, vcpu, 0).join(PATIENCE)
    with pytest.raises(MachineError, match="vCPU 3 has ended"):
        questions.ask(who, PATIENCE)

    late, told = Questions(vcpu), []
    starter = threading.Thread(target=late.begin)
    starter.start()
    starter.join()

    def ask():
        try:
            late.ask(who, PATIENCE)
        except MachineError as error:
            told.append(str(error))

    asker = threading.Thread(target=ask)
    asker.start()
    assert vcpu.kicked.acquire(timeout=PATIENCE)
    late.end()
    asker.join(PATIENCE)
    assert told == ["vCPU 3 has ended: the machine no longer runs"]
