"""QEMU's monitor, with a peer that answers as QEMU does."""

import json
import os
import socket
import threading
from contextlib import contextmanager

import pytest

from pykvm.bench.qmp import Monitor, scalars
from pykvm.errors import PykvmError

GREETING = {"QMP": {"version": {}, "capabilities": []}}
EVENT = {"event": "RESUME", "timestamp": {"seconds": 1}}


@contextmanager
def monitor(*answers):
    """A monitor, and the requests that came, each answered by the next of ``answers``."""
    with Monitor() as ours:
        peer = socket.socket(fileno=os.dup(ours.theirs))
        requests = []

        def work():
            lines = peer.makefile("r")
            peer.sendall(json.dumps(GREETING).encode() + b"\n")
            for messages in ([{"return": {}}], *answers):
                line = lines.readline()
                if not line:
                    break
                requests.append(json.loads(line))
                for message in messages:
                    peer.sendall(json.dumps(message).encode() + b"\r\n")
            lines.close()
            peer.close()

        thread = threading.Thread(target=work)
        thread.start()
        ours.connect()
        yield ours, requests
    thread.join()


def row(**stats):
    named = [{"name": name, "value": value} for name, value in stats.items()]
    return {"provider": "kvm", "qom-path": "/machine/unattached/device[0]", "stats": named}


def test_counters_of_all_vcpus_are_added_and_histograms_left_out():
    answer = {"return": [row(exits=5, hist=[1, 2], guest_mode=False), row(exits=7)]}
    with monitor([EVENT, answer]) as (ours, requests):
        assert ours.counters() == {"exits": 12}
    assert requests[1] == {"execute": "query-stats", "arguments": {"target": "vcpu"}}


def test_a_qemu_without_the_command_has_no_counters():
    error = {"error": {"class": "CommandNotFound", "desc": "not found"}}
    with monitor([error]) as (ours, _):
        assert ours.counters() == {}


def test_an_error_is_told_with_the_command():
    with (
        monitor([{"error": {"desc": "no such thing"}}]) as (ours, _),
        pytest.raises(PykvmError, match="QEMU, stop: no such thing"),
    ):
        ours.execute("stop")


def test_a_qemu_that_is_gone_is_an_error():
    with monitor() as (ours, _), pytest.raises(PykvmError, match="QEMU's monitor"):
        ours.execute("stop")


def test_only_whole_numbers_are_counters():
    assert scalars([{"name": "a", "value": 1}, {"name": "b", "value": True}]) == {"a": 1}
