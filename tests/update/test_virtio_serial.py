# SPDX-License-Identifier: MIT
"""Ports of virtio-serial lose and double nothing, and their clients stay connected."""

import contextlib
import re
import socket
import threading
import time

import pytest

import abi
import qmp
from serial_lines import Lines
from vm import Footprint

MODES = ("transfer", "exec", "graft")


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def machine(vms, ports=2, append="every=100000", console=False, **kwargs):
    """A guest with so many ports, number n with the socket cN of the machine."""
    vm = vms("ports", append=append, mem="64M", **kwargs)
    vm.extra += ["-device", "virtio-serial-pci,id=vs0"]
    for n in range(0 if console else 1, ports + 1):
        vm.extra += ["-chardev", "socket,id=c%d,path=%s,server=on,wait=off" %
                     (n, vm.path("c%d" % n)),
                     "-device", "%s,bus=vs0.0,nr=%d,id=p%d,chardev=c%d%s" % (
                         "virtserialport" if n else "virtconsole", n, n, n,
                         ",name=org.test.%d" % n if n else "")]
    return vm


class Client:
    """Connected to a port; judges what the guest prints, as it comes."""

    def __init__(self, vm, number, first=None, read=True):
        self.vm, self.number = vm, number
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(vm.path("c%d" % number))
        self.lines = Lines(first)
        self.ended = None
        self.thread = None
        if read:
            self.read()

    def read(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while True:
                data = self.socket.recv(65536)
                if not data:
                    self.ended = "end of file"
                    return
                self.lines.feed(data)
        except OSError as e:
            self.ended = str(e)

    def send(self, data):
        self.socket.sendall(data)

    def wait(self, lines=0, echoes=None):
        """For so many further lines, and so many echoes in all."""
        lines += self.lines.count
        self.vm.wait_for("lines and echoes of port %d" % self.number, lambda: (
            self.lines.count >= lines and
            (echoes is None or len(self.lines.echoes) >= echoes)) or self.ended)
        assert not self.ended, self.ended

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        if self.thread:
            self.thread.join(20)
        self.socket.close()


@pytest.fixture
def clients():
    """Factory of clients; all are closed when the test ends."""
    made = []

    def make(*args, **kwargs):
        made.append(Client(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


def port(vm, number):
    return vm.body.port[number]


def check(vm):
    vm.check_no_errors()
    assert vm.body.broken == 0
    assert vm.body.unknown == 0


def changes(monitor):
    """The events of ports since the last look: (id, open)."""
    monitor.cmd("query-status")
    seen = [(e["data"]["id"], e["data"]["open"]) for e in monitor.events
            if e["event"] == "VSERPORT_CHANGE"]
    monitor.events.clear()
    return seen


# Bytes.

def test_no_byte_is_lost_or_doubled_under_load(vms, clients, mode, cpu_load,
                                               loops):
    """Numbered lines out and in on two ports, cut anywhere, through many updates."""
    vm = machine(vms).start()
    all_ = [clients(vm, n, first=0) for n in (1, 2)]
    footprint = None
    rounds = max(loops // 4, 4)
    for i in range(rounds):
        for c in all_:
            c.send(b"before %d\nhalf a" % i)
        vm.update(mode)
        for c in all_:
            c.send(b" line %d\n" % i)
            c.wait(lines=5, echoes=2 * i + 2)
        if i == 1:
            footprint = Footprint(vm)
    for c in all_:
        assert c.lines.echoes == [w % n for n in range(rounds) for w in
                                  (b"before %d", b"half a line %d")]
        c.lines.check()
        assert port(vm, c.number).opened == 1
        assert port(vm, c.number).closed == 0
        assert port(vm, c.number).added == 1
    check(vm)
    Footprint(vm).check_against(footprint)


def test_all_modes_in_turn_with_a_console_beside(vms, clients, cpu_load, loops):
    vm = machine(vms, console=True).start()
    vm.wait_for("all ports", lambda: port(vm, 2).host_open == 0 and
                port(vm, 2).name_bytes)
    assert port(vm, 0).console == 1 and port(vm, 1).console == 0
    all_ = [clients(vm, n) for n in (0, 1, 2)]
    for i in range(max(loops // 2, 6)):
        vm.update(MODES[i % 3])
        for c in all_:
            c.send(b"%d\n" % i)
            c.wait(lines=5, echoes=i + 1)
    for c in all_:
        assert c.lines.echoes == [b"%d" % n for n in range(i + 1)]
        c.lines.check()
    check(vm)


def stands(vm, number):
    """The guest can print no more there."""
    before = port(vm, number).lines
    time.sleep(0.05)
    return port(vm, number).lines == before > 100


def test_what_a_client_does_not_read_waits(vms, clients, mode, loops):
    """The host takes a part of a buffer only; the rest follows after the update."""
    vm = machine(vms, append="every=2000").start()
    slow = clients(vm, 1, first=0, read=False)
    fast = clients(vm, 2, first=0)

    for i in range(max(loops // 10, 3)):
        vm.wait_for("a full socket", lambda: stands(vm, 1))
        vm.update(mode)
        fast.wait(lines=50)
        # Some of it, so that the end is somewhere else in the buffer.
        slow.lines.feed(slow.socket.recv(1000 + i))
    slow.read()
    slow.wait(lines=1000)
    for c in (slow, fast):
        c.lines.check()
    assert port(vm, 1).opened == 1 and port(vm, 1).closed == 0
    check(vm)


def test_what_the_guest_does_not_take_waits(vms, clients, mode, loops):
    """Nobody has opened the port in the guest: bytes stay in the socket."""
    vm = machine(vms, append="every=100000 closed=1 rx=7").start()
    c = clients(vm, 1)
    for i in range(5):
        c.send(b"line %d\nand half " % i)
        vm.update(mode)
        c.send(b"a line %d\n" % i)
    assert port(vm, 1).rx_bytes == 0
    vm.request(abi.CONST["ABI_REQUEST_OPEN_PORT"] + 1)
    c.wait(lines=5, echoes=10)
    assert c.lines.echoes == [w % n for n in range(5) for w in
                              (b"line %d", b"and half a line %d")]
    c.lines.check()
    check(vm)


def test_bytes_in_the_rings_survive_a_save_and_a_load(vms, clients):
    vm = machine(vms, append="every=2000").start()
    c = clients(vm, 1, first=0, read=False)
    for i in range(3):
        vm.wait_for("a full socket", lambda: stands(vm, 1))
        state = "file:" + vm.path("state%d" % i)
        vm.save(state)
        seen = c.lines
        # All that is in the socket, then the process goes.
        c.socket.settimeout(0.2)
        with contextlib.suppress(socket.timeout):
            while True:
                seen.feed(c.socket.recv(65536))
        c.close()
        vm.qmp.cmd("quit")
        vm.proc.wait()
        generation, new = vm.spawn_deferred()
        # Before the guest goes on, so that it does not find nobody there.
        c = clients(vm, 1, read=False)
        c.lines = seen
        new.qmp.cmd("migrate-incoming", uri=state)
        vm.adopt_loaded(generation, new)
    c.read()
    c.wait(lines=100)
    c.lines.check()
    check(vm)


# Who is there.

def test_guest_hears_who_comes_and_goes(vms, clients, mode):
    vm = machine(vms).start()
    for i in range(3):
        c = clients(vm, 1)
        vm.wait_for("the host to open", lambda: port(vm, 1).host_open == 1)
        vm.update(mode)
        c.wait(lines=3)
        c.close()
        vm.wait_for("the host to close", lambda: port(vm, 1).host_open == 0)
        vm.update(mode)
        assert port(vm, 1).opened == i + 1 and port(vm, 1).closed == i + 1
    assert port(vm, 2).opened == 0
    check(vm)


def test_client_that_goes_while_the_guest_stands_still(vms, clients, mode):
    vm = machine(vms).start()
    c = clients(vm, 1)
    c.wait(lines=3)
    vm.qmp.cmd("stop")
    vm.update(mode)
    c.close()
    time.sleep(0.1)
    assert port(vm, 1).closed == 0
    vm.qmp.cmd("cont")
    vm.wait_for("the host to close", lambda: port(vm, 1).closed == 1)
    check(vm)


def test_operators_hear_what_the_guest_opens_once(vms, mode):
    vm = machine(vms, append="closed=1")
    # A monitor that follows the guest.
    vm.extra += ["-qmp", "unix:%s,server=on,wait=off" % vm.path("events")]
    vm.start()
    with contextlib.closing(qmp.Qmp(vm.path("events"))) as events:
        for _ in range(2):
            vm.request(abi.CONST["ABI_REQUEST_OPEN_PORT"] + 1)
            events.wait_event("VSERPORT_CHANGE", id="p1", open=True)
            vm.update(mode)
            assert changes(events) == []
            # One that comes just before an update is heard of after it at the latest.
            vm.request(abi.CONST["ABI_REQUEST_CLOSE_PORT"] + 1)
            vm.update(mode)
            events.wait_event("VSERPORT_CHANGE", id="p1", open=False)
            vm.update(mode)
            assert changes(events) == []
    check(vm)


def test_port_is_found_by_its_name(vms, mode):
    vm = vms("ports", mem="64M", extra=[
        "-device", "virtio-serial", "-chardev", "null,id=n", "-device",
        "virtserialport,chardev=n,name=org.qemu.guest_agent.0"]).start()
    for again in (False, True):
        if again:
            vm.update(mode)
            vm.request(abi.CONST["ABI_REQUEST_RESET_PORTS"])
        vm.wait_for("the port", lambda: port(vm, 1).added == 1 + again)
        vm.wait_for("its name", lambda: port(vm, 1).name_bytes)
        name = b"".join(w.to_bytes(8, "little") for w in port(vm, 1).name)
        assert name.rstrip(b"\0") == b"org.qemu.guest_agent.0"
    assert vm.body.max_ports == 16
    check(vm)


def test_device_is_reset_by_guest_and_operator(vms, clients, mode):
    vm = machine(vms).start()
    c = clients(vm, 1)
    for i in range(3):
        c.wait(lines=3)
        vm.request(abi.CONST["ABI_REQUEST_RESET_PORTS"])
        vm.update(mode)
        vm.wait_for("the port again", lambda: port(vm, 1).added == i + 2)
        vm.wait_for("the host", lambda: port(vm, 1).opened == i + 2)
    c.wait(lines=3)
    vm.qmp.cmd("system_reset")
    vm.wait_for("another start", lambda: vm.head.boots == 2 and vm.page.ready)
    vm.update(mode)
    vm.wait_for("the host", lambda: port(vm, 1).opened == 1)
    check(vm)


# What a driver may do.

def test_messages_that_mean_nothing_do_no_harm(vms, clients, mode):
    vm = machine(vms, console=True).start()
    c = clients(vm, 1)
    for i in range(3):
        vm.request(abi.CONST["ABI_REQUEST_BAD_MESSAGES"])
        vm.update(mode)
        c.send(b"%d\n" % i)
        c.wait(lines=5, echoes=i + 1)
    assert port(vm, 1).added == 1 and port(vm, 1).opened == 1
    c.lines.check()
    check(vm)


def test_port_that_is_not_there_takes_bytes(vms):
    """As a line that nobody is at."""
    vm = vms("ports", mem="64M", extra=["-device", "virtio-serial-pci"])
    vm.start()
    vm.running()
    check(vm)


# Ports that come and go.

def plug(vm, number=3):
    vm.qmp.cmd("device_add", {
        "driver": "virtserialport", "id": "new", "bus": "vs0.0",
        "nr": number, "name": "org.test.new", "chardev": "spare"})


def unplug(vm):
    vm.qmp.cmd("device_del", id="new")
    vm.qmp.wait_event("DEVICE_DELETED", device="new")


def test_port_comes_and_goes_while_the_guest_runs(vms, clients, mode):
    vm = machine(vms)
    vm.extra += ["-chardev", "socket,id=spare,path=%s,server=on,wait=off" %
                 vm.path("c3")]
    vm.start()
    for i in range(3):
        plug(vm)
        c = clients(vm, 3)
        vm.wait_for("the port", lambda: port(vm, 3).added == i + 1)
        c.send(b"half ")
        # The next command line knows nothing of it.
        vm.update(mode)
        c.send(b"a line\n")
        c.wait(lines=5, echoes=1)
        assert c.lines.echoes == [b"half a line"]
        c.lines.check()
        with pytest.raises(qmp.QmpError, match="in use|used by"):
            vm.qmp.cmd("device_add", driver="virtconsole", chardev="spare")
        unplug(vm)
        vm.wait_for("its end", lambda: port(vm, 3).removed == i + 1)
        c.close()
        vm.update(mode)
    check(vm)


def test_port_that_went_just_before_an_update_is_gone(vms, clients, mode):
    vm = machine(vms, extra=["-chardev", "null,id=spare"]).start()
    for i in range(3):
        plug(vm)
        vm.update(mode)
        vm.wait_for("the port", lambda: port(vm, 3).added == i + 1)
        unplug(vm)
        vm.update(mode)
        vm.wait_for("its end", lambda: port(vm, 3).removed == i + 1)
    check(vm)


def test_device_goes_after_its_ports(vms):
    vm = vms("ports", mem="64M", extra=[
        "-device", "pcie-root-port,id=rp", "-device",
        "virtio-serial-pci,id=vs0,bus=rp", "-chardev", "null,id=spare"])
    vm.start(extra=["-S"], wait_ready=False)
    plug(vm)
    with pytest.raises(qmp.QmpError, match="'vs0' has device 'new' on its"):
        vm.qmp.cmd("device_del", id="vs0")
    unplug(vm)
    # Before the guest has run nobody is asked.
    vm.qmp.cmd("device_del", id="vs0")
    vm.qmp.wait_event("DEVICE_DELETED", device="vs0")
    with pytest.raises(qmp.QmpError, match="vs0.0"):
        plug(vm)
    vm.qmp.cmd("device_add", driver="virtio-serial-pci", id="vs0", bus="rp")
    plug(vm, 5)
    vm.qmp.cmd("cont")
    vm.wait_ready()
    vm.update("exec")
    vm.running()


# Another command line.

def test_ports_have_to_be_the_same(vms):
    vm = machine(vms).start()
    plain = vm.extra
    for extra, text in (
            (plain + ["-device", "virtserialport,id=more"], "'more'"),
            ([w.replace("nr=2", "nr=3") for w in plain], "'nr' is 2 there"),
            ([w.replace("org.test.2", "other") for w in plain], "'name'"),
            ([w.replace("id=vs0", "id=vs0,max_ports=4") for w in plain],
             "'max_ports'")):
        vm.extra = extra
        vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
        vm.extra = plain
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
        answer = vm.wait_migrate()
        assert answer["status"] == "failed"
        assert re.search(text, answer["error-desc"]), answer
        vm.running()
    vm.exec_()
    check(vm)
