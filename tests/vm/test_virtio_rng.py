# SPDX-License-Identifier: MIT
"""virtio-rng in a guest that runs: what it gives, how fast, and what is refused."""

import time

import pytest

import qmp
from refusal import reason


def start(vms, properties="", append="", **kwargs):
    device = "virtio-rng-pci" + ("," + properties if properties else "")
    return vms("virtio", append=append, extra=["-device", device], **kwargs).start()


def answers(vm, more=100):
    before = vm.body.answered
    vm.wait_for("answers", lambda: vm.body.answered >= before + more)


def check(vm):
    body = vm.body
    assert (body.bad_length, body.beyond, body.unwritten) == (0, 0, 0), body.all()
    vm.check_no_errors()


@pytest.mark.parametrize("properties", ("", "event_idx=off", "indirect_desc=off", "vectors=2"))
@pytest.mark.parametrize("append", ("", "idx=off", "mode=poll"))
def test_requests_are_answered(vms, properties, append):
    vm = start(vms, properties, append)
    assert vm.body.found == 1
    answers(vm)
    if append != "mode=poll":
        vm.wait_for("an interrupt", lambda: vm.body.irqs > 0)
    check(vm)


def test_without_vectors_a_guest_can_look_for_itself(vms):
    vm = start(vms, "vectors=0", "mode=poll")
    answers(vm)
    assert vm.body.irqs == 0
    check(vm)


def test_registers_can_be_moved_at_any_time(vms):
    vm = start(vms, append="moves=20")
    vm.wait_for("moves", lambda: vm.body.moves >= 50)
    check(vm)


def test_no_more_bytes_than_a_period_allows(vms):
    """So many at once, and then so many for each period that has passed; the clock is the host's."""
    vm = start(vms, "max-bytes=4096,period=200", "bytes=512")
    start_s = time.monotonic()
    vm.wait_for("bytes of three periods", lambda: vm.body.bytes >= 3 * 4096)
    took = time.monotonic() - start_s
    # The guest had begun before; at least one period lies between two that are whole.
    assert took > 0.2
    assert vm.body.bytes <= 4096 * (took / 0.2 + 4)
    check(vm)


def test_a_guest_without_the_device_finds_none(vms):
    vm = vms("virtio").start()
    assert vm.body.found == 0
    vm.check_no_errors()


def test_a_stopped_guest_is_given_nothing(vms):
    vm = start(vms)
    answers(vm)
    vm.qmp.cmd("stop")
    before = vm.body.all()
    time.sleep(0.1)
    assert vm.body.all() == before
    vm.qmp.cmd("cont")
    answers(vm)
    check(vm)


@pytest.mark.parametrize("bad,why", (
    ("max-bytes=0", "max-bytes' doesn't take value 0 (minimum: 1"),
    ("period=0", "period' doesn't take value 0 (minimum: 1"),
    ("vectors=65", "65 MSI-X vectors are not possible, at most 64"),
    ("vectors=-1", "'vectors' expects uint64"),
    ("event_idx=perhaps", "'event_idx' expects 'on' or 'off'"),
    ("rng=rng0", "'virtio-rng-pci.rng' not found"),
    ("addr=32", "addr' doesn't take value '32'"),
    ("bus=nowhere", "Bus 'nowhere' not found")))
def test_bad_properties_are_refused_by_name(vms, bad, why):
    vm = vms("virtio", extra=["-device", "virtio-rng-pci," + bad])
    _, proc = vm.spawn()
    assert proc.wait() == 1
    assert why in reason(proc.log(), "-device virtio-rng-pci," + bad, "-device virtio-rng-pci")


def test_bad_properties_are_refused_by_the_monitor(vms):
    vm = vms("virtio", extra=["-device", "pcie-root-port,id=rp1,slot=1"]).start()
    for properties in ({"vectors": 65}, {"max-bytes": 0}, {"nonsense": 1}):
        with pytest.raises(qmp.QmpError):
            vm.qmp.cmd("device_add", driver="virtio-rng-pci", bus="rp1", id="r", **properties)
    # Nothing is left of them: the place and the name are free.
    vm.qmp.cmd("device_add", driver="virtio-rng-pci", bus="rp1", id="r")
    vm.running()
