# SPDX-License-Identifier: MIT
"""Figures that are no pause: start, memory, a thousand grafts, saving, floor."""

import json
import os
import statistics
import subprocess
import sys
import time

import drive
import procstat
import stats
import tsc
import vm as harness

FLOOR_SOURCE = os.path.join(harness.ROOT, "tests", "bench", "floor.c")
FLOOR = os.path.join(harness.ROOT, "build", "bench", "floor")


def _wait_ram(process):
    """Waits until the process holds guest RAM, which has its size later."""
    end = time.monotonic() + 20
    while True:
        try:
            if os.stat(procstat.ram_fd(process.pid)).st_size:
                return
        except (LookupError, FileNotFoundError):
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise harness.Failed("the program did not start")
        time.sleep(0.0005)


def _start_once(subject, ram):
    """ms from before fork to the guest's first instruction."""
    with subject.make("gap", mem=ram, append="pattern=1M") as vm:
        argv = [vm.program] + vm.args(next(vm.generations))
        with open(vm.path("start.log"), "wb") as log:
            before = tsc.rdtsc()
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log,
                                       preexec_fn=harness.load.die_with_parent)
        try:
            _wait_ram(process)
            with open(procstat.ram_fd(process.pid), "r+b") as f:
                vm.ram = harness.mmap.mmap(f.fileno(),
                                           os.fstat(f.fileno()).st_size)
            end = time.monotonic() + 20
            while not vm.page.ready or not vm.body.last_tsc:
                if time.monotonic() > end:
                    raise harness.Failed("the guest did not start")
                time.sleep(0.001)
            offset = tsc.guest_offset(lambda: vm.body.last_tsc)
            return drive.ms(vm.head.boot_tsc - offset - before)
        finally:
            process.kill()
            process.wait()


def measure_start(subject, count, ram="1G"):
    """Start to the guest's first instruction.

    Of Baton only: a QEMU runs its firmware before the guest.
    """
    out = stats.summary([_start_once(subject, ram) for _ in range(count)])
    print("  %-40s p50 %9.3f  p99 %9.3f ms" % (
        subject.name + ", start to first instruction", out["p50"],
        out["p99"]))
    return dict(out, ram=ram)


def measure_resident(subject, modes, updates, grafts):
    """MiB beyond guest RAM: fresh, and after updates of each mode."""
    out = {"fresh": None, "after": {}}
    for mode in modes:
        count = grafts if mode == "graft" else updates
        with drive.Running(subject, "256M", mode) as vm:
            fresh = procstat.rss_beyond_ram(vm.pid) / harness.MIB
            out["fresh"] = max(out["fresh"] or 0.0, fresh)
            first = None
            for i in range(count):
                drive.update(vm, mode)
                if i == 9:
                    first = _footprint(vm)
            after = {"updates": count, "mib": procstat.rss_beyond_ram(vm.pid) /
                     harness.MIB, "after_10": first, "end": _footprint(vm)}
        out["after"][mode] = after
        print("  %s: %.2f MiB beyond guest RAM when started, %.2f MiB after "
              "%d of %s" % (subject.name, fresh, after["mib"], count, mode))
    return out


def _footprint(vm):
    with open("/proc/%d/maps" % vm.pid, encoding="utf-8") as f:
        mappings = sum(1 for _ in f)
    return {"fds": len(procstat.fds(vm.pid)),
            "threads": len(procstat.threads(vm.pid)), "mappings": mappings}


def measure_save(count):
    """Saving a guest of 1 GiB, and dd of the same memory, in turns.

    Both write to the same tmpfs in pieces of about 1 MiB.
    """
    save_rates, dd_rates, extra = [], [], []
    out = "/dev/shm/baton-bench-%d" % os.getpid()
    with harness.Vm("gap", mem="1G", append="pattern=900M") as vm:
        vm.start(wait_ready=False)
        vm.wait_ready(300)
        resident = procstat.rss_beyond_ram(vm.pid)
        ram = procstat.ram_fd(vm.pid)
        try:
            # The first round takes the tmpfs' memory from the host.
            for turn in range(count + 1):
                begin = time.monotonic()
                vm.save("file:" + out)
                save = os.stat(out).st_size / (time.monotonic() - begin)
                extra.append((procstat.rss_beyond_ram(vm.pid) - resident) /
                             harness.MIB)
                os.unlink(out)
                vm.qmp.cmd("cont")
                begin = time.monotonic()
                subprocess.run(["dd", "if=" + ram, "of=" + out, "bs=1M",
                                "status=none"], check=True)
                dd = os.stat(out).st_size / (time.monotonic() - begin)
                os.unlink(out)
                if turn:
                    save_rates.append(save / 1e6)
                    dd_rates.append(dd / 1e6)
        finally:
            if os.path.exists(out):
                os.unlink(out)
    result = {"save_mb_s": statistics.median(save_rates),
              "dd_mb_s": statistics.median(dd_rates),
              "ratio": statistics.median(stats.pair_ratios(save_rates,
                                                           dd_rates)),
              "count": count, "memory_grows_mib": max(extra)}
    print("  save of 1 GiB to tmpfs: %.0f MB/s, dd %.0f MB/s, ratio %.2f, "
          "median of %d; memory grows by %.1f MiB" % (
              result["save_mb_s"], result["dd_mb_s"], result["ratio"],
              result["count"], result["memory_grows_mib"]))
    return result


def measure_floor(rounds):
    """What the floor program says; LookupError if it is not built."""
    if not os.path.exists(FLOOR):
        raise LookupError("build/bench/floor is not built" if
                          os.path.exists(FLOOR_SOURCE) else
                          "this tree has no floor program")
    done = subprocess.run([FLOOR, "--rounds", str(rounds), "--json", "-"],
                          stdout=subprocess.PIPE, check=True, timeout=600,
                          preexec_fn=harness.load.die_with_parent)
    floor = json.loads(done.stdout)
    for part in floor["parts"]:
        if part["name"].startswith("pause"):
            print("  %-66s %8.1f us" % (part["name"], part["median"]))
    sys.stdout.flush()
    return floor
