# SPDX-License-Identifier: MIT
"""Character devices: each back end carries a console or a monitor."""

import json
import os
import socket
import subprocess
import time
import tty

import pytest

import vm as harness
from qmp import Qmp, QmpError
from serial_lines import Lines


def serial_vm(vms, *extra, serial="chardev:con", append=""):
    vm = vms("serial", append=append, extra=extra)
    vm.serial = lambda generation: serial
    return vm


def devices(vm):
    return {d["label"]: d for d in vm.qmp.cmd("query-chardev")}


def read_lines(vm, read, count, lines=None, timeout=20.0):
    """Feeds what read() gives until so many lines were seen."""
    lines = lines or Lines(first=None)
    end = time.monotonic() + timeout
    while lines.count < count:
        assert time.monotonic() < end, vm.proc.log()
        lines.feed(read())
    lines.check()
    return lines


def listener(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(4)
    s.settimeout(20)
    return s


def test_console_goes_to_a_file(vms):
    vm = serial_vm(vms)
    path = vm.path("a,b")
    vm.extra = ["-chardev", "file,id=con,path=" + path.replace(",", ",,")]
    vm.start()
    with open(path, "rb") as f:
        read_lines(vm, f.read, 50)
    assert devices(vm)["con"] == {"label": "con", "filename": "file:" + path,
                                  "frontend-open": True}


def test_console_on_a_pseudo_terminal(vms):
    vm = serial_vm(vms, "-chardev", "pty,id=con",
                   append="every=20000000").start()
    name = devices(vm)["con"]["filename"]
    # Nobody has it open: the guest prints on and is not held up.
    assert name.startswith("disconnected:pty:/dev/pts/")
    path = name.split(":", 2)[2]
    assert "redirected to %s (label con)" % path in vm.proc.log()
    vm.running()
    for _ in range(2):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(fd)
            lines = read_lines(vm, lambda: os.read(fd, 4096), 20)
            os.write(fd, b"hello\n")
            while not lines.echoes:
                lines.feed(os.read(fd, 4096))
            assert lines.echoes == [b"hello"]
            assert devices(vm)["con"]["filename"] == "pty:" + path
        finally:
            os.close(fd)
        vm.wait_for("the end of the pty's user", lambda: devices(vm)["con"][
            "filename"].startswith("disconnected:"))
    vm.running()
    vm.check_no_errors()


def test_client_connects_when_the_server_comes_and_again(vms):
    vm = serial_vm(vms)
    path = vm.path("server")
    vm.extra = ["-chardev", "socket,id=con,path=%s,reconnect-ms=50" % path]
    vm.start()
    vm.running()
    assert devices(vm)["con"]["filename"] == "disconnected:unix:" + path
    assert vm.proc.log().count("Failed to connect") == 1
    for _ in range(3):
        with listener(path) as server:
            peer = server.accept()[0]
            peer.settimeout(20)
            with peer:
                read_lines(vm, lambda: peer.recv(4096), 10)
        os.unlink(path)
    vm.running()


def test_client_without_reconnect_needs_its_server(vms):
    vm = serial_vm(vms)
    path = vm.path("server")
    vm.extra = ["-chardev", "socket,id=con,path=" + path]
    vm.spawn()
    assert vm.procs[0].wait() == 1
    assert "Failed to connect to '%s'" % path in vm.procs[0].log()


def test_client_of_an_incoming_process_waits_for_its_server(vms):
    """As a test harness does, which listens only when it has seen the end."""
    vm = vms("gap")
    path = vm.path("late")
    vm.extra = ["-chardev", "socket,id=m,path=" + path,
                "-mon", "m,mode=control"]
    _, proc = vm.spawn(["-incoming", "defer"])
    proc.connect(vm.qmp_path(0))
    # It is up, though nobody listens yet.
    assert proc.qmp.cmd("query-status")["status"] == "inmigrate"
    with listener(path) as server:
        peer = server.accept()[0]
        with peer:
            peer.settimeout(20)
            assert Qmp.over(peer).cmd("query-status")["status"] == "inmigrate"


def test_tcp_server_on_any_port(vms):
    vm = serial_vm(vms, "-chardev",
                   "socket,id=con,host=127.0.0.1,port=0,server=on,wait=off")
    vm.start()
    name = devices(vm)["con"]["filename"]
    assert name.startswith("disconnected:tcp:127.0.0.1:")
    port = int(name.split(":")[3].split(",")[0])
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        read_lines(vm, lambda: s.recv(4096), 10)


def test_abstract_name(vms):
    vm = serial_vm(vms)
    name = vm.path("name")
    vm.extra = ["-chardev", "socket,id=con,path=%s,abstract=on,server=on,"
                "wait=off" % name]
    vm.start()
    assert not os.path.exists(name)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect("\0" + name)
        read_lines(vm, lambda: s.recv(4096), 10)


def test_inherited_socket(vms):
    vm = vms("gap")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        argv = [vm.program] + vm.args(0, [
            "-chardev", "socket,id=m,fd=%d" % theirs.fileno(),
            "-mon", "chardev=m,mode=control"])
        popen = subprocess.Popen(argv, close_fds=False,
                                 stdin=subprocess.DEVNULL)
        try:
            theirs.close()
            ours.settimeout(20)
            client = Qmp.over(ours)
            assert client.cmd("query-status")["running"] is True
            client.cmd("quit")
            assert popen.wait(20) == 0
        finally:
            popen.kill()
            popen.wait()


def test_wait_on_waits_for_the_first_client(vms):
    vm = vms("gap")
    path = vm.path("first")
    vm.extra = ["-chardev", "socket,id=m,path=%s,server=on" % path,
                "-mon", "m,mode=control,pretty=on"]
    _, proc = vm.spawn()
    client = None
    end = time.monotonic() + 20
    with socket.socket(socket.AF_UNIX) as s:
        while client is None:
            assert proc.alive() and time.monotonic() < end, proc.log()
            try:
                s.connect(path)
                client = s
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.01)
        s.settimeout(20)
        text = b""
        while text.count(b"\r\n") < 1:
            text += s.recv(4096)
    # One object, on several lines.
    assert text.count(b"\n") > 5
    assert json.loads(text)["QMP"]["capabilities"] == ["oob"]
    assert "waiting for a connection on unix:" in proc.log()


def test_all_devices_are_listed(vms):
    vm = vms("gap", extra=["-chardev", "null,id=spare",
                           "-chardev", "null,id=m0", "-mon", "m0",
                           "-monitor", "null"]).start()
    found = devices(vm)
    assert sorted(found) == ["compat_monitor0", "compat_monitor1", "m0",
                             "serial0", "spare"]
    assert found["compat_monitor0"]["filename"] == \
        "unix:%s,server=on" % vm.qmp_path(0)
    assert found["spare"] == {"label": "spare", "filename": "null",
                              "frontend-open": False}
    assert found["m0"]["frontend-open"] is True


@pytest.mark.parametrize("args, words", (
    (["-chardev", "null,id=a", "-chardev", "null,id=a"], "Duplicate ID 'a'"),
    (["-chardev", "null,id=serial0"], "Duplicate ID 'serial0'"),
    (["-chardev", "null,id=a", "-mon", "a", "-mon", "a,mode=control"],
     "Device 'a' is in use"),
    (["-chardev", "null,id=a", "-monitor", "chardev:a", "-qmp", "chardev:a"],
     "Device 'a' is in use"),
    (["-mon", "nope"], 'chardev "nope" not found'),
    (["-monitor", "chardev:nope"], 'chardev "nope" not found'),
    (["-chardev", "stdio,id=a", "-monitor", "stdio"],
     "cannot use stdio by multiple character devices"),
    (["-chardev", "frob,id=a"], "'frob' is not a valid char driver name"),
    (["-chardev", "null"], "no id specified"),
    (["-chardev", "null,id=a,mux=on"], "Invalid parameter 'mux'"),
    (["-chardev", "socket,id=a,host=no.such.host.invalid,port=1"],
     "no.such.host.invalid"),
    (["-mon", "mode=control"], "Parameter 'chardev' is missing"),
), ids=lambda v: v if isinstance(v, str) else None)
def test_bad_options_are_refused(kvm, tmp_path, args, words):
    done = subprocess.run(
        [harness.BATON, "-m", "64M", "-nodefaults", "-serial", "null",
         "-kernel", harness.guest_path("gap")] + args,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=60, cwd=tmp_path, check=False)
    text = done.stderr.decode()
    assert done.returncode == 1 and words in text, text
    assert text.startswith("baton: -"), "no option is named: " + text


def test_descriptors_do_not_grow_with_connections(vms):
    vm = vms("gap").start()
    before = len(os.listdir("/proc/%d/fd" % vm.pid))
    path = vm.qmp_path(0)
    vm.qmp.close()
    for _ in range(50):
        Qmp(path).close()
    vm.proc.connect(path)
    assert len(os.listdir("/proc/%d/fd" % vm.pid)) == before
    with pytest.raises(QmpError, match="CommandNotFound"):
        vm.qmp.cmd("nope")
