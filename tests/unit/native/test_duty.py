"""Who works now, by a clock and processors that the test plays (``native/duty.h``)."""

import pytest

from pykvm._native import ffi, lib

US, MS = 1_000, 1_000_000
UNKNOWN = (1 << 64) - 1


class Duty:
    """A card's duty. The host has ``allowed`` processors, and the threads wait ``waiting`` of each
    ns for one."""

    def __init__(self, *, allowed=2, waiting=0.0, look=True, may_nap=False):
        self.native = ffi.new("struct pk_duty *", {"look": look, "may_nap": may_nap})
        self.now, self.waited, self.requests = 1000 * MS, 0.0, 0
        self.allowed, self.waiting = allowed, waiting
        self.left = 0
        self.measure()

    @property
    def processors(self):
        return ffi.addressof(self.native, "processors")

    def pass_ns(self, ns):
        self.now += ns
        self.waited += ns * self.waiting

    def measure(self):
        lib.pk_processors_judge(self.processors, self.now, self.allowed, int(self.waited))

    def look_for(self, ns, step=1 * MS):
        """The thread looks for so long, and finds work each time."""
        for _ in range(0, ns, step):
            self.pass_ns(step)
            lib.pk_duty_looks(self.native, self.now)
            lib.pk_duty_busy(self.native)
            if lib.pk_processors_due(self.processors, self.now):
                self.measure()

    def idle_until_sleep(self, step=5 * US, most=10 * MS):
        """ns that the thread looks for nothing before it sleeps; it is asleep then."""
        began = self.now
        while not lib.pk_duty_over(self.native, self.now):
            assert self.now - began < most, "it never sleeps"
            self.pass_ns(step)
        self.native.asleep = 1
        return self.now - began

    def sleep(self, ns):
        self.pass_ns(ns)
        self.native.asleep = 0
        lib.pk_duty_slept(self.native, ns, self.now)

    def ring(self):
        return lib.pk_duty_ring(self.native, self.now)

    def serve(self, requests=1):
        """A vCPU rings, and does the work if it is to; whether it did."""
        duty = self.ring()
        if duty in (lib.PK_DUTY_LEAVE, lib.PK_DUTY_WAKE):
            self.left += 1
            return False
        if duty == lib.PK_DUTY_CALL:  # the thread is awake for a moment
            self.measure()
        self.requests += requests
        lib.pk_duty_served(self.native, self.now, self.requests)
        return True

    @property
    def naps(self):
        return lib.pk_duty_naps(self.native)

    def nap(self, requests):
        """A nap, after which so much was there; whether another follows."""
        self.pass_ns(lib.PK_DUTY_NAP)
        self.requests += requests
        first, self.left = self.left == 1, 2
        judge = lib.pk_duty_tried if first else lib.pk_duty_napped
        return judge(self.native, self.now, self.requests)


# -- whether a processor is free -------------------------------------------------------------------


def test_with_one_processor_none_is_free():
    duty = Duty(allowed=1)
    assert not lib.pk_processors_free(duty.processors, duty.now)
    assert duty.idle_until_sleep() == 0


def test_with_two_processors_and_nobody_waiting_one_is_free():
    duty = Duty()
    assert not lib.pk_processors_proven(duty.processors, duty.now)
    duty.look_for(30 * MS)
    assert lib.pk_processors_free(duty.processors, duty.now)
    assert lib.pk_processors_proven(duty.processors, duty.now)


def test_a_process_with_a_quota_of_one_processor_has_none_to_spare():
    lib.pk_processors_limit(1)
    try:
        processors = ffi.new("struct pk_processors *")
        lib.pk_processors_look(processors, 5 * MS)
        assert not lib.pk_processors_free(processors, 5 * MS)
    finally:
        lib.pk_processors_limit(0)


def test_a_thread_in_somebody_s_way_looks_no_longer_and_tries_ever_more_rarely():
    duty = Duty(waiting=0.5)
    pauses = []
    for _ in range(7):
        while lib.pk_processors_free(duty.processors, duty.now):
            duty.look_for(1 * MS)
        assert not lib.pk_processors_proven(duty.processors, duty.now)
        assert duty.idle_until_sleep() == 0
        pauses.append(duty.processors.until - duty.now)
        duty.sleep(pauses[-1])
    doubled = [min(lib.PK_PROCESSORS_BAN << n, lib.PK_PROCESSORS_BAN_MOST) for n in range(7)]
    assert pauses == doubled


def test_little_waiting_is_nobody_s_fault():
    duty = Duty(waiting=0.05)
    duty.look_for(200 * MS)
    assert lib.pk_processors_proven(duty.processors, duty.now)


def test_what_was_waited_while_the_thread_slept_does_not_count():
    duty = Duty(waiting=0.5)
    duty.idle_until_sleep()
    duty.sleep(500 * MS)
    duty.waiting = 0.0
    duty.look_for(50 * MS)
    assert lib.pk_processors_free(duty.processors, duty.now)


def test_a_host_that_tells_nothing_is_judged_by_its_processors():
    duty = Duty()
    for _ in range(50):
        duty.now += lib.PK_PROCESSORS_CHECK
        lib.pk_processors_judge(duty.processors, duty.now, 2, UNKNOWN)
    assert lib.pk_processors_free(duty.processors, duty.now)
    assert not lib.pk_processors_proven(duty.processors, duty.now)


# -- who works -------------------------------------------------------------------------------------


def test_a_doorbell_is_the_thread_s_while_it_looks():
    duty = Duty()
    duty.look_for(1 * MS)
    duty.pass_ns(10 * US)
    assert duty.ring() == lib.PK_DUTY_LEAVE


def test_a_doorbell_is_the_vcpu_s_while_the_thread_sleeps():
    duty = Duty(allowed=1)
    duty.idle_until_sleep()
    assert duty.ring() == lib.PK_DUTY_SERVE


def test_a_doorbell_is_the_vcpu_s_when_the_thread_has_lost_its_processor():
    duty = Duty()
    duty.look_for(1 * MS)
    duty.pass_ns(lib.PK_DUTY_STALE + 1)
    assert duty.ring() == lib.PK_DUTY_SERVE


def test_doorbells_soon_after_each_other_wake_a_thread_that_has_a_processor():
    duty = Duty()
    duty.idle_until_sleep()
    duty.pass_ns(50 * MS)
    assert duty.ring() == lib.PK_DUTY_SERVE
    duty.pass_ns(20 * US)
    assert duty.ring() == lib.PK_DUTY_CALL


def test_doorbells_far_apart_wake_nobody():
    duty = Duty()
    duty.idle_until_sleep()
    for _ in range(20):
        duty.pass_ns(2 * lib.PK_DUTY_SOON)
        assert duty.ring() == lib.PK_DUTY_SERVE


@pytest.mark.parametrize("state", ["asleep", "awake"])
def test_with_engine_vcpu_every_doorbell_is_the_vcpu_s(state):
    duty = Duty()
    duty.native.always = 1
    duty.look_for(1 * MS)
    if state == "asleep":
        duty.idle_until_sleep()
    assert duty.ring() == lib.PK_DUTY_SERVE
    assert not lib.pk_duty_free(duty.native, duty.now)


# -- how long the thread looks ---------------------------------------------------------------------


def test_short_sleeps_make_it_look_longer_and_a_long_one_ends_that():
    duty = Duty()
    looked = [duty.idle_until_sleep()]
    for _ in range(4):
        duty.sleep(20 * US)
        looked.append(duty.idle_until_sleep())
    assert looked == [50 * US, 100 * US, 200 * US, 200 * US, 200 * US]
    duty.sleep(5 * MS)
    assert duty.idle_until_sleep() == lib.PK_DUTY_LEAST


def test_with_poll_off_it_sleeps_at_once_and_is_never_called_to_look():
    duty = Duty(look=False)
    assert duty.idle_until_sleep() == 0
    for _ in range(10):
        assert duty.ring() == lib.PK_DUTY_SERVE
        duty.pass_ns(10 * US)


# -- naps ------------------------------------------------------------------------------------------


def until_left(duty, *, gap, requests=1, most=200_000):
    """Doorbells, ``gap`` ns apart, until one is left to the thread; how many have been served."""
    for n in range(most):
        duty.left = 0
        if not duty.serve(requests):
            assert duty.naps
            return n
        duty.pass_ns(gap)
    raise AssertionError("none is left")


def stream(duty, *, gap, requests=1):
    """The same with a guest that rings on: the thread naps with doorbells off after that."""
    served = until_left(duty, gap=gap, requests=requests)
    duty.pass_ns(gap)
    assert not duty.serve()
    duty.left = 1
    assert duty.nap(2 * requests)
    return served


@pytest.fixture
def alone():
    """A card on one processor, its thread asleep."""
    duty = Duty(allowed=1, may_nap=True)
    duty.idle_until_sleep()
    return duty


def test_a_guest_that_streams_is_served_after_naps_for_as_long_as_it_does(alone):
    assert stream(alone, gap=20 * US) == lib.PK_DUTY_ROW + 1
    for _ in range(1000):
        assert alone.nap(100)
        assert not alone.serve(), "doorbells are the thread's"
    assert not alone.nap(0)
    assert not alone.naps
    assert alone.serve()


@pytest.mark.parametrize("batch", [1, 7])
def test_a_guest_that_waits_is_kept_waiting_once_and_tried_ever_more_rarely(alone, batch):
    tries, began = [], alone.now
    while alone.now - began < 4_000 * MS:
        until_left(alone, gap=50 * US, requests=batch)
        tries.append(alone.now - began)
        assert not alone.nap(batch)  # it does not ring again before it has been served
        assert alone.serve(batch)
    assert len(tries) < 14
    assert tries[-1] - tries[-2] > lib.PK_DUTY_RETRY_MOST


def test_a_guest_that_goes_on_without_ringing_does_not_wait_either(alone):
    """With VIRTIO_F_EVENT_IDX the next kick is wanted only once this one has been served."""
    until_left(alone, gap=20 * US)
    assert alone.nap(5)
    assert not alone.serve(), "doorbells are the thread's"


def test_a_guest_with_many_requests_to_a_doorbell_is_served_at_once(alone):
    for _ in range(10 * lib.PK_DUTY_ROW):
        assert alone.serve(lib.PK_DUTY_FEW)
        alone.pass_ns(50 * US)


def test_a_guest_that_begins_to_wait_is_served_at_once_again(alone):
    stream(alone, gap=20 * US)
    for _ in range(100):
        assert alone.nap(100)
    for _ in range(3 * lib.PK_DUTY_NAPS):
        if not alone.nap(1):
            break
    assert alone.serve()


def test_a_card_whose_doorbells_are_slow_to_turn_on_naps_on_for_a_while(alone):
    alone.native.patience = 10
    stream(alone, gap=20 * US)
    for _ in range(9):
        assert alone.nap(0)
    assert not alone.nap(0)


def test_doorbells_far_apart_are_no_row(alone):
    for _ in range(10 * lib.PK_DUTY_ROW):
        assert alone.serve()
        alone.pass_ns(2 * lib.PK_DUTY_SOON)


def test_naps_end_where_a_processor_becomes_free(alone):
    stream(alone, gap=20 * US)
    for _ in range(lib.PK_DUTY_NAPS - 1):
        assert alone.nap(100)
    alone.pass_ns(lib.PK_PROCESSORS_BAN)
    assert not alone.nap(200_000)


def test_a_thread_that_ends_has_no_doorbell_left_to_it(alone):
    stream(alone, gap=20 * US)
    lib.pk_duty_ends(alone.native)
    assert alone.serve()


def test_a_card_that_may_not_nap_never_does():
    duty = Duty(allowed=1)
    duty.idle_until_sleep()
    for _ in range(10 * lib.PK_DUTY_ROW):
        assert duty.serve()
        duty.pass_ns(20 * US)


# -- receive buffers -------------------------------------------------------------------------------


class Supply:
    """A driver that has all its 256 buffers, and gives so many of them back in each nap."""

    def __init__(self):
        self.native = ffi.new("struct pk_supply *")
        self.now = 5000 * MS

    def nap(self, back, patience=5 * MS):
        """ns of the next nap, 0 for none."""
        until = lib.pk_supply_nap(self.native, self.now, back, 256, patience)
        length = until - self.now if until else 0
        self.now += length
        return length


def test_naps_for_buffers_grow_until_a_quarter_comes_back():
    supply = Supply()
    assert [supply.nap(10) for _ in range(4)] == [200 * US, 400 * US, 500 * US, 500 * US]
    assert [supply.nap(100) for _ in range(3)] == [500 * US] * 3
    assert [supply.nap(250) for _ in range(4)] == [250 * US, 125 * US, 100 * US, 100 * US]


def test_who_was_not_at_work_is_not_waited_for():
    assert Supply().nap(0) == 0


def test_naps_for_buffers_end_when_none_come_for_long():
    supply = Supply()
    supply.nap(100)
    began = supply.now
    while supply.nap(0):
        assert supply.now - began < 6 * MS
    assert supply.nap(0) == 0
    assert supply.nap(100) > 0
