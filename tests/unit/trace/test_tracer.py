"""Who gets the events, and that no sink can hurt the guest."""

import pytest

from pykvm.trace.events import DeviceEvent
from pykvm.trace.recorder import Tracer

EVENT = DeviceEvent(0, "nic", "frame")


class Sink:
    def __init__(self, *, wants_code=False, fails=None, fails_to_close=None):
        self.wants_code = wants_code
        self.events, self.closed = [], 0
        self.fails, self.fails_to_close = fails, fails_to_close

    def event(self, event):
        if self.fails:
            raise self.fails
        self.events.append(event)

    def close(self):
        self.closed += 1
        if self.fails_to_close:
            raise self.fails_to_close


@pytest.fixture
def said():
    return []


@pytest.fixture
def tracer(said):
    return Tracer(warn=said.append)


def test_without_sinks_it_is_off(tracer):
    assert not tracer.enabled
    assert not tracer.wants_code
    tracer.event(EVENT)


def test_every_sink_gets_every_event(tracer):
    sinks = [Sink(), Sink()]
    for sink in sinks:
        tracer.add(sink)
    tracer.event(EVENT)
    assert tracer.enabled
    assert [sink.events for sink in sinks] == [[EVENT], [EVENT]]


def test_code_is_wanted_when_one_sink_wants_it(tracer):
    tracer.add(Sink())
    assert not tracer.wants_code
    tracer.add(Sink(wants_code=True))
    assert tracer.wants_code


def test_a_sink_that_raises_is_detached_closed_and_reported_once(tracer, said):
    bad, good = Sink(wants_code=True, fails=OSError("disk full")), Sink()
    tracer.add(bad)
    tracer.add(good)
    for _ in range(3):
        tracer.event(EVENT)
    assert len(good.events) == 3
    assert (len(said), bad.closed) == (1, 1)
    assert "Sink" in said[0]
    assert "disk full" in said[0]
    assert not tracer.wants_code


def test_when_the_last_sink_fails_tracing_is_off(tracer):
    tracer.add(Sink(fails=ValueError("x")))
    tracer.event(EVENT)
    assert not tracer.enabled


def test_a_sink_that_cannot_be_closed_either_is_reported_once(tracer, said):
    tracer.add(Sink(fails=OSError("gone"), fails_to_close=OSError("gone")))
    tracer.event(EVENT)
    tracer.close()
    assert len(said) == 1


def test_closing_twice_closes_each_sink_once_whatever_the_others_do(tracer, said):
    bad, good = Sink(fails_to_close=OSError("no space")), Sink()
    tracer.add(bad)
    tracer.add(good)
    tracer.close()
    tracer.close()
    assert (bad.closed, good.closed) == (1, 1)
    assert len(said) == 1
    assert "no space" in said[0]


def test_a_warning_that_cannot_be_written_does_not_hurt_the_guest():
    def broken(line):
        raise BrokenPipeError

    tracer = Tracer(warn=broken)
    tracer.add(Sink(fails=OSError("x")))
    tracer.event(EVENT)
    assert not tracer.enabled


def test_ctrl_c_is_no_failure_of_a_sink(tracer):
    sink = Sink(fails=KeyboardInterrupt())
    tracer.add(sink)
    with pytest.raises(KeyboardInterrupt):
        tracer.event(EVENT)
    assert tracer.enabled


# -- order ---------------------------------------------------------------------------------------


def times(sink):
    return [event.time_ns for event in sink.events]


def at(time_ns, device="nic"):
    return DeviceEvent(time_ns, device, "something")


def test_what_answering_an_exit_makes_happen_comes_after_the_exit(tracer):
    sink = Sink()
    tracer.add(sink)
    tracer.begin(0, 10)
    tracer.event(at(11))
    tracer.event(at(12))
    assert times(sink) == []
    tracer.end(0, at(10, "exit"))
    assert times(sink) == [10, 11, 12]


def test_what_happened_before_an_exit_does_not_wait_for_it(tracer):
    sink = Sink()
    tracer.add(sink)
    tracer.begin(0, 10)
    tracer.event(at(9))
    assert times(sink) == [9]


def test_an_exit_waits_for_an_older_one_of_another_vcpu(tracer):
    sink = Sink()
    tracer.add(sink)
    tracer.begin(0, 10)
    tracer.begin(1, 12)
    tracer.event(at(13))
    tracer.end(1, at(12))
    assert times(sink) == []
    tracer.begin(1, 15)
    tracer.end(0, at(10))
    assert times(sink) == [10, 12, 13]
    tracer.end(1, at(15))
    assert times(sink) == [10, 12, 13, 15]


def test_at_the_same_time_the_exit_comes_first_then_the_order_of_telling(tracer):
    sink = Sink()
    tracer.add(sink)
    tracer.begin(0, 10)
    for name in "abc":
        tracer.event(at(10, name))
    tracer.end(0, at(10, "exit"))
    assert [event.device for event in sink.events] == ["exit", "a", "b", "c"]


def test_an_exit_that_is_never_told_of_holds_nothing_back(tracer):
    sink = Sink()
    tracer.add(sink)
    tracer.begin(0, 10)
    tracer.event(at(11))
    tracer.end(0)
    assert times(sink) == [11]
    tracer.begin(0, 20)
    tracer.event(at(21))
    tracer.close()
    assert times(sink) == [11, 21]
