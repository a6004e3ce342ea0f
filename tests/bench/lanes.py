# SPDX-License-Identifier: MIT
"""The pause, its parts and the crawl: programs and modes in turns."""

import statistics
import sys

import abi
import drive
import stats
import vm as harness

RETRIES = 2


class Lane:
    """A subject in one mode at one size of RAM, and its samples so far."""

    append = drive.APPEND
    backend = None

    def __init__(self, subject, mode, ram):
        self.subject = subject
        self.mode = mode
        self.ram = ram
        self.samples = []
        self.crawls = []
        self.failures = []

    def block(self, count, crawls):
        """A fresh guest, count updates; crawl is measured after some.

        A failed update costs its machine; a new one goes on, a few times.
        """
        wanted = len(self.samples) + count
        for _ in range(RETRIES + 1):
            try:
                with drive.Running(self.subject, self.ram, self.mode,
                                   append=self.append,
                                   backend=self.backend) as vm:
                    while len(self.samples) < wanted:
                        self.one(vm, crawls)
                return
            except (drive.UpdateFailed, harness.Failed, OSError) as e:
                self.failures.append(str(e)[:2000])
                print("  %s %s %s: FAILED, %s" % (
                    self.subject.name, self.mode, self.ram,
                    str(e).split("\n", 1)[0][:300]), file=sys.stderr)

    def one(self, vm, crawls):
        """One update, with the crawl after it or all RAM touched."""
        if len(self.crawls) >= crawls:
            sample = drive.update(vm, self.mode)
            vm.request(abi.READ_ALL, 300)
        else:
            # What is measured changes: each takes the surprise from the next.
            kind = ("read", "write", "random")[len(self.crawls) % 3]
            drive.touch(vm, kind)
            steady = drive.touch(vm, kind)
            sample = drive.update(vm, self.mode)
            self.add_crawl(kind, drive.touch(vm, kind), steady)
        self.samples.append(sample)

    def add_crawl(self, kind, first, steady):
        """Notes a touch after an update and the same without one."""
        if kind != "random":
            self.crawls.append({"kind": kind, "first": first,
                                "steady": steady})
            return
        speed = statistics.median(steady[len(steady) // 2:])
        self.crawls.append({
            "kind": kind, "first": stats.until_steady(first, speed),
            "steady": stats.until_steady(steady, speed),
            "curve": first if len(self.crawls) < 3 else None})

    def result(self):
        """For JSON: samples and their summaries."""
        out = {"subject": self.subject.name, "version": self.subject.version,
               "mode": self.mode, "ram": self.ram,
               "failures": self.failures, "samples": self.samples,
               "crawls": self.crawls, "summary": {}}
        for key in ("pause", "noise", "lost", "host", "command", "whole"):
            s = stats.summary([x.get(key) for x in self.samples])
            if s:
                out["summary"][key] = s
        for name in {n for x in self.samples for n in x.get("phases", {})}:
            out["summary"]["phase-" + name] = stats.summary(
                [x["phases"][name] / 1e3 for x in self.samples
                 if name in x.get("phases", {})])
        for kind in ("read", "write", "random"):
            some = [c for c in self.crawls if c["kind"] == kind]
            if some:
                out["summary"]["first-" + kind] = stats.summary(
                    [c["first"] for c in some])
                out["summary"]["steady-" + kind] = stats.summary(
                    [c["steady"] for c in some])
        return out


def run(lanes, count, block, crawls):
    """Blocks of the lanes in turns, until each has count samples."""
    while True:
        open_lanes = [x for x in lanes if len(x.samples) < count and
                      len(x.failures) <= 3 * RETRIES]
        if not open_lanes:
            return
        for lane in open_lanes:
            lane.block(min(block, count - len(lane.samples)), crawls)
            sys.stderr.write("\r  %-60s" % ", ".join(
                "%s %s %d" % (x.subject.name, x.mode, len(x.samples))
                for x in [lane]))
            sys.stderr.flush()
        sys.stderr.write("\r%-64s\r" % "")


def pairs(lanes):
    """Ratios of our pauses to QEMU's, sample by sample of the same turn."""
    out = []
    for ours in (x for x in lanes if x.subject.name == "baton"):
        for other in lanes:
            if other.subject.name == "baton":
                continue
            ratios = stats.pair_ratios([x["pause"] for x in ours.samples],
                                       [x["pause"] for x in other.samples])
            if ratios:
                out.append({"ram": ours.ram, "mode": ours.mode,
                            "other": other.subject.name,
                            "other_mode": other.mode,
                            "ratio": stats.summary(ratios)})
    return out


def print_lane(result):
    """A few lines for a person."""
    head = "%s %s, %s" % (result["subject"], result["mode"], result["ram"])
    names = (("pause", "pause seen by the guest"),
             ("noise", "  longest gap without an update"),
             ("phase-stop", "  of it to stop the vCPU"),
             ("host", "pause as reported"),
             ("command", "command to acknowledged"),
             ("whole", "the same, with starting the new program"),
             ("first-read", "first read of all RAM"),
             ("steady-read", "  in steady state"),
             ("first-write", "first write of all RAM"),
             ("steady-write", "  in steady state"),
             ("first-random", "until 95 % of steady speed"),
             ("steady-random", "  in steady state (cold caches)"))
    print("%s (%d updates, %d failures):" % (
        head, len(result["samples"]), len(result["failures"])))
    for key, text in names:
        s = result["summary"].get(key)
        if s and not (key == "whole" and result["mode"] != "transfer"):
            print("  %-40s p50 %9.3f  p99 %9.3f  max %9.3f ms  n=%d" % (
                text, s["p50"], s["p99"], s["max"], s["count"]))
    sys.stdout.flush()
