# SPDX-License-Identifier: MIT
"""The guest's clocks go on though the host's have started anew.

The host is not rebooted: the new process sees another boot id, by a mount of its own, and
another CLOCK_BOOTTIME, by a time namespace of its own; and the state is changed to that of
a host whose TSC was far ahead. What stays is CLOCK_REALTIME, as after a reboot.
"""

import os
import subprocess
import time

import pytest

import load
import stream
import tsc

AHEAD = 10 ** 13  # of the old host's TSC, more than an hour
BOOT_ID = "01234567-89ab-cdef-0123-456789abcdef\n"
WRAPPER = """#!/bin/sh
exec nsenter --time=%(clocks)s -- unshare --mount -- sh -c '
mount --bind %(boot_id)s /proc/sys/kernel/random/boot_id && exec "$0" "$@"
' %(program)s "$@"
"""


@pytest.fixture
def rebooted(tmp_path):
    """Makes a program that runs another on a host booted a given time earlier."""
    holders = []

    def make(program, seconds):
        holder = subprocess.Popen(
            ["unshare", "--time", "--boottime", str(seconds), "--", "sh", "-c",
             "echo ready; exec sleep 1000"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=load.die_with_parent)
        holders.append(holder)
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("NO RIGHT TO A TIME NAMESPACE: %s" %
                        holder.stderr.read().decode(errors="replace").strip())
        boot_id = tmp_path / "boot_id"
        boot_id.write_text(BOOT_ID, encoding="ascii")
        wrapper = tmp_path / "rebooted"
        wrapper.write_text(WRAPPER % {
            "clocks": "/proc/%d/ns/time_for_children" % holder.pid,
            "boot_id": boot_id, "program": os.path.realpath(program)})
        wrapper.chmod(0o755)
        seen = subprocess.run(
            [wrapper, "-version"], capture_output=True, check=False)
        if seen.returncode:
            pytest.skip("NO RIGHT TO MOUNT A BOOT ID: %s" %
                        seen.stderr.decode(errors="replace").strip())
        return str(wrapper)

    yield make
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()


def reboot(vm, rebooted, seconds, away=0.3):
    """Saves the guest and loads it on another boot of the host."""
    if not stream.xxh3:
        pytest.skip("NO libxxhash.so.0 TO CHANGE A STATE WITH")
    path = vm.path("vm.state")
    assert vm.save("file:" + path)["status"] == "completed"
    vm.quit()
    with open(path, "rb") as f:
        data = f.read()
    changes = {}
    vm.tsc_has_offset = stream.Reader(data).sections["cpu", 0]["tsc_offset"]
    for cpu in range(vm.smp):
        changes["cpu", cpu, "tsc_saved"] = lambda v: v + AHEAD
        changes["cpu", cpu, "tsc_offset"] = lambda v: v - AHEAD
    with open(path, "wb") as f:
        f.write(stream.change(data, changes))
    time.sleep(away)
    vm.program = rebooted(vm.program, seconds)
    vm.load("file:" + path)
    vm.running()
    with open("/proc/%d/timens_offsets" % vm.pid, encoding="ascii") as f:
        assert " %d " % seconds in " ".join(f.read().split()) + " "


def need_tsc_offset(vm):
    if not vm.tsc_has_offset:
        pytest.skip("THE GUEST HAS THE HOST'S TSC HERE, WITHOUT AN OFFSET")


def earlier():
    """The host has been up for half as long as it was; boot time goes back."""
    with open("/proc/uptime", encoding="ascii") as f:
        return -int(float(f.read().split()[0]) / 2) or -1


def test_tsc_goes_on_by_the_time_that_passed(vms, rebooted):
    vm = vms("gap").start()
    before = tsc.guest_offset(lambda: vm.body.last_tsc)
    reboot(vm, rebooted, earlier())
    need_tsc_offset(vm)
    moved = (tsc.guest_offset(lambda: vm.body.last_tsc) - before) / tsc.hz()
    assert abs(moved) < 0.02, "TSC moved by %g s" % moved
    assert vm.body.backward == 0
    vm.check_no_errors()


def test_updates_after_it_keep_the_tsc(vms, rebooted):
    vm = vms("gap").start()
    reboot(vm, rebooted, earlier())
    before = tsc.guest_offset(lambda: vm.body.last_tsc)
    vm.transfer()
    vm.exec_()
    vm.running()
    moved = (tsc.guest_offset(lambda: vm.body.last_tsc) - before) / tsc.hz()
    assert abs(moved) < 2e-5, "TSC moved by %g s" % moved
    assert vm.body.backward == 0


def test_tscs_of_all_vcpus_stay_equal(vms, rebooted):
    vm = vms("smp", append="cpus=2 ipi=200000", smp=2).start()
    reboot(vm, rebooted, earlier())
    before = [s.count for s in vm.body.slot[:2]]
    vm.wait_for("both vCPUs running", lambda: all(
        s.count > b + 1000 for s, b in zip(vm.body.slot[:2], before)))
    vm.qmp.cmd("stop")
    vm.check_no_errors()
    need_tsc_offset(vm)
    for s in vm.body.slot[:2]:
        assert s.backward == 0, s.all()
        assert s.skew == 0, s.all()


@pytest.mark.parametrize("timer", ("periodic", "oneshot"))
def test_lapic_timer_waits_for_the_rest_of_its_time(vms, rebooted, timer):
    """A boot time far ahead would let it run out at once."""
    period_ns = 3_000_000_000
    vm = vms("timer", append="mode=%s period=%d period_tsc=%d" % (
        timer, period_ns, int(tsc.hz() * period_ns / 1e9))).start()
    ticks = vm.body.ticks
    vm.wait_for("an interrupt", lambda: vm.body.ticks > ticks)
    reboot(vm, rebooted, 100000)
    ticks = vm.body.ticks
    vm.wait_for("further interrupts", lambda: vm.body.ticks >= ticks + 2)
    body = vm.body
    assert body.short_intervals == 0, body.all()
    assert body.long_intervals == 0, body.all()
    assert body.backward == 0
    vm.check_no_errors()
