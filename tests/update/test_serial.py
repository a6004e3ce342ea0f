# SPDX-License-Identifier: MIT
"""The serial port loses and doubles nothing, whatever the moment."""

import os
import socket
import subprocess
import threading

import pytest

from serial_lines import Lines


def test_exec_keeps_stdio_and_its_lines(vms, cpu_load):
    vm = vms("serial", append="every=200000")
    vm.serial = lambda generation: "stdio"
    vm.start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lines = Lines()

    def read():
        while True:
            data = os.read(vm.proc.popen.stdout.fileno(), 65536)
            if not data:
                return
            lines.feed(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(20):
            seen = lines.count
            vm.exec_()
            vm.wait_for("lines", lambda: lines.count > seen + 5)
            vm.proc.popen.stdin.write(b"after %d\n" % i)
            vm.proc.popen.stdin.flush()
            vm.wait_for("echo", lambda: len(lines.echoes) == i + 1)
        printed = vm.body.lines
        vm.wait_for("the last lines", lambda: lines.count > printed)
    finally:
        vm.proc.popen.kill()
        reader.join()
    assert lines.echoes == [b"after %d" % i for i in range(20)]
    lines.check()


def test_transfer_splits_the_output_between_two_files_without_loss(
        vms, cpu_load):
    vm = vms("serial", append="every=200000")
    vm.serial = lambda generation: "file:" + vm.path(
        "console%d" % generation)
    vm.start()
    for _ in range(20):
        seen = vm.body.lines
        vm.transfer()
        vm.wait_for("lines", lambda: vm.body.lines > seen + 5)
    vm.qmp.cmd("stop")
    vm.check_no_errors()
    lines = Lines()
    for generation in range(21):
        with open(vm.path("console%d" % generation), "rb") as f:
            data = f.read()
        assert data, "generation %d printed nothing" % generation
        lines.feed(data)
    assert lines.count in (vm.body.lines, vm.body.lines + 1)
    lines.check()


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_receive_interrupt_still_works(vms, mode):
    vm = vms("serial", append="rx=irq every=50000000")
    vm.serial = lambda generation: "unix:%s,server=on,wait=off" % vm.path(
        "console%d" % generation)
    vm.start()
    for i in range(5):
        vm.update(mode)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(vm.path("console%d" % vm.generation))
            s.settimeout(20)
            lines = Lines(first=None)
            s.sendall(b"message %d\n" % i)
            while not lines.echoes:
                lines.feed(s.recv(4096))
            assert lines.echoes == [b"message %d" % i]
    assert vm.body.rx_irqs > 0 and vm.body.rx_overrun == 0
    vm.check_no_errors()
