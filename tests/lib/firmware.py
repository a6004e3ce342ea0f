# SPDX-License-Identifier: MIT
"""Guests that start in firmware: the test firmware, and disks to start from."""

import os
import struct
import time

import backends
import procstat
import vm as vm_module

BIOS = os.path.join(vm_module.GUESTS, "bios.bin")
MBR = os.path.join(vm_module.GUESTS, "mbr.bin")
SEABIOS = "/usr/share/seabios/bios-256k.bin"
ROM = "/memfd:pc.bios"
FILES = "/memfd:/rom@fw_cfg"
UNTOUCHED = 0x600df00d


class Counters:
    """What tests/guest/bios.S leaves in low memory."""

    def __init__(self, vm):
        (self.boots, self.rounds, self.variable, self.signature, self.sum,
         self.vector, self.item) = struct.unpack_from("<2I I4sII4s", vm.ram,
                                                      0x500)


def disk(path, size=1 << 20):
    """A disk that starts by mbr.bin."""
    with open(MBR, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(data)
        f.truncate(size)
    return path


def disk_arguments(path, extra=""):
    return ["-drive", "file=%s,format=raw,if=none,id=d0" % path,
            "-device", "virtio-blk-pci,id=disk,drive=d0" + extra]


def disk_counters(vm):
    """(boots, rounds) of tests/guest/mbr.S."""
    return struct.unpack_from("<2I", vm.ram, 0x7000)


def start(vms, **kwargs):
    """A guest of 16 MiB in the test firmware, in its endless loop."""
    kwargs.setdefault("bios", BIOS)
    vm = vms("gap", mem="16M", **kwargs).start(wait_ready=False)
    running(vm)
    return vm


def running(vm, seconds=20.0):
    before = Counters(vm).rounds
    wait(vm, "a round of the firmware",
         lambda: Counters(vm).rounds not in (0, before), seconds)


def wait(vm, what, condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert vm.proc.alive(), vm.proc.log()
        assert time.monotonic() < end, "%s did not happen; %s; %s" % (
            what, vars(Counters(vm)), vm.proc.log())
        time.sleep(0.002)


def block(vm, name):
    """The bytes of a block of RAM."""
    with open(backends.memory_fd(vm.pid, name), "rb") as f:
        return f.read()


def blocks(vm):
    """Name -> inode of the memory of all blocks of the machine's own."""
    return {name: backends.ram_id(vm, name) for name in (
        target.split(" ")[0] for target in procstat.fds(vm.pid).values())
            if name.startswith(("/memfd:pc.bios", "/memfd:/rom@"))}


def wait_disk(vm, boots, seconds=120.0):
    """Waits until mbr.bin, started for the so-manieth time, is in its loop.

    Its counters begin anew with SeaBIOS, which clears low memory."""
    def runs():
        now = disk_counters(vm)
        return now[1] and now[0] >= boots
    wait(vm, "the start from the disk", runs, seconds)
    before = disk_counters(vm)[1]
    wait(vm, "a round", lambda: disk_counters(vm)[1] != before)
