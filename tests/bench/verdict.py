# SPDX-License-Identifier: MIT
"""The figures that must hold, and whether those of a run do.

Pure: takes what the bench wrote as JSON, measures nothing.
"""

import stats

REFERENCE = "1G"
BENCH = "tests/bench/bench"


class Figures:
    """Looks figures up in the results of a run; None if not measured."""

    def __init__(self, results):
        self.results = results
        self.lanes = {}
        for lane in results.get("lanes", []) + \
                results.get("big", {}).get("lanes", []):
            self.lanes[lane["subject"], lane["mode"], lane["ram"]] = lane

    def get(self, subject, mode, ram, key, what="p50"):
        lane = self.lanes.get((subject, mode, ram))
        s = lane["summary"].get(key) if lane else None
        return s[what] if s else None

    def ours(self, mode, ram, key, what="p50"):
        return self.get("baton", mode, ram, key, what)

    def over(self, a, b):
        """a / b of two figures, None if one is missing."""
        return a / b if a is not None and b else None

    def against(self, mode, other, other_mode, ram, key, ours="baton"):
        return self.over(self.get(ours, mode, ram, key),
                         self.get(other, other_mode, ram, key))

    def sizes(self, mode, key):
        """{RAM in bytes: p50} of a mode of ours, by size."""
        found = {}
        for (subject, m, ram), lane in self.lanes.items():
            if subject == "baton" and m == mode and key in lane["summary"]:
                found[stats.size_bytes(ram)] = lane["summary"][key]["p50"]
        return dict(sorted(found.items()))

    def growth(self, mode, first, last):
        a, b = self.ours(mode, first, "pause"), self.ours(mode, last, "pause")
        return stats.growth(a, b) if a and b else None

    def spread(self, mode, rams):
        values = [self.ours(mode, ram, "pause") for ram in rams]
        return None if None in values else stats.spread(values)

    def vcpu_cost(self, mode, busy):
        for cost in self.results.get("vcpus", {}).get("cost", []):
            if (cost["subject"], cost["mode"], cost["busy"]) == \
                    ("baton", mode, busy):
                return cost["us_per_vcpu"]
        return None


def _line(row, figure, value, limit, unit, parts, at_least=False):
    if value is None:
        verdict = "not measured"
    elif value >= limit if at_least else value <= limit:
        verdict = "ok"
    else:
        verdict = "BELOW" if at_least else "ABOVE"
    return {"row": row, "figure": figure, "value": value, "limit": limit,
            "unit": unit, "verdict": verdict, "at_least": at_least,
            "command": "%s %s" % (BENCH, parts)}


def _graft(f):
    run = "--parts pause --ram 1G --modes graft"
    both = "--parts pause --ram 1G --modes graft,transfer,exec"
    yield ("pause seen by the guest, 1 GiB",
           f.ours("graft", REFERENCE, "pause"), 0.2, "ms", run)
    yield ("pause over the time to stop a vCPU", f.over(
        f.ours("graft", REFERENCE, "pause"),
        f.ours("graft", REFERENCE, "phase-stop")), 2.0, "x", run)
    yield ("p99 of the pause, 1 GiB",
           f.ours("graft", REFERENCE, "pause", "p99"), 1.0, "ms", run)
    yield ("pause at 256 MiB, 8 GiB, 1 TiB sparse: how far apart",
           f.spread("graft", ("256M", "8G", "1T")), 0.1, "share",
           "--parts pause,big --ram 256M,8G --modes graft")
    for kind in ("read", "write"):
        yield ("first %s of all RAM over steady state, 1 GiB" % kind, f.over(
            f.ours("graft", REFERENCE, "first-" + kind),
            f.ours("graft", REFERENCE, "steady-" + kind)), 1.1, "x", run)
    yield ("pause over cpr-transfer of QEMU's microvm, 1 GiB",
           f.against("graft", "qemu-microvm", "transfer", REFERENCE, "pause"),
           0.1, "x", both)
    yield ("pause over cpr-exec of QEMU's microvm, 1 GiB",
           f.against("graft", "qemu-microvm", "exec", REFERENCE, "pause"),
           1 / 200, "x", both)


def _transfer(f):
    run = "--parts pause --ram 1G --modes transfer"
    for machine, limit in (("microvm", 0.35), ("q35", 0.2)):
        yield ("pause over QEMU's %s, 1 GiB" % machine, f.against(
            "transfer", "qemu-" + machine, "transfer", REFERENCE, "pause"),
               limit, "x", run)
    yield ("p99 over p50 of the pause, 1 GiB", f.over(
        f.ours("transfer", REFERENCE, "pause", "p99"),
        f.ours("transfer", REFERENCE, "pause")), 3.0, "x", run)
    yield ("growth of the pause from 256 MiB to 8 GiB",
           f.growth("transfer", "256M", "8G"), 0.1, "share",
           "--parts pause --ram 256M,8G --modes transfer")
    for kind, limit in (("write", 0.2), ("read", 0.8)):
        for ours, how in (("baton", ""), ("baton-4k", ", huge-pages=off")):
            yield ("first %s of all RAM over QEMU's, 1 GiB%s" % (kind, how),
                   f.against("transfer", "qemu-microvm", "transfer",
                             REFERENCE, "first-" + kind, ours), limit, "x",
                   run)
    for kind in ("read", "write"):
        yield ("first %s over steady state, RAM gathered" % kind, f.over(
            f.ours("transfer", REFERENCE, "first-" + kind),
            f.ours("transfer", REFERENCE, "steady-" + kind)), 2.0, "x", run)
        huge = f.results.get("huge", {}).get("summary", {})
        first, steady = huge.get("first-" + kind), huge.get("steady-" + kind)
        yield ("first %s over steady state, hugetlb=on" % kind,
               f.over(first and first["p50"], steady and steady["p50"]), 2.0,
               "x", "--parts huge")


def _exec(f):
    sizes = f.sizes("exec", "pause")
    touched = {k: v for k, v in sizes.items() if k < 1 << 40}
    yield ("pause, the worst RAM size measured (%s)" % (", ".join(
        "%d MiB" % (k >> 20) for k in touched) or "none"),
           max(touched.values(), default=None), 8.0, "ms",
           "--parts pause,big --modes exec")
    yield ("pause with 1 TiB of sparse RAM", sizes.get(1 << 40), 8.0, "ms",
           "--parts big --modes exec")
    yield ("growth of the pause from 256 MiB to 8 GiB",
           f.growth("exec", "256M", "8G"), 0.2, "share",
           "--parts pause --ram 256M,8G --modes exec")
    yield ("pause over QEMU's microvm, 4 GiB",
           f.against("exec", "qemu-microvm", "exec", "4G", "pause"), 1 / 15,
           "x", "--parts pause --ram 4G --modes exec")
    for ours, how in (("baton", ""), ("baton-4k", ", huge-pages=off")):
        yield ("first write of all RAM over QEMU's, 1 GiB%s" % how, f.against(
            "exec", "qemu-microvm", "exec", REFERENCE, "first-write", ours),
               0.5, "x", "--parts pause --ram 1G --modes exec")


def _whole(f):
    for mode, limit in (("graft", 15.0), ("transfer", 60.0)):
        yield ("%s, command to acknowledged, 1 GiB" % mode,
               f.ours(mode, REFERENCE, "command"), limit, "ms",
               "--parts pause --ram 1G --modes " + mode)
    resident = f.results.get("resident", {})
    yield ("memory beyond guest RAM when started", resident.get("fresh"), 8.0,
           "MiB", "--parts resident")
    for mode in ("graft", "transfer", "exec"):
        after = resident.get("after", {}).get(mode)
        count = "%d " % after["updates"] if after else ""
        yield ("memory beyond guest RAM after %supdates by %s" % (count,
                                                                  mode),
               after["mib"] if after else None, 8.0, "MiB",
               "--parts resident")
    start = f.results.get("start")
    yield ("start to first guest instruction", start and start["p50"], 20.0,
           "ms", "--parts start")


def _vcpus(f):
    for mode in ("graft", "transfer", "exec"):
        for busy in (False, True):
            yield ("%s, each vCPU beyond the processors, %s" % (
                mode, "all busy" if busy else "the others wait"),
                   f.vcpu_cost(mode, busy), 60.0, "us",
                   "--parts vcpus --modes " + mode)


def _devices(results):
    """Rates over QEMU's, of every load there is."""
    for part in ("disk", "network"):
        loads = results.get(part) or []
        for load in loads:
            for other, ratio in load["ratio"].items():
                yield ("%s, over %s" % (load["load"], other), ratio)
        if not any(load["ratio"] for load in loads):
            yield ("%s: rates over QEMU's" % part, None)


def lines(results):
    """All figures with their verdicts, in the order of the rows."""
    f = Figures(results)
    out = []
    for row, some in (("1 graft", _graft), ("2 transfer", _transfer),
                      ("3 exec", _exec), ("4 whole", _whole),
                      ("5 vCPUs", _vcpus)):
        out += [_line(row, *x) for x in some(f)]
    out += [_line("6 devices", figure, ratio, 1.0, "x",
                  "--parts devices --ram 1G", at_least=True)
            for figure, ratio in _devices(results)]
    save = results.get("save")
    out.append(_line("- save", "rate of saving over dd",
                     save["ratio"] if save else None, 0.7, "x",
                     "--parts save", at_least=True))
    return out


def number(value):
    """Three digits that matter."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return "%.0f" % value
    if abs(value) >= 10:
        return "%.1f" % value
    return "%.2f" % value if abs(value) >= 1 else "%.3g" % value


def text(line):
    """A line of the table for a terminal."""
    return "%-10s %-62s %9s  %s %-6s %-6s %s" % (
        line["row"], line["figure"], number(line["value"]),
        ">=" if line["at_least"] else "<=", number(line["limit"]),
        line["unit"], line["verdict"])
