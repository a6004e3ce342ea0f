# SPDX-License-Identifier: MIT
"""Disks: what the same guest gets done, under Baton and under QEMU, in turns.

The guest (tests/guest/blkload.c) keeps requests of one kind under way on a file
that is opened with O_DIRECT and was written in full before.
"""

import os
import shutil
import tempfile
import time

import vm as harness
from rates import compare

BYTES = 256 * harness.MIB
# (name, the guest's options, bytes of a request)
LOADS = (
    ("4 KiB random reads, 1 at a time", "load=randread qd=1", 4096),
    ("4 KiB random reads, 16 at a time", "load=randread qd=16", 4096),
    ("4 KiB random writes, 1 at a time", "load=randwrite qd=1", 4096),
    ("4 KiB random writes, 16 at a time", "load=randwrite qd=16", 4096),
    ("128 KiB reads in order, 8 at a time", "load=read qd=8", 131072),
    ("128 KiB writes in order, 8 at a time", "load=write qd=8", 131072),
)


class _Image:
    """A file that has all its blocks, gone afterwards."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="baton-bench-")
        self.path = os.path.join(self.directory, "disk.img")

    def __enter__(self):
        piece = os.urandom(harness.MIB)
        with open(self.path, "wb") as f:
            for _ in range(BYTES // len(piece)):
                f.write(piece)
            f.flush()
            os.fsync(f.fileno())
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.directory)


def _rate_once(subject, image, load, size, seconds):
    """Requests answered a second."""
    with subject.make("blkload", mem="256M",
                      append="%s size=%d" % (load, size)) as vm:
        qemu = subject.name.startswith("qemu")
        # The kernel may keep the lock of a program that was killed for a while.
        vm.extra += ["-drive", "file=%s,format=raw,if=none,id=d0,cache=none,"
                     "file.locking=off%s" % (
                         image, ",aio=io_uring" if qemu else ""), "-device",
                     "virtio-blk-pci,drive=d0%s" %
                     (",disable-legacy=on" if qemu else "")]
        vm.start()
        vm.wait_for("answers", lambda: vm.body.answered > 50)
        begin, before = time.monotonic(), vm.body.answered
        time.sleep(seconds)
        done, end = vm.body.answered - before, time.monotonic()
        if vm.head.errors or vm.body.bad_status:
            raise harness.Failed("a request of the guest failed")
        return done / (end - begin)


def measure_disk(some, rounds, seconds):
    """Rates of all subjects, in turns, and ratios of the first to the rest."""
    out = []
    with _Image() as image:
        for name, load, size in LOADS:
            rates = {s.name: [] for s in some}
            for i in range(rounds):
                # Who begins changes too.
                for subject in some[i % 2:] + some[:i % 2]:
                    rates[subject.name].append(
                        _rate_once(subject, image, load, size, seconds))
            out.append(compare(name, rates, "MB/s" if size > 4096 else "1/s",
                               1e6 / size if size > 4096 else 1))
    return out
