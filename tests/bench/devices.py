# SPDX-License-Identifier: MIT
"""Disks: requests a second of the same guest, under Baton and under QEMU.

The guest (tests/guest/blk.c) writes 4 KiB blocks of a file with O_DIRECT in an
order of its own, reads them back, compares, and flushes now and then.
"""

import statistics
import time

import vm as harness

BYTES = 64 * harness.MIB
# (name, the guest's options)
LOADS = (("one request at a time", "qd=1 blocks=16384"),
         ("16 requests at a time", "qd=16 blocks=16384"))


def _rate_once(subject, append, seconds):
    """Requests answered a second."""
    with subject.make("blk", mem="256M", append=append) as vm:
        path = vm.path("disk.img")
        with open(path, "wb") as f:
            f.truncate(BYTES)
        qemu = subject.name.startswith("qemu")
        vm.extra += ["-drive", "file=%s,format=raw,if=none,id=d0,cache=none%s" %
                     (path, ",aio=io_uring" if qemu else ""), "-device",
                     "virtio-blk-pci,drive=d0%s" %
                     (",disable-legacy=on" if qemu else "")]
        vm.start()
        vm.wait_for("answers", lambda: vm.body.answered > 200)
        before, begin = vm.body.answered, time.monotonic()
        time.sleep(seconds)
        rate = (vm.body.answered - before) / (time.monotonic() - begin)
        if vm.head.errors:
            raise harness.Failed("the guest found wrong data")
        return rate


def measure_disk(some, rounds, seconds):
    """Rates of all subjects, in turns, and ratios of the first to the rest."""
    out = []
    for name, append in LOADS:
        rates = {s.name: [] for s in some}
        for _ in range(rounds):
            for subject in some:
                rates[subject.name].append(_rate_once(subject, append, seconds))
        line = {"load": name, "rates": rates,
                "median": {n: statistics.median(r)
                           for n, r in rates.items()}}
        first = line["median"][some[0].name]
        line["ratio"] = {s.name: first / line["median"][s.name]
                         for s in some[1:]}
        out.append(line)
        for n, median in line["median"].items():
            print("  %-40s median %9.0f  least %9.0f requests/s%s" % (
                n + ", " + name, median, min(rates[n]),
                ", ratio of Baton's to it %.2f" % line["ratio"][n]
                if n in line["ratio"] else ""))
    return out
