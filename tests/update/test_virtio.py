# SPDX-License-Identifier: MIT
"""A virtio device: no request is lost or answered twice, no notification is missed."""

import time

import pytest

from vm import Failed, Footprint

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


def fault(step, kind):
    return ["-debug", "handover=%s:%s" % (step, kind)]


def fail_to(vm, mode):
    """An update whose new side breaks when it has loaded the state; the guest is given back."""
    broken = fault("load", "fail")
    if mode == "transfer":
        generation, new = vm.spawn_incoming(broken)
        vm.migrate_to(generation)
        answer = vm.wait_migrate()
        new.wait()
    else:
        command = (vm.exec_command if mode == "exec" else vm.graft_command)(extra=broken)
        vm.set_parameters(mode="cpr-" + mode, cpr_exec_command=command)
        if mode == "exec":
            vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
            vm.wait_exec()
            assert vm.qmp.cmd("query-migrate")["status"] == "failed"
            return
        vm.qmp.cmd("migrate")
        answer = vm.wait_migrate()
    assert answer["status"] == "failed", answer


@pytest.mark.parametrize("mode", MODES)
def test_a_guest_that_is_given_back_goes_on_with_its_requests(vms, cpu_load, mode):
    vm = started(vms)
    for _ in range(5):
        fail_to(vm, mode)
        answers(vm)
    for _ in range(3):
        vm.update(mode)
        answers(vm)
    check(vm)


@pytest.mark.parametrize("mode", MODES)
def test_a_guest_that_is_reset_finds_the_device_anew(vms, loops, mode):
    vm = started(vms)
    for i in range((loops + 9) // 10):
        boots = vm.head.boots
        vm.qmp.cmd("system_reset")
        vm.wait_for("the next boot", lambda: vm.head.boots > boots and vm.page.ready)
        answers(vm)
        vm.update(mode)
        answers(vm)
    check(vm)


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_that_comes_with_an_update_is_no_end(vms, loops, mode):
    """The device is reset and driven anew just before, in or just after the pause."""
    vm = started(vms)
    for i in range((loops + 9) // 10):
        boots = vm.head.boots
        vm.qmp.cmd("system_reset")
        time.sleep(i % 5 * 0.002)
        try:
            vm.update(mode)
        except Failed as e:
            assert "reset" in str(e), e
        vm.wait_for("the next boot", lambda: vm.head.boots > boots and vm.page.ready)
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
