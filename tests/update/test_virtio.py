# SPDX-License-Identifier: MIT
"""A virtio device: no request is lost or answered twice, no notification is missed."""

import time

import pytest

from vm import Footprint

DEVICE = ("-device", "virtio-rng-pci,id=rng0,addr=5")
QUEUE = 8
MODES = ("transfer", "exec", "graft")


def started(vms, append="", device=DEVICE):
    vm = vms("virtio", append=append, extra=device).start()
    assert vm.body.found == 1
    return vm


def answers(vm, more=100):
    """The guest gets further answers: nobody waits for a notification or an interrupt."""
    before = vm.body.answered
    vm.wait_for("further answers", lambda: vm.body.answered >= before + more)


def check(vm):
    """All requests but those in the ring were answered once, with what they asked for."""
    body = vm.body
    assert (body.bad_length, body.beyond, body.unwritten) == (0, 0, 0), body.all()
    vm.check_no_errors()
    vm.qmp.cmd("stop")
    assert vm.body.asked - vm.body.answered <= QUEUE, vm.body.all()
    vm.qmp.cmd("cont")


@pytest.mark.parametrize("append", ("", "idx=off", "mode=poll"))
@pytest.mark.parametrize("mode", MODES)
def test_requests_go_on_through_many_updates_under_load(vms, cpu_load, loops, mode, append):
    vm = started(vms, append)
    first = None
    for i in range(loops if not append else (loops + 4) // 5):
        # Right after the last one, and later, when KVM knows the doorbells.
        time.sleep((i % 4) * 0.01)
        vm.update(mode)
        answers(vm)
        if i == 1:
            first = Footprint(vm)
    check(vm)
    if first:
        Footprint(vm).check_against(first)


@pytest.mark.parametrize("mode", MODES)
def test_requests_are_in_the_ring_at_every_update(vms, loops, mode):
    """The device may give as much as the ring asks for in 20 ms, so most of the time it waits."""
    vm = started(vms, "bytes=512", ("-device", "virtio-rng-pci,max-bytes=4096,period=20"))
    for _ in range((loops + 1) // 2):
        vm.qmp.cmd("stop")
        assert vm.body.asked == vm.body.answered + QUEUE, vm.body.all()
        vm.qmp.cmd("cont")
        vm.update(mode)
        answers(vm, QUEUE)
    check(vm)


@pytest.mark.parametrize("mode", MODES)
def test_registers_move_while_the_guest_is_updated(vms, loops, mode):
    vm = started(vms, "moves=50")
    for _ in range((loops + 1) // 2):
        vm.update(mode)
        answers(vm)
    moves = vm.body.moves
    assert moves > 1
    vm.wait_for("another move", lambda: vm.body.moves > moves)
    check(vm)


def test_all_modes_in_turn(vms, cpu_load, loops):
    vm = started(vms)
    for i in range(loops):
        vm.update(MODES[i % 3])
        answers(vm)
    check(vm)


def test_with_two_vcpus(vms, cpu_load, loops):
    vm = vms("virtio", smp=2, extra=DEVICE).start()
    for i in range((loops + 1) // 2):
        vm.update(MODES[i % 3])
        answers(vm)
    check(vm)


def test_save_and_load(vms, loops):
    vm = started(vms)
    for i in range((loops + 9) // 10):
        state = "file:" + vm.path("state%d" % i)
        vm.save(state)
        old = vm.proc
        vm.load(state)
        old.kill()
        answers(vm)
    check(vm)
