# SPDX-License-Identifier: MIT
"""What grows with the number of vCPUs, with RAM, and with guests on a host."""

import concurrent.futures
import os
import sys
import threading
import time

import drive
import lanes as lanes_module
import stats
import vm as harness

VCPUS = (1, 2, 4, 8, 12, 16)
SLEEPER = "pattern=16M touch=2 sleep=50"
# KVM keeps some bytes for each page of a slot; two VMs exist in a transfer.
SLOT_BYTES_PER_PAGE = 24


def available_bytes():
    with open("/proc/meminfo", encoding="ascii") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _failed(what, error):
    text = str(error).split("\n", 1)[0][:500]
    print("  %s: FAILED, %s" % (what, text), file=sys.stderr)
    return text


def vcpu_point(subject, mode, vcpus, busy, count):
    """Samples of a guest with so many vCPUs.

    With busy every vCPU works, and the pause is the reported one: more vCPUs
    than processors see gaps all the time. Else the first works and watches,
    and the others wait to be started.
    """
    guest, append = ("smp", "cpus=%d" % vcpus) if busy and vcpus > 1 else \
        ("gap", drive.APPEND)
    seen = guest == "gap"
    samples = []
    with drive.Running(subject, "128M", mode, smp=vcpus, guest=guest,
                       append=append) as vm:
        for _ in range(count):
            samples.append(drive.update(vm, mode, seen))
    return {"vcpus": vcpus, "busy": busy, "subject": subject.name,
            "mode": mode,
            "pause": stats.summary([x.get("pause") for x in samples]),
            "host": stats.summary([x.get("host") for x in samples]),
            "phases": {name: stats.summary([x["phases"][name] / 1e3
                                            for x in samples])
                       for name in samples[0].get("phases", {})}}


def measure_vcpus(subject_modes, count, numbers=VCPUS):
    """Pause against vCPUs, and what each beyond the processors costs."""
    points, failures, cost = [], [], []
    cores = os.cpu_count()
    for subject, mode in subject_modes:
        for busy in (False, True):
            if busy and subject.name != "baton":
                continue
            line = []
            for n in numbers:
                what = "%s %s, %d vCPUs%s" % (subject.name, mode, n,
                                              ", busy" if busy else "")
                try:
                    point = vcpu_point(subject, mode, n, busy, count)
                except (drive.UpdateFailed, harness.Failed, OSError) as e:
                    failures.append(what + ": " + _failed(what, e))
                    continue
                points.append(point)
                # A busy guest does not see its pause, an idle one does.
                s = point["host" if busy else "pause"]
                if s:
                    line.append((n, s["p50"]))
                    print("  %-40s p50 %9.3f  p99 %9.3f ms" % (
                        what, s["p50"], s["p99"]))
                    sys.stdout.flush()
            slope = stats.per_step(line, cores)
            if slope is not None:
                cost.append({"subject": subject.name, "mode": mode,
                             "busy": busy, "us_per_vcpu": slope * 1e3})
                print("  %s %s%s: %.1f us for each vCPU beyond %d" % (
                    subject.name, mode, ", busy" if busy else "",
                    slope * 1e3, cores))
    return {"points": points, "cost": cost, "failures": failures}


def fits(ram, touched, processes):
    """None if the host has memory for such a guest, or why not."""
    size = stats.size_bytes(ram)
    need = (size if touched else 1 << 30) + \
        processes * size // 4096 * SLOT_BYTES_PER_PAGE
    free = available_bytes()
    if need * 1.1 > free:
        return "%s of RAM needs about %.1f GiB here, %.1f GiB are free" % (
            ram, need / 2**30, free / 2**30)
    return None


class BigLane(lanes_module.Lane):
    """A lane whose RAM is too large to be touched after every update."""

    append = drive.APPEND

    def one(self, vm, crawls):
        self.samples.append(drive.update(vm, self.mode))


class SparseLane(BigLane):
    """RAM of which next to nothing is ever touched."""

    append = "pattern=16M thr=20000"


def measure_big(subject, modes, count, sizes=(("16G", BigLane),
                                              ("1T", SparseLane))):
    """Pauses with RAM that is populated once, or is sparse."""
    results, skipped = [], []
    for ram, kind in sizes:
        for mode in modes:
            why = fits(ram, kind is BigLane, 2 if mode == "transfer" else 1)
            if why:
                skipped.append("%s %s: %s" % (subject.name, mode, why))
                print("  SKIPPED, " + skipped[-1])
                continue
            lane = kind(subject, mode, ram)
            lane.block(count, 0)
            results.append(lane.result())
            results[-1]["sparse"] = kind is SparseLane
            lanes_module.print_lane(results[-1])
    return {"lanes": results, "skipped": skipped}


class HugeLane(lanes_module.Lane):
    """RAM of huge pages."""

    backend = "memory-backend-memfd,hugetlb=on,hugetlbsize=2M"


def measure_huge(subject, mode, count, ram="1G"):
    """The crawl with huge pages; LookupError if the host has too few."""
    free = 0
    with open("/proc/meminfo", encoding="ascii") as f:
        for line in f:
            if line.startswith("HugePages_Free:"):
                free = int(line.split()[1]) * 2 * harness.MIB
    if free < stats.size_bytes(ram):
        raise LookupError("%s of huge pages are needed, %d MiB are free (the "
                          "host has a number in /proc/sys/vm/nr_hugepages)" %
                          (ram, free / harness.MIB))
    lane = HugeLane(subject, mode, ram)
    lane.block(count, count)
    result = lane.result()
    lanes_module.print_lane(result)
    return result


class MemoryWatch(threading.Thread):
    """Notes the highest sum of memory beyond guest RAM of some processes."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids = pids
        self.peak = 0
        self.first = None
        self.over = threading.Event()

    def once(self):
        total = 0
        for pid in self.pids():
            try:
                total += drive.beyond_ram(pid)
            except (OSError, KeyError):
                continue
        return total

    def run(self):
        self.first = self.peak = self.once()
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self.once())

    def end(self):
        self.over.set()
        self.join()


def _fleet_round(vms, mode, pool):
    """Updates each guest once; returns (samples, failures, seconds, watch)."""
    watch = MemoryWatch(lambda: [p.pid for vm in vms for p in vm.procs
                                 if p.popen.returncode is None])
    samples, failures = [], []
    watch.start()
    begin = time.monotonic()
    try:
        waiting = [pool.submit(drive.update, vm, mode, False) for vm in vms]
        for one in waiting:
            try:
                samples.append(one.result())
            except drive.UpdateFailed as e:
                failures.append(_failed("fleet, " + mode, e))
        seconds = time.monotonic() - begin
    finally:
        watch.end()
    return samples, failures, seconds, watch


def measure_fleet(subject, modes, count=50, ram="128M", at_once=(1, 4)):
    """Many guests that sleep most of the time, updated in turn or by fours."""
    results = []
    for mode in modes:
        vms, pools = [], []
        try:
            for _ in range(count):
                vms.append(drive.start(subject, ram, mode, append=SLEEPER))
            for width in at_once:
                # A process ends with the thread that started it: threads
                # stay until the guests have gone.
                pools.append(concurrent.futures.ThreadPoolExecutor(width))
                samples, failures, seconds, watch = _fleet_round(
                    vms, mode, pools[-1])
                one = {"subject": subject.name, "mode": mode, "guests": count,
                       "ram": ram, "at_once": width, "seconds": seconds,
                       "failures": failures,
                       "beyond_ram_mib": watch.first / harness.MIB,
                       "peak_beyond_ram_mib": watch.peak / harness.MIB}
                for key in ("host", "whole", "command"):
                    one[key] = stats.summary([x.get(key) for x in samples])
                results.append(one)
                print_fleet(one)
                if failures:
                    break
        except (harness.Failed, drive.UpdateFailed, OSError) as e:
            results.append({"subject": subject.name, "mode": mode,
                            "guests": count, "ram": ram, "at_once": 0,
                            "failures": [_failed("fleet, " + mode, e)]})
        finally:
            for vm in vms:
                drive.close(vm)
            for pool in pools:
                pool.shutdown()
    return results


def print_fleet(one):
    print("  %s %s, %d guests, %d at once: %.1f ms a guest, memory beyond "
          "RAM %.0f MiB, at most %.0f MiB; %d failures" % (
              one["subject"], one["mode"], one["guests"], one["at_once"],
              one["seconds"] * 1e3 / one["guests"], one["beyond_ram_mib"],
              one["peak_beyond_ram_mib"], len(one["failures"])))
    s = one["host"]
    if s:
        print("    pause as reported p50 %.3f  p99 %.3f  max %.3f ms" % (
            s["p50"], s["p99"], s["max"]))
    sys.stdout.flush()
