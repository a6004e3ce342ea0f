# SPDX-License-Identifier: MIT
"""Disks that do not answer, fail, are too short or somebody else's: updates that are refused, guests that go on."""

import errno
import os
import re
import threading
import time

import pytest

import stallfs
from qmp import QmpClosed, QmpError
from stallfs import FSYNC, READ, WRITE
from test_disk import MIB, MODES, check, drive, goes_on, make_image, started, update
from vm import BATON, Failed


def started_on(vms, path, options="", append=""):
    vm = vms("blk", append=append)
    vm.image = path
    vm.extra += drive(path, options) + ["-device", "virtio-blk-pci,drive=d0,id=v0"]
    vm.start()
    return vm


def refused(vm, mode, why):
    """The update fails for that reason, and the guest runs on here."""
    pid = vm.pid
    try:
        vm.update(mode)
    except Failed:
        # The image that has the guest says why.
        text = None
    except QmpError as e:
        # Found before anything was begun.
        text = str(e)
    else:
        raise AssertionError("the update was not refused")
    answer = vm.qmp.cmd("query-migrate")
    assert answer["status"] == "failed"
    assert re.search(why, text or answer["error-desc"]), answer
    assert vm.pid == pid and vm.proc.alive()
    vm.wait_for("the guest to run", lambda: vm.status()["status"] == "running")
    vm.running()


@pytest.fixture
def stalling(tmp_path):
    with stallfs.StallFs(str(tmp_path / "fs"), 4 * MIB) as fs:
        yield fs


@pytest.mark.parametrize("mode", MODES)
def test_an_update_of_a_disk_that_does_not_answer_is_rolled_back(vms, stalling, mode):
    vm = started_on(vms, stalling.path)
    goes_on(vm, 20)
    stalling.stall()
    stalling.wait_stalled()
    refused(vm, mode, "requests to image .* are under way, and the host does not answer them")
    stalling.resume()
    goes_on(vm, 50)
    update(vm, mode)
    goes_on(vm, 50)
    check(vm)


class Pauses:
    """`with Pauses(vm) as p:` notes in p.longest for how long, in seconds, the guest
    stood still at most, as somebody sees it who looks all the time."""

    def __init__(self, vm):
        self.vm = vm
        self.longest = 0.0
        self.end = False
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        head = self.vm.head
        count, since = head.heartbeat, time.monotonic()
        while not self.end:
            time.sleep(0.0002)
            now, n = time.monotonic(), head.heartbeat
            if n != count:
                count, since = n, now
            self.longest = max(self.longest, now - since)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end = True
        self.thread.join()


@pytest.mark.parametrize("mode", MODES)
def test_a_disk_that_does_not_answer_costs_the_downtime_limit(vms, stalling, mode):
    vm = started_on(vms, stalling.path)
    goes_on(vm, 20)
    stalling.stall()
    stalling.wait_stalled()
    vm.set_parameters(downtime_limit=5)
    with Pauses(vm) as p:
        refused(vm, mode, "requests to image .* are under way, and the host does not answer them")
    # The default is 300 ms; others may use the processors too.
    assert 0.004 < p.longest < 0.1, p.longest
    stalling.resume()
    goes_on(vm, 50)
    vm.set_parameters(downtime_limit=2000)
    update(vm, mode)
    goes_on(vm, 50)
    check(vm)


def test_a_disk_that_answers_in_time_delays_the_update_only(vms, stalling):
    vm = started_on(vms, stalling.path)
    vm.set_parameters(downtime_limit=2000)
    for mode in MODES:
        stalling.stall()
        stalling.wait_stalled()
        timer = threading.Timer(0.2, stalling.resume)
        timer.start()
        vm.update(mode)
        timer.join()
        vm.set_parameters(downtime_limit=2000)
        goes_on(vm, 50)
    check(vm)


def wait_status(vm, status):
    vm.wait_for("run state %s" % status, lambda: vm.status()["status"] == status)


def test_errors_are_told_to_the_guest(vms, stalling):
    vm = started_on(vms, stalling.path, ",werror=report")
    stalling.fail(errno.EIO, READ, WRITE, FSYNC)
    vm.wait_for("failed requests", lambda: vm.body.bad_status > 20)
    stalling.fail(0, READ, WRITE, FSYNC)
    assert vm.body.last_status == 1 and vm.body.bad_blocks == 0
    assert vm.status()["status"] == "running"
    goes_on(vm, 50)
    event = vm.qmp.wait_event("BLOCK_IO_ERROR")
    assert event["data"]["device"] == "d0" and event["data"]["action"] == "report"
    assert not event["data"]["nospace"]


def wait_until_it_goes_on(vm, requests):
    """A request that was under way may still fail after the first `cont`."""
    seen = vm.body.answered

    def answered():
        if vm.status()["status"] == "io-error":
            vm.qmp.cmd("cont")
        return vm.body.answered > seen + requests

    vm.wait_for("further requests", answered)


@pytest.mark.parametrize("mode", (None,) + MODES)
def test_a_guest_without_space_stops_and_goes_on_where_it_was(vms, stalling, mode):
    """Also in another process or image: requests that failed are done there."""
    vm = started_on(vms, stalling.path)
    goes_on(vm, 20)
    stalling.fail(errno.ENOSPC, WRITE)
    wait_status(vm, "io-error")
    assert vm.stopped()
    event = vm.qmp.wait_event("BLOCK_IO_ERROR")
    assert event["data"]["action"] == "stop" and event["data"]["nospace"]
    assert vm.qmp.cmd("query-block")[0]["io-status"] == "nospace"
    if mode:
        update(vm, mode)
        assert vm.status()["status"] == "io-error"
    vm.qmp.cmd("cont")
    wait_status(vm, "io-error")
    stalling.fail(0, WRITE)
    wait_until_it_goes_on(vm, 50)
    assert vm.body.bad_status == 0
    assert vm.qmp.cmd("query-block")[0]["io-status"] == "ok"
    check(vm)


@pytest.mark.parametrize("mode", MODES)
def test_an_image_that_has_become_shorter_stops_the_update_not_the_guest(vms, mode):
    vm = started(vms)
    os.truncate(vm.image, 8 * MIB)
    stops = len([n for n in vm.qmp.event_names() if n == "STOP"])
    refused(vm, mode, "8388608 bytes, and the guest was promised 16777216")
    assert len([n for n in vm.qmp.event_names() if n == "STOP"]) == stops
    os.truncate(vm.image, 16 * MIB)
    update(vm, mode)
    goes_on(vm)
    check(vm)


def test_a_saved_guest_gets_no_shorter_image(vms):
    vm = started(vms)
    state = "file:" + vm.path("state")
    vm.save(state)
    vm.proc.kill()
    os.truncate(vm.image, 8 * MIB)
    with pytest.raises((Failed, QmpClosed)):
        vm.load(state)
    assert "the guest was promised 16777216 bytes" in vm.procs[-1].log()


@pytest.mark.parametrize("change, why", (
    ("readonly=on", "read-only=off must be as it was"),
    ("cache=none", "cache.direct=off must be as it was"),
    ("locking=off", "locking= must be as they were"),
))
@pytest.mark.parametrize("mode", MODES)
def test_a_drive_is_not_opened_in_another_way(vms, mode, change, why):
    vm = started(vms)
    vm.extra[1] += "," + ("file." + change if "locking" in change else change)
    refused(vm, mode, why)
    vm.extra[1] = drive(vm.image)[1]
    update(vm, mode)
    goes_on(vm)
    check(vm)


@pytest.mark.parametrize("mode", MODES)
def test_another_file_of_that_name_is_refused(vms, mode):
    vm = started(vms)
    os.rename(vm.image, vm.image + ".away")
    make_image(vm)
    refused(vm, mode, "is another file than the image in use")
    os.rename(vm.image + ".away", vm.image)
    update(vm, mode)
    goes_on(vm)
    check(vm)


@pytest.mark.parametrize("mode", MODES)
def test_a_drive_without_a_name_in_the_file_system_goes_along(vms, mode):
    """The open file is what counts."""
    vm = started(vms)
    os.unlink(vm.image)
    update(vm, mode)
    goes_on(vm)
    body = vm.body
    assert (body.bad_blocks, body.bad_status) == (0, 0)


def test_nodes_go_along(vms, loops):
    vm = vms("blk")
    vm.image = make_image(vm)
    vm.extra += ["-blockdev", "driver=file,filename=%s,node-name=f" % vm.image,
                 "-blockdev", "driver=raw,file=f,node-name=d,discard=unmap",
                 "-device", "virtio-blk-pci,drive=d"]
    vm.start()
    for i in range((loops + 9) // 10 + 2):
        update(vm, MODES[i % 3])
        goes_on(vm, 50)
    check(vm)


def test_drives_of_a_monitor_go_along(vms):
    vm = started(vms)
    other = make_image(vm, MIB, "other.raw")
    vm.qmp.cmd("blockdev-add", driver="file", filename=other, node_name="n1")
    for mode in MODES:
        update(vm, mode)
        with pytest.raises(QmpError, match="Duplicate"):
            vm.qmp.cmd("blockdev-add", driver="file", filename=other, node_name="n1")
    vm.qmp.cmd("blockdev-del", node_name="n1")
    with pytest.raises(QmpError, match="Failed to find node"):
        vm.qmp.cmd("blockdev-del", node_name="n1")
    with pytest.raises(QmpError, match="is busy"):
        vm.qmp.cmd("blockdev-del", node_name="d0")
    check(vm)


def test_a_drive_that_was_removed_does_not_come_back(vms):
    vm = started(vms)
    other = make_image(vm, MIB, "other.raw")
    vm.extra += ["-drive", "file=%s,if=none,id=d1,format=raw" % other]
    with pytest.raises((Failed, QmpError)):
        vm.update("transfer", extra=["-drive", "file=/nonexistent,if=none,id=d2"])
    vm.update("transfer")
    assert len(vm.qmp.cmd("query-block")) == 2
    vm.qmp.cmd("blockdev-del", node_name="d1")
    os.unlink(other)
    for mode in MODES:
        update(vm, mode)
        assert [b["device"] for b in vm.qmp.cmd("query-block")] == ["d0"]
    check(vm)


WITHOUT_IO_URING = """#!/usr/bin/python3 -B
import ctypes, os, struct, sys
# Load the system call's number; io_uring_setup is answered with EPERM, all others are allowed.
code = (0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)
text = b"".join(struct.pack("<HBBI", *c) for c in code)
buffer = ctypes.create_string_buffer(text)
program = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], [sys.argv[1]] + sys.argv[2:])
"""


def test_without_io_uring_disks_work_as_well(vms):
    """Containers may forbid it: then requests are carried out in the loop, and the log says so."""
    vm = vms("blk")
    script = vm.path("without-io-uring")
    with open(script, "w", encoding="ascii") as f:
        f.write(WITHOUT_IO_URING.replace("sys.argv[1]", repr(BATON)).replace("argv[2:]", "argv[1:]"))
    os.chmod(script, 0o755)
    vm.image = make_image(vm)
    vm.extra += drive(vm.image) + ["-device", "virtio-blk-pci,drive=d0"]
    vm.program = script
    vm.start()
    goes_on(vm)
    assert "the kernel permits no io_uring: Operation not permitted" in vm.proc.log()
    # The filter stays with the process.
    vm.program = BATON
    for mode in ("exec", "graft"):
        update(vm, mode)
        goes_on(vm, 50)
    check(vm)
