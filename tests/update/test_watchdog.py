# SPDX-License-Identifier: MIT
"""The watchdog counts on through updates, is fed through them, and bites in time."""

import time

import pytest

import tsc
from qmp import QmpError

MODES = ("transfer", "exec", "graft")
TICK = 30e-9 * (1 << 15)


def start(vms, first, second, action="none"):
    vm = vms("parts", mem="32M", append="first=%d second=%d" % (first, second),
             extra=["-device", "i6300esb", "-action", "watchdog=" + action])
    vm.start()
    assert vm.body.watchdog == 1, vm.body.all()
    return vm


def stop_feeding(vm):
    """The TSC of the last time it was fed."""
    vm.body.put("feed", 0)
    beat = vm.head.heartbeat
    vm.wait_for("the guest seeing it", lambda: vm.head.heartbeat > beat + 2)
    return vm.body.fed_tsc


@pytest.mark.parametrize("mode", MODES)
def test_a_guest_that_feeds_it_is_left_alone_through_updates(vms, mode):
    vm = start(vms, 1500, 1500, "pause")
    for _ in range(3):
        vm.update(mode)
        fed = vm.body.fed
        time.sleep(0.2)
        vm.wait_for("feeding", lambda: vm.body.fed > fed)
    assert vm.status()["status"] == "running"
    vm.check_no_errors()


@pytest.mark.parametrize("mode", MODES)
def test_it_bites_at_its_time_in_the_image_that_has_the_guest(vms, mode):
    ticks = 2500
    vm = start(vms, ticks, ticks, "pause")
    fed = stop_feeding(vm)
    vm.update(mode)
    vm.update(mode)
    assert vm.status()["status"] == "running"
    vm.wait_for("the watchdog",
                lambda: vm.status()["status"] == "watchdog", 60)
    # The guest saw time go on in the pauses, in which the watchdog stood still;
    # and it does not bite before its time.
    seen = (vm.body.last_tsc - fed) / tsc.hz()
    assert seen >= 2 * ticks * TICK - 0.05, seen
    assert seen <= 2 * ticks * TICK + 10, seen


def test_a_stopped_guest_is_not_bitten(vms):
    vm = start(vms, 700, 700, "pause")
    stop_feeding(vm)
    vm.qmp.cmd("stop")
    time.sleep(2.5)
    vm.transfer()
    assert vm.status()["status"] == "paused"
    vm.body.put("feed", 1)
    vm.qmp.cmd("cont")
    fed = vm.body.fed
    vm.wait_for("feeding", lambda: vm.body.fed > fed)
    time.sleep(1)
    assert vm.status()["status"] == "running"


def test_reset_is_the_default_and_the_guest_learns_why(vms):
    vm = start(vms, 100, 100, "reset")
    boots = vm.head.boots
    stop_feeding(vm)
    vm.wait_for("boot", lambda: vm.head.boots > boots, 60)
    vm.wait_for("the next system", lambda: vm.page.ready and
                vm.body.ran_out == 0x1200)
    vm.status()
    names = vm.qmp.event_names()
    assert names.index("WATCHDOG") < names.index("RESET")


def test_action_may_be_changed(vms):
    vm = start(vms, 300, 300, "reset")
    vm.qmp.cmd("watchdog-set-action", action="none")
    with pytest.raises(QmpError):
        vm.qmp.cmd("watchdog-set-action", action="bark")
    boots = vm.head.boots
    stop_feeding(vm)

    def told():
        vm.status()
        return "WATCHDOG" in vm.qmp.event_names()
    vm.wait_for("the event", told, 60)
    time.sleep(0.3)
    assert vm.head.boots == boots
    assert vm.status()["status"] == "running"
    vm.running()


def test_poweroff_ends_the_machine(vms):
    vm = start(vms, 100, 100, "poweroff")
    stop_feeding(vm)
    assert vm.proc.wait(60) == 0
