# SPDX-License-Identifier: MIT
"""Monitors: a person at a terminal, several at once, descriptors passed."""

import array
import contextlib
import json
import os
import pty
import select
import signal
import socket
import time
import tty

import pytest

import procstat
from qmp import Qmp, QmpClosed, QmpError
from vm import check_growth

PROMPT = b"(qemu) "


class Terminal:
    """Somebody who types at a terminal and reads what it shows."""

    def __init__(self, fd):
        self.fd = fd
        self.text = b""

    def type(self, keys):
        os.write(self.fd, keys)

    def wait(self, part, timeout=20.0):
        """Reads until part was shown; returns all up to its end."""
        end = time.monotonic() + timeout
        while part not in self.text:
            left = end - time.monotonic()
            assert left > 0, "%r is not in %r" % (part, self.text)
            if select.select([self.fd], [], [], left)[0]:
                self.text += os.read(self.fd, 4096)
        at = self.text.index(part) + len(part)
        seen, self.text = self.text[:at], self.text[at:]
        return seen

    def ask(self, keys):
        """Types a line; returns what is shown up to the next prompt."""
        self.type(keys)
        self.wait(b"\n")
        return self.wait(PROMPT)


@contextlib.contextmanager
def opened(path):
    terminal = Terminal(os.open(path, os.O_RDWR | os.O_NOCTTY))
    try:
        tty.setraw(terminal.fd)
        yield terminal
    finally:
        # A test may have opened it anew, under another number.
        os.close(terminal.fd)


def pty_of(vm, label):
    for device in vm.qmp.cmd("query-chardev"):
        if device["label"] == label:
            return device["filename"].split(":")[-1]
    raise AssertionError(label)


@pytest.fixture
def terminal(vms):
    """A running guest with a human monitor on a pseudo-terminal."""
    vm = vms("gap", extra=["-chardev", "pty,id=hm", "-mon", "hm"]).start()
    with opened(pty_of(vm, "hm")) as t:
        t.vm = vm
        banner = t.wait(PROMPT)
        assert b"monitor - type 'help' for more information" in banner
        yield t


def test_a_line_is_edited_and_run(terminal):
    assert b"VM status: running" in terminal.ask(b"info status\r")
    # Typed wrong, and put right: with backspace, an arrow, Ctrl-A.
    assert b"running" in terminal.ask(b"info statsu\x7f\x7fus\r")
    assert b"running" in terminal.ask(b"info satus\x1b[D\x1b[D\x1b[D\x1b[Dt\r")
    assert b"running" in terminal.ask(b"fo status\x01in\r")
    assert b"unknown command: 'bogus'" in terminal.ask(b"bogus\r")
    terminal.ask(b"stop\r")
    assert terminal.vm.status()["status"] == "paused"
    assert b"VM status: paused" in terminal.ask(b"info status\r")


def test_tab_completes_and_lists(terminal):
    terminal.type(b"info stat\t")
    terminal.wait(b"us ")
    assert b"VM status: running" in terminal.ask(b"\r")
    terminal.type(b"info \t")
    shown = terminal.wait(b"(qemu) info ")
    for word in (b"cpus", b"kvm", b"migrate_capabilities", b"version"):
        assert word in shown, shown
    terminal.ask(b"\x15\r")
    terminal.type(b"system_\t")
    shown = terminal.wait(b"(qemu) system_")
    assert b"system_powerdown" in shown and b"system_reset" in shown
    terminal.ask(b"\x15\r")
    # Words of commands, too: parameters, their values, capabilities.
    terminal.ask(b"migrate_set_p\tmo\tcpr-e\t\r")
    assert terminal.vm.qmp.cmd(
        "query-migrate-parameters")["mode"] == "cpr-exec"
    terminal.ask(b"migrate_set_c\tev\tof\t\r")
    caps = terminal.vm.qmp.cmd("query-migrate-capabilities")
    assert {"capability": "events", "state": False} in caps


def test_arrow_up_brings_earlier_lines_back(terminal):
    terminal.ask(b"info status\r")
    terminal.ask(b"info name\r")
    assert b"test" in terminal.ask(b"\x1b[A\r")
    assert b"VM status" in terminal.ask(b"\x1b[A\x1b[A\r")
    # Also for who opens the terminal next.
    vm, path = terminal.vm, os.ttyname(terminal.fd)
    os.close(terminal.fd)
    vm.wait_for("the end of the pty's user", lambda: any(
        d["filename"].startswith("disconnected:pty")
        for d in vm.qmp.cmd("query-chardev")))
    terminal.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    terminal.text = b""
    terminal.wait(PROMPT)
    assert b"VM status" in terminal.ask(b"\x1b[A\r")


def test_keys_that_end_things_end_nothing(terminal):
    terminal.type(b"\x04\x04rubbish\x03")
    assert b"^C" in terminal.wait(PROMPT)
    terminal.type(b"\x1a\x1c")
    assert b"VM status: running" in terminal.ask(b"info status\r")
    assert terminal.vm.proc.alive()


def test_the_guest_runs_while_a_line_is_half_typed(terminal):
    vm = terminal.vm
    terminal.type(b"info sta")
    terminal.wait(b"info sta")
    # Half an escape sequence, and then silence: nobody waits for more.
    terminal.type(b"\x1b[")
    vm.running()
    assert vm.status()["running"] is True
    terminal.ask(b"D\x05tus\r")
    vm.running()
    vm.check_no_errors()


def test_a_terminal_nobody_reads_holds_nothing_up(terminal):
    vm = terminal.vm
    vm.qmp.cmd("query-status")
    rss = procstat.rss_beyond_ram(vm.pid)
    os.set_blocking(terminal.fd, False)
    sent = 0
    for _ in range(2000):
        try:
            sent += os.write(terminal.fd, b"help\r" * 40)
        except BlockingIOError:
            break
        vm.qmp.cmd("query-status")
    assert sent > 4096
    vm.running()
    check_growth(rss, procstat.rss_beyond_ram(vm.pid), 8 << 20)
    os.set_blocking(terminal.fd, True)
    terminal.text = b""
    while select.select([terminal.fd], [], [], 1)[0]:
        os.read(terminal.fd, 65536)
    terminal.type(b"\r")
    terminal.wait(PROMPT)
    assert b"VM status: running" in terminal.ask(b"info status\r")


def test_ctrl_a_x_on_a_terminal_quits_and_restores_it(vms):
    vm = vms("gap", extra=["-chardev", "stdio,id=hm",
                           "-mon", "chardev=hm,mode=readline"])
    master, slave = pty.openpty()
    try:
        before = tty.tcgetattr(slave)
        vm.start(stdin=os.dup(slave), stdout=os.dup(slave))
        t = Terminal(master)
        t.wait(PROMPT)
        t.type(b"info stat\t")
        t.wait(b"us ")
        assert b"VM status: running" in t.ask(b"\r")
        t.type(b"\x03")
        assert b"^C" in t.wait(PROMPT)
        assert vm.proc.alive()
        t.type(b"\x01x")
        vm.qmp.wait_event("SHUTDOWN", guest=False)
        assert vm.proc.wait() == 0
        assert tty.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_with_signals_ctrl_c_ends_the_process(vms):
    vm = vms("gap", extra=["-chardev", "stdio,id=hm,signal=on", "-mon", "hm"])
    master, slave = pty.openpty()
    try:
        vm.start(stdin=os.dup(slave), stdout=os.dup(slave))
        Terminal(master).wait(PROMPT)
        # The test's terminal controls no process: the key sends nothing, but
        # it is the driver's now and does not reach the monitor.
        assert tty.tcgetattr(slave)[3] & tty.ISIG
        vm.proc.popen.send_signal(signal.SIGINT)
        assert vm.proc.wait() == 0
    finally:
        os.close(master)
        os.close(slave)


def test_line_editing_survives_an_exec(vms):
    vm = vms("gap", extra=["-chardev", "stdio,id=hm", "-mon", "hm"])
    master, slave = pty.openpty()
    try:
        vm.start(stdin=os.dup(slave), stdout=os.dup(slave))
        t = Terminal(master)
        t.wait(PROMPT)
        t.ask(b"info status\r")
        # Half a line, and the cursor in the middle of it.
        t.type(b"info ats\x02\x02\x02")
        vm.exec_()
        # The new image shows itself, and what was typed.
        t.wait(b"monitor - type 'help'")
        t.wait(b"info ats")
        t.type(b"st\x05\x08")
        t.type(b"\t")
        t.wait(b"us ")
        assert b"VM status: running" in t.ask(b"\r")
        vm.running()
    finally:
        os.close(master)
        os.close(slave)


def test_pipes_get_plain_lines(vms):
    vm = vms("gap")
    path = vm.path("hmp")
    vm.extra = ["-monitor", "unix:%s,server=on,wait=off" % path]
    vm.start()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(path)
        s.sendall(b"info status\n")
        text = b""
        while text.count(PROMPT) < 2:
            text += s.recv(4096)
    assert text.endswith(PROMPT + b"VM status: running\r\n" + PROMPT)


# Several monitors.

def three_monitors(vms):
    vm = vms("gap")
    paths = [vm.path("m%d" % i) for i in range(2)]
    vm.extra = []
    for i, path in enumerate(paths):
        vm.extra += ["-chardev", "socket,id=m%d,path=%s,server=on,wait=off" %
                     (i, path), "-mon", "chardev=m%d,mode=control" % i]
    vm.start()
    return vm, [Qmp(path) for path in paths]


def test_three_monitors_get_the_same_events(vms):
    vm, others = three_monitors(vms)
    monitors = [vm.qmp] + others
    for who in monitors * 3:
        who.cmd("stop")
        who.cmd("cont")
    vm.qmp.cmd("system_reset")
    for who in monitors:
        who.wait_event("RESET")
        who.drain_events(0.2)
    names = [[e for e in who.event_names() if e != "RESET"]
             for who in monitors]
    assert names[0] == ["STOP", "RESUME"] * 9
    assert names[1] == names[0] and names[2] == names[0]
    stamps = [[e["timestamp"] for e in who.events] for who in monitors]
    assert stamps[1] == stamps[0] and stamps[2] == stamps[0]
    for one in others:
        one.close()


def test_second_client_waits_its_turn_and_starts_anew(vms):
    vm, others = three_monitors(vms)
    first = others[0]
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(first.path)
        s.settimeout(0.3)
        with pytest.raises(socket.timeout):
            s.recv(1)
        assert first.cmd("query-status")["running"] is True
        first.close()
        s.settimeout(20)
        second = Qmp(first.path, sock=s, negotiate=False)
        with pytest.raises(QmpError, match="capabilities negotiation"):
            second.cmd("query-status")
        second.cmd("qmp_capabilities")
        assert second.cmd("query-status")["running"] is True
    others[1].close()
    vm.running()


def test_requests_of_a_client_that_left_are_dropped(vms):
    vm, others = three_monitors(vms)
    one = others[0]
    # So many answers that it cannot take them, then requests, then it goes.
    one.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            one.sock.send(b'{"execute":"query-commands"}' * 400 +
                          b'{"execute":"stop"}')
    # Some of these stops were reached, the last ones were not.
    vm.qmp.drain_events(1)
    vm.qmp.cmd("cont")
    vm.qmp.events.clear()
    one.close()
    again = Qmp(one.path)
    vm.qmp.drain_events(0.2)
    assert vm.qmp.event_names() in ([], ["RESUME"])
    assert again.cmd("query-name") == {"name": "test"}
    again.close()
    others[1].close()
    vm.running()


def test_a_client_that_never_reads_costs_no_memory(vms):
    vm, others = three_monitors(vms)
    deaf = others[0]
    rss = procstat.rss_beyond_ram(vm.pid)
    deaf.sock.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 64 << 20:
            sent += deaf.sock.send(b'{"execute":"query-commands"}\n' * 100)
    assert sent < 64 << 20, "all of it was taken"
    for _ in range(3000):
        vm.qmp.cmd("stop")
        vm.qmp.cmd("cont")
    check_growth(rss, procstat.rss_beyond_ram(vm.pid), 12 << 20)
    vm.running()
    deaf.close()
    Qmp(deaf.path).close()
    others[1].close()


def test_pretty_answers_are_indented(vms):
    vm = vms("gap")
    path = vm.path("pretty")
    vm.extra = ["-qmp-pretty", "unix:%s,server=on,wait=off" % path]
    vm.start()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(path)
        s.sendall(b'{"execute":"qmp_capabilities"}{"execute":"query-status"}')
        text = b""
        while text.count(b"\r\n") < 3:
            text += s.recv(4096)
    parts = text.split(b"\r\n")
    assert parts[2].startswith(b'{\n    "return": {\n        "')
    assert json.loads(parts[2])["return"]["running"] is True


# Descriptors.

def send(q, fds, command, **arguments):
    """A request with descriptors; its answer or QmpError."""
    request = json.dumps({"execute": command, "arguments": {
        k.replace("_", "-"): v for k, v in arguments.items()}}).encode()
    if fds:
        socket.send_fds(q.sock, [request], fds)
    else:
        q.sock.sendall(request)
    answer = q.reply()
    if "error" in answer:
        raise QmpError(answer["error"])
    return answer["return"]


def fd_count(vm):
    return len(os.listdir("/proc/%d/fd" % vm.pid))


@pytest.fixture
def two(vms):
    """A VM, another QMP client of it, and a file to pass around."""
    vm, others = three_monitors(vms)
    others[1].close()
    vm.wait_for("the end of the client", lambda: any(
        d["label"] == "m1" and d["filename"].startswith("disconnected:")
        for d in vm.qmp.cmd("query-chardev")))
    with open(vm.path("file"), "w+b") as f:
        yield vm, others[0], f
    others[0].close()


def test_named_descriptors_belong_to_one_monitor(two):
    vm, other, f = two
    before = fd_count(vm)
    with pytest.raises(QmpError, match="No file descriptor supplied via "
                                       "SCM_RIGHTS"):
        send(vm.qmp, [], "getfd", fdname="a")
    assert send(vm.qmp, [f.fileno()], "getfd", fdname="a") == {}
    links = [os.readlink("/proc/%d/fd/%s" % (vm.pid, n))
             for n in os.listdir("/proc/%d/fd" % vm.pid)]
    assert links.count(f.name) == 1
    with pytest.raises(QmpError, match="File descriptor named 'a' not found"):
        send(other, [], "closefd", fdname="a")
    with pytest.raises(QmpError, match="not starting with a digit"):
        send(vm.qmp, [f.fileno()], "getfd", fdname="5")
    assert fd_count(vm) == before + 1
    assert send(vm.qmp, [], "closefd", fdname="a") == {}
    assert fd_count(vm) == before


def test_sets_belong_to_all_monitors(two):
    vm, other, f = two
    before = fd_count(vm)
    made = send(vm.qmp, [f.fileno()], "add-fd", opaque="rdwr:file")
    assert send(other, [f.fileno()], "add-fd",
                fdset_id=made["fdset-id"])["fdset-id"] == made["fdset-id"]
    found = other.cmd("query-fdsets")
    assert len(found) == 1 and found[0]["fdset-id"] == made["fdset-id"]
    assert found[0]["fds"][0] == {"fd": made["fd"], "opaque": "rdwr:file"}
    assert os.readlink("/proc/%d/fd/%d" % (vm.pid, made["fd"])) == f.name
    send(other, [], "remove-fd", fdset_id=made["fdset-id"], fd=made["fd"])
    send(vm.qmp, [], "remove-fd", fdset_id=made["fdset-id"])
    with pytest.raises(QmpError, match="File descriptor named 'fdset-id:%d' "
                                       "not found" % made["fdset-id"]):
        send(vm.qmp, [], "remove-fd", fdset_id=made["fdset-id"])
    assert fd_count(vm) == before


def test_no_descriptor_outlives_its_client(two):
    vm, other, f = two
    before = fd_count(vm)
    path = other.path
    other.close()
    vm.wait_for("the end of the client", lambda: fd_count(vm) == before - 1)
    for _ in range(20):
        q = Qmp(path)
        send(q, [f.fileno()], "getfd", fdname="x")
        send(q, [f.fileno()] * 10, "getfd", fdname="y")
        # Some with no request, and one with half a request.
        socket.send_fds(q.sock, [b" "], [f.fileno()] * 16)
        socket.send_fds(q.sock, [b'{"exec'], [f.fileno()] * 3)
        q.close()
    vm.wait_for("the end of the client", lambda: fd_count(vm) == before - 1)
    # Sets stay as long as there is some client.
    q = Qmp(path)
    send(q, [f.fileno()], "add-fd")
    q.close()
    vm.wait_for("the end of the client", lambda: fd_count(vm) == before)
    vm.qmp.close()
    vm.wait_for("the end of all", lambda: fd_count(vm) == before - 2)
    vm.proc.connect(vm.qmp_path(0))
    assert vm.qmp.cmd("query-fdsets") == []


def test_a_flood_of_descriptors_is_bounded(two):
    vm, other, f = two
    before = fd_count(vm)
    many = array.array("i", [f.fileno()] * 250)
    for _ in range(50):
        other.sock.sendmsg([b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                     many)])
    assert other.cmd("query-status")["running"] is True
    assert fd_count(vm) <= before + 16
    taken = 0
    with pytest.raises(QmpError, match="no more than"):
        while True:
            send(other, [f.fileno()], "getfd", fdname="n%d" % taken)
            taken += 1
    assert taken == 64
    vm.running()
    with contextlib.suppress(QmpClosed):
        other.cmd("query-status")
