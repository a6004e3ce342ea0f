# SPDX-License-Identifier: MIT
"""The serial port loses nothing, and the guest can reset and power off."""

import os
import socket
import subprocess
import time

import pytest

from serial_lines import Lines


def wait_lines(vm, path, count, timeout=20.0):
    lines = Lines()
    with open(path, "rb") as f:
        vm.wait_for("%d lines" % count,
                    lambda: lines.feed(f.read()) or lines.count >= count,
                    timeout)
    return lines


def test_lines_arrive_in_a_file_in_order(vms):
    vm = vms("serial")
    path = vm.path("console")
    vm.serial = lambda generation: "file:" + path
    vm.start()
    lines = wait_lines(vm, path, 200)
    lines.check()
    vm.check_no_errors()


def test_file_is_truncated_when_opened(vms):
    vm = vms("serial")
    path = vm.path("console")
    with open(path, "w", encoding="ascii") as f:
        f.write("stale\n" * 1000)
    vm.serial = lambda generation: "file:" + path
    vm.start()
    wait_lines(vm, path, 5)
    with open(path, encoding="ascii") as f:
        assert "stale" not in f.read()


@pytest.mark.parametrize("rx", ("poll", "irq"))
def test_bytes_sent_over_a_socket_come_back_once(vms, rx):
    vm = vms("serial", append="rx=%s every=20000000" % rx)
    path = vm.path("console")
    vm.serial = lambda generation: "unix:%s,server=on,wait=off" % path
    vm.start()
    lines = Lines(first=None)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.settimeout(20)
        sent = []
        for i in range(20):
            text = b"message %d %s" % (i, b"x" * (i * 5))
            sent.append(text)
            s.sendall(text + b"\n")
            while len(lines.echoes) <= i:
                lines.feed(s.recv(4096))
        assert lines.echoes == sent
    assert vm.body.rx_bytes == sum(len(t) + 1 for t in sent)
    assert vm.body.rx_overrun == 0
    if rx == "irq":
        assert vm.body.rx_irqs > 0
    lines.check()
    vm.check_no_errors()


def test_stdio_is_the_console(vms):
    vm = vms("serial")
    vm.serial = lambda generation: "stdio"
    vm.start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    vm.proc.popen.stdin.write(b"hello\n")
    vm.proc.popen.stdin.flush()
    lines = Lines()
    end = time.monotonic() + 20
    while (lines.count < 20 or not lines.echoes) and time.monotonic() < end:
        lines.feed(os.read(vm.proc.popen.stdout.fileno(), 4096))
    lines.check()
    assert lines.echoes == [b"hello"]


@pytest.mark.parametrize("how", ("r", "c"))
def test_guest_resets_the_machine(vms, how):
    vm = vms("serial", append="after=20 exit=%s every=100000" % how)
    path = vm.path("console")
    vm.serial = lambda generation: "file:" + path
    vm.start(wait_ready=False)
    vm.qmp.wait_event("RESET", guest=True)
    vm.wait_for("the second boot", lambda: vm.head.boots >= 2)
    vm.wait_ready()
    assert vm.head.errors == 0
    assert vm.status()["status"] == "running"
    with open(path, "rb") as f:
        text = f.read()
    assert text.startswith(b"".join(b"L %08d\n" % i for i in range(20)))


def test_no_reboot_ends_the_process_at_reset(vms):
    vm = vms("serial", append="after=5 exit=r every=100000")
    vm.start(["-no-reboot", "-S"], wait_ready=False)
    vm.qmp.cmd("cont")
    vm.qmp.wait_event("SHUTDOWN", guest=True, reason="guest-reset")
    assert vm.proc.wait() == 0


def test_guest_powers_the_machine_off(vms):
    vm = vms("serial", append="after=5 exit=p every=100000")
    vm.start(["-S"], wait_ready=False)
    vm.qmp.cmd("cont")
    vm.qmp.wait_event("SHUTDOWN", guest=True, reason="guest-shutdown")
    vm.qmp.wait_eof()
    assert vm.proc.wait() == 0


@pytest.mark.parametrize("guest", ("gap", "timer", "fpu", "smp"))
def test_system_reset_boots_the_guest_again(vms, guest):
    vm = vms(guest, smp=2 if guest == "smp" else 1).start()
    for boots in range(2, 6):
        vm.qmp.cmd("system_reset")
        vm.qmp.wait_event("RESET")
        vm.wait_for("boot %d" % boots, lambda: vm.head.boots == boots)
        vm.wait_ready()
        vm.running()
        vm.check_no_errors()


def test_reset_of_a_stopped_guest_leaves_it_stopped(vms):
    vm = vms("gap").start()
    vm.qmp.cmd("stop")
    vm.qmp.cmd("system_reset")
    vm.qmp.wait_event("RESET")
    assert vm.stopped()
    vm.qmp.cmd("cont")
    vm.wait_for("boot 2", lambda: vm.head.boots == 2)
    vm.wait_ready()
    vm.running()
