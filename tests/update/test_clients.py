# SPDX-License-Identifier: MIT
"""Clients stay connected through cpr-transfer, cpr-exec and cpr-graft."""

import array
import collections
import contextlib
import json
import os
import re
import shutil
import socket
import termios
import threading
import time

import pytest

import procstat
import qmp
from serial_lines import Lines
from vm import Footprint

PROMPT = b"(qemu) "
SUCCESS = ["MIGRATION setup", "STOP", "MIGRATION active", "MIGRATION_PASS",
           "MIGRATION device", "MIGRATION completed", "RESUME"]


def unix(path, timeout=20.0):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(path)
    return s


def qmp_client(path):
    return contextlib.closing(qmp.Qmp(path))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read_until(s, what, count=1):
    text = b""
    while text.count(what) < count:
        data = s.recv(4096)
        assert data, "the connection ended after %r" % text
        text += data
    return text


@pytest.fixture(params=("transfer", "exec", "graft"))
def mode(request):
    return request.param


@pytest.fixture(params=("unix", "tcp"))
def second(request, vms):
    """A guest with a second monitor, and a client of that."""
    vm = vms("gap", append="pattern=16M")
    if request.param == "unix":
        vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("second")]
        vm.start()
        s = unix(vm.path("second"))
    else:
        port = free_port()
        vm.extra = ["-qmp", "tcp:127.0.0.1:%d,server=on,wait=off" % port]
        vm.start()
        s = socket.create_connection(("127.0.0.1", port), 20)
    client = qmp.Qmp.over(s)
    yield vm, client
    client.close()


# Monitors.

def test_half_a_request_goes_on_in_the_next_image(second, mode, loops):
    vm, client = second
    digest = vm.static_hash()
    for i in range(max(loops // 5, 3)):
        # Cut inside a word, inside a string, behind a backslash, in a value.
        text = ("{'execute': 'qom-get-or-not', 'id': \"%d \\\\ \\\"{ ' [\"}\n"
                % i).encode()
        cut = 1 + i * 7 % (len(text) - 2)
        client.send_raw(text[:cut])
        vm.update(mode)
        client.send_raw(text[cut:])
        answer = client.reply()
        assert answer["error"]["class"] == "CommandNotFound", answer
        assert answer["id"] == "%d \\ \"{ ' [" % i
    assert client.cmd("query-status")["running"] is True
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_events_come_once_and_in_order(second):
    vm, client = second
    for who in (vm.qmp, client):
        who.take_events()
    for _ in range(5):
        vm.exec_()
        client.cmd("query-status")
        assert vm.qmp.take_events() == SUCCESS
        assert client.take_events() == SUCCESS
    # Capabilities that were negotiated are not asked for again.
    answer = client.raw('{"execute": "qmp_capabilities"}')
    assert "already complete" in answer["error"]["desc"]


def test_events_of_a_graft_come_once_and_in_order(second):
    vm, client = second
    client.take_events()
    for _ in range(5):
        vm.graft()
        client.cmd("query-status")
        assert client.take_events() == [
            "MIGRATION setup", "MIGRATION active", "MIGRATION_PASS", "STOP",
            "RESUME", "MIGRATION completed"]


def test_reply_to_migrate_comes_before_the_update(second):
    vm, client = second
    client.cmd("migrate-set-parameters", mode="cpr-exec",
               cpr_exec_command=vm.exec_command())
    client.send_raw(json.dumps({
        "execute": "migrate", "id": "go",
        "arguments": {"uri": "file:" + vm.path("vm.state")}}))
    seen = []
    while "RESUME" not in seen:
        message = client.receive()
        seen.append(message.get("event") or message["id"])
    assert seen == ["MIGRATION", "go", "STOP", "MIGRATION", "MIGRATION_PASS",
                    "MIGRATION", "MIGRATION", "RESUME"]


def test_a_client_that_has_not_negotiated_need_not_start_over(second, mode):
    vm, client = second
    path = vm.path("third")
    vm.extra += ["-qmp", "unix:%s,server=on,wait=off" % path]
    vm.update(mode)
    with unix(path) as s:
        third = qmp.Qmp(path, sock=s, negotiate=False)
        vm.update(mode)
        with pytest.raises(qmp.QmpError, match="capabilities negotiation"):
            third.cmd("query-status")
        third.cmd("qmp_capabilities", enable=["oob"])
        vm.update(mode)
        answer = third.raw('{"exec-oob": "query-status"}')
        assert "does not support OOB" in answer["error"]["desc"]
    assert client.cmd("query-status")["running"] is True


def test_requests_during_updates_are_answered_once_each(second, mode, loops):
    """A client that never stops asking, through one update after the other."""
    vm, client = second
    stop = threading.Event()
    asked = []

    def ask():
        while not stop.is_set():
            client.sock.sendall(b"{'execute': 'query-name', 'id': %d}\n" %
                                len(asked))
            asked.append(1)
            if len(asked) % 50 == 0:
                time.sleep(0.001)
        client.sock.sendall(b"{'execute': 'query-name', 'id': 'last'}")

    answers = []

    def listen():
        while not answers or answers[-1].get("id") != "last":
            message = client.receive()
            if "event" not in message:
                answers.append(message)

    threads = [threading.Thread(target=f) for f in (ask, listen)]
    for t in threads:
        t.start()
    try:
        for _ in range(max(loops // 5, 3)):
            vm.update(mode)
            before = len(answers)
            vm.wait_for("answers", lambda: len(answers) > before)
    finally:
        stop.set()
        for t in threads:
            t.join(30)
    assert len(asked) > 100
    assert answers == [{"return": {"name": "test"}, "id": i}
                       for i in list(range(len(asked))) + ["last"]]


def test_answers_that_were_not_read_come_later(second, mode):
    """More than the sockets and the monitor hold, in both directions."""
    vm, client = second
    number = 20000
    text = b"".join(b"{'execute': 'query-version', 'id': %d}\n" % i +
                    (b"{'execute': 'query-qmp-schema'}" if i < 30 else b"")
                    for i in range(number))
    client.sock.setblocking(False)
    sent = 0
    try:
        while sent < len(text):
            sent += client.sock.send(text[sent:])
            time.sleep(0.01)
    except BlockingIOError:
        pass
    else:
        # The buffers of TCP may hold all of it.
        assert client.sock.family == socket.AF_INET
    vm.update(mode)
    vm.update(mode)
    client.sock.setblocking(True)
    rest = threading.Thread(target=client.sock.sendall, args=(text[sent:],))
    rest.start()
    schema = version = None
    for i in range(number):
        answer = client.reply()
        assert answer["id"] == i
        version = version or answer["return"]
        assert answer["return"] == version
        if i < 30:
            answer = client.reply()
            schema = schema or answer["return"]
            assert answer["return"] == schema
    rest.join()
    assert len(schema) > 100


def test_descriptors_that_were_sent_are_still_there(vms, mode, loops):
    vm = vms("gap")
    vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("second")]
    vm.start()
    client = qmp.Qmp(vm.path("second"))

    def send_fd(text, target):
        client.sock.sendmsg(
            [text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                               array.array("i", [target.fileno()]))])
        return client.reply()

    with open(vm.path("given"), "w+b") as given:
        assert send_fd('{"execute": "getfd", "arguments": '
                       '{"fdname": "mine"}}', given) == {"return": {}}
        added = send_fd('{"execute": "add-fd", "arguments": '
                        '{"fdset-id": 7, "opaque": "words"}}', given)
        assert added["return"]["fdset-id"] == 7
        vm.update(mode)
        footprint = Footprint(vm)
        for _ in range(max(loops // 10, 3)):
            vm.update(mode)
        Footprint(vm).check_against(footprint)
        sets = client.cmd("query-fdsets")
        assert len(sets) == 1 and sets[0]["fdset-id"] == 7
        assert sets[0]["fds"][0]["opaque"] == "words"
        mine = [t for t in procstat.fds(vm.pid).values()
                if t == vm.path("given")]
        assert len(mine) == 2
        client.cmd("closefd", fdname="mine")
        client.cmd("remove-fd", {"fdset-id": 7})
        assert vm.path("given") not in procstat.fds(vm.pid).values()
    client.close()


def test_half_a_line_of_the_human_monitor_goes_on(vms, mode):
    vm = vms("gap")
    vm.extra = ["-monitor", "unix:%s,server=on,wait=off" % vm.path("hmp")]
    vm.start()
    with unix(vm.path("hmp")) as s:
        assert b"type 'help'" in read_until(s, PROMPT)
        for _ in range(5):
            s.sendall(b"info sta")
            vm.update(mode)
            s.sendall(b"tus\n")
            assert read_until(s, PROMPT) == \
                b"VM status: running\r\n" + PROMPT
        if mode == "graft":
            return
        # The line that starts an update and waits for it.
        vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
        s.sendall(b"migrate file:%s\ninfo name\n" %
                  vm.path("vm.state").encode())
        assert read_until(s, PROMPT, 2) == PROMPT + b"test\r\n" + PROMPT
    vm.running()


# Consoles.

class Reader(threading.Thread):
    """Judges what the serial guest prints, as it comes."""

    def __init__(self, read):
        super().__init__(daemon=True)
        self.read = read
        self.lines = Lines(first=None)
        self.ended = None
        self.start()

    def run(self):
        try:
            while True:
                data = self.read(65536)
                if not data:
                    self.ended = "end of file"
                    return
                self.lines.feed(data)
        except OSError as e:
            self.ended = str(e)


def check_console(vm, mode, reader, write, loops):
    for i in range(max(loops // 4, 4)):
        seen = reader.lines.count
        write(b"before %d\n" % i)
        vm.update(mode)
        write(b"after %d\n" % i)
        vm.wait_for("lines and echoes", lambda: (
            reader.lines.count > seen + 5 and
            len(reader.lines.echoes) == 2 * i + 2) or reader.ended)
        assert not reader.ended, reader.ended
    assert reader.lines.echoes == [b"%s %d" % (w, n) for n in range(i + 1)
                                   for w in (b"before", b"after")]
    reader.lines.check()
    vm.check_no_errors()
    assert vm.body.rx_overrun == 0


@pytest.mark.parametrize("mode,kind", [
    (m, k) for m in ("transfer", "exec", "graft")
    for k in ("unix", "tcp", "client", "fd")
    if (m, k) != ("transfer", "fd")])  # a number of this process only
def test_console_client_gets_every_byte_once(vms, mode, kind, cpu_load, loops):
    vm = vms("serial", append="every=50000")
    listener = peer = None
    if kind == "unix":
        spec = "unix:%s,server=on,wait=off" % vm.path("console")
    elif kind == "tcp":
        port = free_port()
        spec = "tcp:127.0.0.1:%d,server=on,wait=off" % port
    elif kind == "client":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(vm.path("console"))
        listener.listen(1)
        spec = "unix:" + vm.path("console")
    else:
        peer, inner = socket.socketpair()
        vm.extra = ["-chardev", "socket,id=c,fd=%d" % inner.fileno()]
        spec = "chardev:c"
    vm.serial = lambda generation: spec
    if kind == "fd":
        with inner:
            vm.start(pass_fds=[inner.fileno()])
    else:
        vm.start()
    if kind == "unix":
        peer = unix(vm.path("console"), None)
    elif kind == "tcp":
        peer = socket.create_connection(("127.0.0.1", port))
    elif kind == "client":
        peer = listener.accept()[0]
    try:
        reader = Reader(peer.recv)
        vm.wait_for("lines", lambda: reader.lines.count > 5)
        check_console(vm, mode, reader, peer.sendall, loops)
        if listener:
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
    finally:
        peer.close()
        if listener:
            listener.close()


def pty_path(vm):
    return re.search(r"redirected to (/dev/pts/\d+)", vm.proc.log()).group(1)


def test_pty_stays_the_same_with_its_user(vms, mode, loops):
    vm = vms("serial", append="every=50000")
    vm.serial = lambda generation: "pty"
    vm.start()
    path = pty_path(vm)
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        reader = Reader(lambda n: os.read(fd, n))
        vm.wait_for("lines", lambda: reader.lines.count > 5)
        check_console(vm, mode, reader, lambda text: os.write(fd, text), loops)
        label = [c for c in vm.qmp.cmd("query-chardev")
                 if c["label"] == "serial0"]
        assert label[0]["filename"] == "pty:" + path
        assert sum(p.log().count("redirected") for p in vm.procs) == 1
    finally:
        os.close(fd)


def test_file_is_kept_even_if_it_was_moved(vms, mode):
    vm = vms("serial", append="every=100000")
    vm.serial = lambda generation: "file:" + vm.path("console")
    vm.start()
    os.rename(vm.path("console"), vm.path("console.1"))
    for _ in range(5):
        seen = vm.body.lines
        vm.update(mode)
        vm.wait_for("lines", lambda: vm.body.lines > seen + 5)
    vm.qmp.cmd("stop")
    assert not os.path.exists(vm.path("console"))
    lines = Lines()
    with open(vm.path("console.1"), "rb") as f:
        lines.feed(f.read())
    assert lines.count >= vm.body.lines - 1
    lines.check()


@pytest.mark.parametrize("mode", ("exec", "graft"))
def test_terminal_stays_raw_throughout(vms, mode, loops):
    """Never a moment in which Ctrl-C would be a signal or text be echoed."""
    vm = vms("gap")
    vm.serial = lambda generation: "stdio"
    master, slave = os.openpty()
    cooked = termios.tcgetattr(slave)
    try:
        vm.start(stdin=os.dup(slave), stdout=os.dup(slave))
        bad = []
        stop = threading.Event()

        def watch():
            while not stop.is_set():
                if termios.tcgetattr(slave)[3] & (termios.ICANON |
                                                  termios.ISIG):
                    bad.append(time.monotonic())

        watcher = threading.Thread(target=watch)
        watcher.start()
        for _ in range(max(loops // 10, 3)):
            vm.update(mode)
        stop.set()
        watcher.join()
        assert not bad
        # What it was like before the first image comes back at the end.
        vm.quit()
        assert termios.tcgetattr(slave) == cooked
    finally:
        os.close(master)
        os.close(slave)


# Connecting.

def test_connecting_never_fails_during_updates(vms, mode, loops):
    vm = vms("gap")
    vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("busy")]
    vm.start()
    stop = threading.Event()
    seen = collections.Counter()

    def connect():
        while not stop.is_set():
            try:
                with unix(vm.path("busy")) as s:
                    client = qmp.Qmp.over(s)
                    client.cmd("query-status")
                seen["served"] += 1
            except (OSError, qmp.QmpClosed) as e:
                seen["%s %s" % (type(e).__name__, e)] += 1

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        inode = os.stat(vm.path("busy")).st_ino
        for _ in range(max(loops // 5, 5)):
            vm.update(mode)
            before = seen["served"]
            vm.wait_for("a client", lambda: seen["served"] > before or
                        len(seen) > 1)
        assert os.stat(vm.path("busy")).st_ino == inode
    finally:
        stop.set()
        thread.join(30)
    assert set(seen) == {"served"}, seen


def test_client_in_the_queue_is_served_by_a_later_image(second, mode):
    vm, client = second
    with socket.socket(client.sock.family) as s:
        s.settimeout(20)
        s.connect(client.sock.getpeername())
        s.sendall(b'{"execute": "qmp_capabilities"}')
        vm.update(mode)
        vm.update(mode)
        client.close()
        greeting, answer = read_until(s, b"\n", 2).splitlines()
        assert "QMP" in json.loads(greeting)
        assert answer == b'{"return": {}}'
        vm.running()


def test_reconnecting_after_an_update_works_as_ever(vms, mode):
    vm = vms("gap").start()
    for _ in range(3):
        vm.update(mode)
        vm.proc.connect(vm.qmp_path(vm.generation))
        assert vm.status()["running"] is True
    vm.quit()
    assert not os.path.exists(vm.qmp_path(0))


def test_a_client_that_leaves_is_noticed_after_an_update(second, mode):
    vm, client = second
    vm.update(mode)
    number = len(procstat.fds(vm.pid))
    client.close()
    vm.wait_for("the end of a connection",
                lambda: len(procstat.fds(vm.pid)) == number - 1)


# Another command line.

def test_monitor_that_is_gone_ends_its_connection(vms):
    vm = vms("gap")
    vm.start()
    plain = vm.exec_command()
    vm.exec_(plain + ["-qmp", "unix:%s,server=on,wait=off" %
                      vm.path("second")])
    footprint = Footprint(vm)
    client = qmp.Qmp(vm.path("second"))
    vm.exec_(plain)
    client.wait_eof()
    client.close()
    with pytest.raises(OSError):
        unix(vm.path("second"))
    assert Footprint(vm).fds < footprint.fds


def test_monitor_at_another_address_keeps_its_client(vms):
    vm = vms("gap")
    vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("here")]
    vm.start()
    client = qmp.Qmp(vm.path("here"))
    vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("there")]
    vm.exec_()
    assert client.cmd("query-status")["running"] is True
    client.close()
    client = qmp.Qmp(vm.path("there"))
    assert client.cmd("query-status")["running"] is True
    client.close()
    with pytest.raises(ConnectionRefusedError):
        unix(vm.path("here"))


def test_other_kind_of_monitor_starts_anew(vms):
    vm = vms("gap")
    vm.extra = ["-chardev", "socket,id=m,path=%s,server=on,wait=off" %
                vm.path("m"), "-mon", "m,mode=control"]
    vm.start()
    client = qmp.Qmp(vm.path("m"))
    vm.extra[3] = "m,mode=readline"
    vm.exec_()
    client.wait_eof()
    client.close()
    with unix(vm.path("m")) as s:
        assert b"type 'help'" in read_until(s, PROMPT)


# From one process to another.

MOVED = SUCCESS[:5] + ["RESUME", "MIGRATION completed"]


def transfer_attempt(vm, extra=()):
    """Returns how the old process saw it, and the new process."""
    generation, new = vm.spawn_incoming(extra)
    vm.migrate_to(generation)
    return vm.wait_migrate(), generation, new


def test_events_of_a_transfer_come_once_and_in_order(second):
    vm, client = second
    client.take_events()
    for _ in range(5):
        stays = vm.qmp
        stays.take_events()
        vm.transfer()
        client.cmd("query-status")
        assert client.take_events() == MOVED
        assert client.cmd("query-migrate")["status"] == "completed"
        assert stays.take_events()[:6] == MOVED[:5] + MOVED[6:]


def test_monitor_at_another_address_stays_with_the_old_process(vms):
    """Where whoever started the update waits for its end."""
    vm = vms("gap")
    vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("here")]
    vm.start()
    old = vm.proc
    with qmp_client(vm.path("here")) as client:
        vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("there")]
        answer, generation, new = transfer_attempt(vm)
        assert answer["status"] == "completed"
        assert client.cmd("query-status")["status"] == "postmigrate"
        client.cmd("query-migrate")
        assert client.take_events()[-1] == "MIGRATION completed"
        vm.adopt(generation, new)
        with qmp_client(vm.path("there")) as other:
            assert other.cmd("query-status")["running"] is True
        client.cmd("quit")
    assert old.wait() == 0
    assert not os.path.exists(vm.path("here"))


def test_old_process_without_a_monitor_ends_by_itself(vms):
    vm = vms("gap")
    vm.qmp_path = lambda generation: vm.path("qmp")
    vm.start()
    client, old = vm.qmp, vm.proc
    for _ in range(3):
        client.take_events()
        generation, new = vm.spawn_incoming()
        vm.migrate_to(generation)
        client.wait_event("MIGRATION", status="completed")
        assert old.wait() == 0
        new.qmp, old.qmp = client, None
        vm.proc = old = new
        assert client.cmd("query-migrate")["status"] == "completed"
        vm.running()
    vm.quit()
    assert not os.path.exists(vm.path("qmp"))


@pytest.mark.parametrize("why", (
    ["-smp", "2"], ["-debug", "handover=load:fail"],
    ["-debug", "handover=load:kill"]))
def test_client_stays_if_the_new_process_fails(second, why):
    vm, client = second
    footprint = Footprint(vm)
    for i in range(3):
        client.take_events()
        client.send_raw("{'execute': 'query-")
        answer, _, new = transfer_attempt(vm, why)
        assert answer["status"] == "failed"
        new.wait()
        client.send_raw("name', 'id': %d}" % i)
        assert client.reply() == {"return": {"name": "test"}, "id": i}
        assert "MIGRATION failed" in client.take_events()
    Footprint(vm).check_against(footprint)
    # Nobody has taken its place, nor removed it.
    path = client.sock.getpeername()
    client.close()
    with socket.socket(client.sock.family) as s:
        s.connect(path)
        s.settimeout(20)
        assert b"QMP" in s.recv(1000)
    vm.transfer()
    vm.running()
    vm.check_no_errors()


@pytest.mark.parametrize("fault", ("kill", "stop", "fail"))
def test_clients_connect_again_if_the_old_process_breaks_last(vms, fault):
    """The guest is the new one's by then; it listens where the old one did."""
    vm = vms("serial", append="every=50000")
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(20)
    listener.bind(vm.path("console"))
    listener.listen(1)
    vm.serial = lambda generation: "unix:" + vm.path("console")
    vm.extra = ["-qmp", "unix:%s,server=on,wait=off" % vm.path("second")]
    vm.start(extra=["-debug", "handover=give:" + fault])
    peer = listener.accept()[0]
    client = qmp.Qmp(vm.path("second"))
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    new.connect(vm.qmp_path(generation), events=False)
    assert vm.wait_loaded(new)["status"] == "completed"
    if fault == "stop":
        vm.proc.kill()
    client.wait_eof()
    client.close()
    while peer.recv(65536):
        pass
    peer.close()
    vm.adopt(generation, new)
    with qmp_client(vm.path("second")) as again:
        assert again.cmd("query-status")["running"] is True
    peer = listener.accept()[0]
    reader = Reader(peer.recv)
    vm.wait_for("lines", lambda: reader.lines.count > 5)
    vm.check_no_errors()
    peer.close()
    listener.close()
    assert "have to connect again" in new.log()


def test_new_process_that_takes_no_clients_leaves_them(second):
    """As one of an earlier release; its own addresses are others then."""
    vm, client = second
    del vm.extra[:]
    answer, generation, new = transfer_attempt(vm)
    assert answer["status"] == "completed"
    assert client.cmd("query-status")["status"] == "postmigrate"
    old = vm.proc
    vm.adopt(generation, new)
    client.cmd("quit")
    assert old.wait() == 0


# Failure.

def test_client_stays_with_an_image_that_falls_back(second):
    vm, client = second
    footprint = None
    for i in range(5):
        client.take_events()
        client.send_raw("{'execute': 'query-")
        vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command()
                          + ["-debug", "handover=load:" + (
                              "crash" if i == 2 else "fail")])
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
        assert vm.wait_migrate()["status"] == "failed"
        client.send_raw("name', 'id': %d}" % i)
        assert client.reply() == {"return": {"name": "test"}, "id": i}
        # The old image has loaded its own state again, and says so.
        assert client.take_events() == SUCCESS[:-1] + [
            "MIGRATION setup", "MIGRATION active", "RESUME",
            "MIGRATION failed"]
        vm.running()
        if footprint:
            Footprint(vm).check_against(footprint)
        footprint = Footprint(vm)
    vm.exec_()
    assert client.cmd("query-status")["running"] is True
    vm.check_no_errors()


@pytest.mark.parametrize("why", (
    ["-smp", "2"], ["-qmp", "unix:/nonexistent/dir/x,server=on,wait=off"],
    ["-debug", "handover=load:fail"], ["-debug", "handover=load:kill"]))
def test_client_stays_with_an_image_that_is_not_replaced(second, why):
    """A graft that fails before the new image has the connections, or after."""
    vm, client = second
    stopped = why[0] == "-debug"
    footprint = Footprint(vm)
    for i in range(5):
        client.take_events()
        client.send_raw("{'execute': 'query-")
        vm.set_parameters(mode="cpr-graft", cpr_exec_command=(
            vm.graft_command() + why))
        vm.qmp.cmd("migrate")
        assert vm.wait_migrate()["status"] == "failed"
        client.send_raw("name', 'id': %d}" % i)
        assert client.reply() == {"return": {"name": "test"}, "id": i}
        assert client.take_events() == [
            "MIGRATION setup", "MIGRATION active", "MIGRATION_PASS"
        ] + ["STOP"] * stopped + ["MIGRATION failing"] + [
            "RESUME"] * stopped + ["MIGRATION failed"]
    Footprint(vm).check_against(footprint)
    vm.graft()
    assert client.cmd("query-status")["running"] is True
    vm.check_no_errors()


def test_console_client_loses_nothing_in_a_fallback(vms, cpu_load):
    vm = vms("serial", append="every=50000")
    vm.serial = lambda generation: "unix:%s,server=on,wait=off" % vm.path("c")
    vm.start()
    with unix(vm.path("c"), None) as s:
        reader = Reader(s.recv)
        for i in range(5):
            seen = reader.lines.count
            s.sendall(b"half a ")
            vm.set_parameters(mode="cpr-exec",
                              cpr_exec_command=vm.exec_command() +
                              ["-smp", "2"])
            vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
            assert vm.wait_migrate()["status"] == "failed"
            s.sendall(b"line %d\n" % i)
            vm.wait_for("lines", lambda: reader.ended or (
                reader.lines.count > seen + 5 and
                len(reader.lines.echoes) == i + 1))
        assert not reader.ended
        assert reader.lines.echoes == [b"half a line %d" % n
                                       for n in range(5)]
        reader.lines.check()
    vm.check_no_errors()


def test_client_goes_along_to_an_image_that_waits(second):
    """And then on to the guest, which this client has loaded."""
    vm, client = second
    footprint = Footprint(vm)
    for i in range(3):
        client.send_raw("{'execute': 'query-")
        vm.qmp.cmd("cprsave", file=vm.path("saved"), mode="restart")
        vm.wait_waiting()
        client.send_raw("status'}")
        assert client.reply()["return"]["status"] == "inmigrate"
        if i == 2:
            # Nobody holds the connection of a client that has gone.
            client.sock.shutdown(socket.SHUT_WR)
            client.wait_eof()
            client = vm.qmp
        client.cmd("cprload", file=vm.path("saved"))
        assert vm.wait_loaded(vm.proc)["status"] == "completed"
        vm.running()
    vm.check_no_errors()
    assert sum(Footprint(vm).fds.values()) == \
        sum(footprint.fds.values()) - 1


def test_more_descriptors_than_can_go_along_are_refused(vms):
    """By a sentence, before the guest is stopped."""
    vm = vms("gap")
    for i in range(7):
        vm.extra += ["-qmp", "unix:%s,server=on,wait=off" %
                     vm.path("m%d" % i)]
    vm.start()
    clients = [vm.qmp] + [qmp.Qmp(vm.path("m%d" % i)) for i in range(7)]
    with open(vm.path("given"), "w+b") as given:
        for client in clients:
            for i in range(64):
                client.sock.sendmsg(
                    [b"{'execute': 'getfd', 'arguments': "
                     b"{'fdname': 'n%d'}}" % i],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                      array.array("i", [given.fileno()]))])
                assert client.reply() == {"return": {}}
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
    with pytest.raises(qmp.QmpError, match="more than 512 descriptors"):
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    assert "STOP" not in vm.qmp.event_names()
    clients[0].cmd("closefd", fdname="n0")
    clients.pop().close()
    vm.exec_()
    for client in clients:
        client.cmd("closefd", fdname="n63")
        client.close()
    vm.running()


def test_client_stays_if_exec_itself_fails(second):
    vm, client = second
    footprint = Footprint(vm)
    client.send_raw("{'execute': 'query-")
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=[vm.program_for_a_trial_only()] +
                      vm.exec_command()[1:])
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    assert vm.wait_migrate()["status"] == "failed"
    client.send_raw("name'}")
    assert client.reply() == {"return": {"name": "test"}}
    Footprint(vm).check_against(footprint)
    vm.exec_()
    assert client.cmd("query-status")["running"] is True


def test_nothing_leaks_in_many_updates(second, mode, loops):
    vm, client = second
    vm.update(mode)
    footprint = Footprint(vm)
    for _ in range(max(loops // 2, 5)):
        client.send_raw("{'execute': 'query-name'}{'execute'")
        vm.update(mode)
        client.send_raw(": 'query-name'}")
        client.reply()
        client.reply()
    Footprint(vm).check_against(footprint)


def test_release_without_this_ends_connections_as_before(vms):
    """It would find its own addresses taken by what it was given."""
    vm = vms("gap")
    program = vm.path("earlier")
    shutil.copy(os.path.realpath(vm.program), program)
    with open(program, "r+b") as f:
        data = f.read()
        mark = b"baton: knows extras"
        assert data.count(mark) == 1
        f.seek(data.index(mark))
        f.write(b"x" * len(mark))
    vm.extra = ["-monitor", "unix:%s,server=on,wait=off" % vm.path("hmp")]
    vm.start()
    with unix(vm.path("hmp")) as s:
        read_until(s, PROMPT)
        old = vm.qmp
        vm.exec_(vm.exec_command(program))
        assert vm.qmp is not old
        assert s.recv(100) == b""
    with unix(vm.path("hmp")) as s:
        read_until(s, PROMPT)
        # A script may start any program, so the clients go along.
        script = vm.path("script")
        with open(script, "w") as f:
            f.write('#!/bin/sh\nexec %s "$@"\n' % os.path.realpath(vm.program))
        os.chmod(script, 0o755)
        s.sendall(b"info na")
        old = vm.qmp
        vm.exec_(vm.exec_command(script))
        assert vm.qmp is old
        s.sendall(b"me\n")
        assert read_until(s, PROMPT) == b"test\r\n" + PROMPT
