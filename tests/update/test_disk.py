# SPDX-License-Identifier: MIT
"""A disk under load: no block is lost, doubled or torn, and its image is never unlocked."""

import fcntl
import os
import struct
import threading

import pytest

from vm import Footprint

MODES = ("transfer", "exec", "graft")
MIB = 1 << 20
BLOCK = 4096
MASK = (1 << 64) - 1


def make_image(vm, size=16 * MIB, name="disk.raw"):
    path = vm.path(name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def drive(path, more=""):
    return ["-drive", "file=%s,format=raw,if=none,id=d0,serial=BATON-0815%s" %
            (path.replace(",", ",,"), more)]


def started(vms, append="", options="", device="", size=16 * MIB, smp=1):
    vm = vms("blk", append=append, smp=smp)
    vm.image = make_image(vm, size)
    vm.extra += drive(vm.image, options)
    vm.extra += ["-device", "virtio-blk-pci,drive=d0,id=v0" + device]
    vm.start()
    assert vm.body.found == 1
    return vm


def update(vm, mode):
    """The host's disk may take its time for what is in flight."""
    vm.set_parameters(downtime_limit=10000)
    vm.update(mode)


def goes_on(vm, more=200, timeout=30.0):
    """Requests are answered: nobody waits for a notification, an interrupt or the host."""
    before = vm.body.answered
    vm.wait_for("further requests", lambda: vm.body.answered >= before + more, timeout)


def word(block, number, i):
    x = (block << 32) ^ (number * 0x9e3779b97f4a7c15 & MASK) ^ (i * 0xbf58476d1ce4e5b9 & MASK)
    return x ^ x >> 29 if number else 0


def check_image(vm):
    """The image holds what the guest was told is written; only what is under way may differ."""
    vm.qmp.cmd("stop")
    body = vm.body
    under_way = body.asked - body.answered
    table = struct.unpack_from("<%dQ" % body.blocks, vm.ram, body.table_gpa)
    different = []
    with open(vm.image, "rb") as f:
        for block, number in enumerate(table):
            words = struct.unpack("<%dQ" % (BLOCK // 8), f.read(BLOCK))
            if any(words[i] != word(block, number, i) for i in (0, 1, 63, 64, 200, 511)):
                different.append(block)
    assert len(different) <= under_way, (different, body.all())
    vm.qmp.cmd("cont")


def check(vm):
    body = vm.body
    assert (body.bad_blocks, body.bad_status, body.broken) == (0, 0, 0), body.all()
    vm.check_no_errors()
    check_image(vm)


def byte_is_locked(fd, byte):
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    return struct.unpack("hhqqi4x", fcntl.fcntl(fd, 36, lock))[0] != fcntl.F_UNLCK


class Opener:
    """Somebody who tries to use the image all the time, as QEMU does: by looking at its locks."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.looks = 0
        self.got = []
        self.ends = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.ends:
            # A second writer: nobody may write, and nobody may forbid it.
            self.got += [b for b in (101, 201) if not byte_is_locked(self.fd, b)]
            self.looks += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()
        os.close(self.fd)

    def check(self):
        assert self.looks > 100
        assert not self.got, "the image was not locked: %s" % self.got[:10]


@pytest.mark.parametrize("options", ("", ",cache=none", ",cache=writethrough"))
@pytest.mark.parametrize("mode", MODES)
def test_blocks_live_through_many_updates_under_load(vms, loops, mode, options):
    vm = started(vms, options=options)
    first = None
    with Opener(vm.image) as opener:
        for i in range(loops if not options else (loops + 4) // 5):
            update(vm, mode)
            goes_on(vm, 50)
            if i == 1:
                first = Footprint(vm)
        opener.check()
    check(vm)
    if first:
        Footprint(vm).check_against(first)


@pytest.mark.parametrize("append", ("idx=off", "mode=poll", "queues=4", "qd=64 split=off", "qd=1"))
def test_all_ways_to_drive_it_through_all_modes(vms, cpu_load, loops, append):
    vm = started(vms, append, device=",num-queues=4")
    for i in range((loops + 4) // 5 + 2):
        update(vm, MODES[i % 3])
        goes_on(vm, 50)
    check(vm)


def test_with_two_vcpus(vms, cpu_load, loops):
    vm = started(vms, smp=2)
    for i in range((loops + 4) // 5 + 2):
        update(vm, MODES[i % 3])
        goes_on(vm, 50)
    check(vm)


def test_a_disk_is_saved_and_loaded(vms, loops):
    vm = started(vms)
    for i in range((loops + 9) // 10 + 1):
        state = "file:" + vm.path("state%d" % i)
        vm.save(state)
        vm.proc.kill()
        vm.load(state)
        goes_on(vm)
    check(vm)


def test_a_read_only_disk(vms):
    vm = started(vms, options=",readonly=on")
    for mode in MODES:
        update(vm, mode)
        goes_on(vm, 50)
    assert vm.body.writes == 0 and vm.body.reads > 0
    assert vm.body.features & 1 << 5
    check(vm)


def test_what_the_guest_sees_of_the_disk(vms):
    vm = started(vms)
    assert vm.body.capacity == 16 * MIB // 512
    serial = struct.pack("<3Q", *vm.body.serial).rstrip(b"\0")
    assert serial == b"BATON-0815"
    answer, = vm.qmp.cmd("query-block")
    assert answer["device"] == "d0" and answer["qdev"].endswith("/v0")
    assert answer["inserted"]["image"]["virtual-size"] == 16 * MIB
    vm.qmp.cmd("block_resize", device="d0", size=32 * MIB)
    vm.wait_for("the new capacity", lambda: vm.body.capacity == 32 * MIB // 512)
    for mode in MODES:
        update(vm, mode)
        goes_on(vm, 50)
        assert vm.body.capacity == 32 * MIB // 512
    check(vm)
