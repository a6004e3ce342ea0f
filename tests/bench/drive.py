# SPDX-License-Identifier: MIT
"""One update of a running guest, measured from inside and outside.

A sample is a dictionary; times are in ms:

pause     longest gap in the guest's TSC between command and acknowledgement
lost      all gaps in that time together
noise     longest gap in a moment before the command: what the host does
host      the pause as the program reports it (QEMU: whole ms only)
phases    parts of it as reported, in us
command   from `migrate` to both: reported completed, and running again
whole     the same, from the start of the new program (transfer)
"""

import json
import os
import signal
import subprocess
import time

import abi
import qmp as qmp_module
import tsc
import vm as harness

TIMEOUT = 60.0
APPEND = "pattern=16M thr=20000 touch=2"


class UpdateFailed(Exception):
    """An update did not end well; the machine is to be thrown away."""


def ms(cycles):
    return cycles / tsc.hz() * 1e3


def now_ms():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e6


def start(subject, ram, mode=None, smp=1, guest="gap", append=APPEND,
          backend=None, timeout=300.0):
    """Starts a guest of the subject and waits until all its RAM is touched.

    RAM is a memfd, a file for reboot, or the backend described.
    """
    kwargs = {"mem": ram, "smp": smp, "append": append}
    if mode == "reboot" or backend:
        kwargs["backend"] = False
    if backend:
        kwargs["extra"] = ["-object", "%s,id=ram0,size=%s,share=on" %
                           (backend, ram), "-machine",
                           "memory-backend=ram0,aux-ram-share=on"]
    vm = subject.make(guest, **kwargs)
    vm.bench_subject = subject
    try:
        if mode == "reboot":
            path = "/dev/shm/" + os.path.basename(vm.dir) + ".ram"
            vm.bench_ram_file = path
            vm.extra += ["-object", "memory-backend-file,id=ram0,size=%s,"
                         "share=on,mem-path=%s" % (ram, path),
                         "-machine", "memory-backend=ram0"]
            vm.generation, vm.proc = vm.spawn()
            vm.proc.connect(vm.qmp_path(vm.generation))
            vm.map_ram(path)
            vm.wait_ready(timeout)
        else:
            vm.start(wait_ready=False)
            vm.wait_ready(timeout)
        if subject.name == "baton":
            wait_gathered(vm)
    except BaseException:
        close(vm)
        raise
    return vm


def _huge_bytes(pid):
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        for line in f:
            if line.startswith("ShmemPmdMapped:"):
                return int(line.split()[1]) * 1024
    return 0


def wait_gathered(vm):
    """Until the program gathers no more RAM into huge pages.

    It begins a second after the start; a host may have none to give.
    """
    begin = last = time.monotonic()
    before = 0
    while time.monotonic() - max(last, begin + 1.0) < 1.0:
        time.sleep(0.05)
        now = _huge_bytes(vm.pid)
        if now != before:
            before, last = now, time.monotonic()


def close(vm):
    """Ends all processes of a machine and removes its files."""
    vm.close()
    path = getattr(vm, "bench_ram_file", None)
    if path and os.path.exists(path):
        os.unlink(path)


class Running:
    """Context manager of start() and close()."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs

    def __enter__(self):
        self.vm = start(*self.args, **self.kwargs)
        return self.vm

    def __exit__(self, *_):
        close(self.vm)


def settle(vm):
    """Lets the guest run for a moment: gaps are recorded when they end."""
    before = vm.body.samples
    vm.wait_for("samples", lambda: vm.body.samples > before + 100 * 4096)


def _longest_gap(vm, seen):
    body = vm.body
    new = min(body.gaps - seen, abi.RING_ENTRIES)
    gaps = [end - begin for begin, end in vm.page.ring()[-new:]] if new else []
    return max(gaps, default=0)


def _wait_outcome(client, timeout):
    """The status a MIGRATION event names last; raises QmpClosed at the end."""
    end = time.monotonic() + timeout
    while True:
        for event in list(client.events):
            client.events.remove(event)
            status = event.get("data", {}).get("status")
            if event["event"] == "MIGRATION" and \
                    status in ("completed", "failed", "cancelled"):
                return status
        left = end - time.monotonic()
        if left <= 0:
            raise UpdateFailed("no outcome after %g s" % timeout)
        try:
            message = client.receive(left)
        except (TimeoutError, OSError) as e:
            raise UpdateFailed("no outcome after %g s" % timeout) from e
        if "event" in message:
            client.events.append(message)


def _wait_running(proc, timeout):
    """query-migrate's answer of a process once it runs the guest."""
    end = time.monotonic() + timeout
    while True:
        answer = proc.qmp.cmd("query-migrate")
        if answer.get("status") == "failed":
            raise UpdateFailed(answer.get("error-desc", "failed") + "; " +
                               proc.log()[-500:])
        if answer.get("status") == "completed" and \
                proc.qmp.cmd("query-status")["running"]:
            return answer
        if time.monotonic() > end:
            raise UpdateFailed("not running after %g s: %s" % (timeout,
                                                               answer))
        time.sleep(0.0005)


def _report(sample, answer):
    """What the program itself says about the pause."""
    pause = answer.get("pause")
    if pause:
        sample["host"] = pause["downtime-us"] / 1e3
        sample["phases"] = {p["name"]: p["us"] for p in pause["phases"]}
    elif "downtime" in answer:
        sample["host"] = float(answer["downtime"])


def _transfer(vm, sample):
    old = vm.proc
    vm.set_parameters(mode="cpr-transfer")
    old.qmp.events.clear()
    begin = now_ms()
    generation, new = vm.spawn_incoming()
    command = now_ms()
    vm.qmp.cmd("migrate", channels=[
        vm.unix_channel("main", vm.main_path(generation)),
        vm.unix_channel("cpr", vm.cpr_path(generation))])
    status = _wait_outcome(old.qmp, TIMEOUT)
    if status != "completed":
        raise UpdateFailed("%s: %s; new side: %s" % (
            status, old.qmp.cmd("query-migrate").get("error-desc"),
            new.log()[-500:]))
    new.connect(vm.qmp_path(generation))
    _wait_running(new, TIMEOUT)
    end = now_ms()
    sample["command"], sample["whole"] = end - command, end - begin
    _report(sample, old.qmp.cmd("query-migrate"))
    vm.proc, vm.generation = new, generation
    vm.updates += 1
    old.qmp.cmd("quit")
    try:
        old.wait()
    finally:
        old.kill()


def _in_place(vm, sample, mode):
    """Exec and graft: the process stays, its image is another one."""
    state = "file:" + vm.path("vm.state")
    extra = [] if mode == "graft" else ["-incoming", state]
    vm.set_parameters(mode="cpr-" + mode, cpr_exec_command=[
        vm.program] + vm.args(vm.generation, extra))
    vm.qmp.events.clear()
    where = {} if mode == "graft" else {"uri": state}
    command = now_ms()
    vm.qmp.cmd("migrate", **where)
    end = time.monotonic() + TIMEOUT
    while True:
        # A client of Baton stays connected; QEMU closes the connection.
        try:
            vm.qmp.drain_events(0.001)
            answer = _wait_running(vm.proc, TIMEOUT)
            break
        except qmp_module.QmpClosed as e:
            if not vm.proc.alive():
                raise UpdateFailed("the process ended: " +
                                   vm.proc.log()[-500:]) from e
            if time.monotonic() > end:
                raise UpdateFailed("no monitor after the update") from e
            vm.proc.connect(vm.qmp_path(vm.generation))
    sample["command"] = now_ms() - command
    sample["whole"] = sample["command"]
    _report(sample, answer)
    vm.updates += 1


def _reboot(vm, sample):
    """Saved with RAM left in place, ended, started anew and loaded."""
    begin = now_ms()
    state = "file:" + vm.path("vm.state")
    answer = vm.save(state, shared=True)
    if answer["status"] != "completed":
        raise UpdateFailed("saving: %s" % answer)
    vm.quit()
    vm.load(state, shared=True, ram_path=vm.bench_ram_file)
    _wait_running(vm.proc, TIMEOUT)
    sample["command"] = sample["whole"] = now_ms() - begin


def update(vm, mode, seen_by_guest=True):
    """Updates once; returns the sample, raises UpdateFailed.

    A guest that sleeps or has other counters does not see its pause.
    """
    sample = {}
    try:
        if seen_by_guest:
            seen = vm.body.gaps
            settle(vm)
            sample["noise"] = ms(_longest_gap(vm, seen))
            seen, lost = vm.body.gaps, vm.body.gap_sum
        if mode == "transfer":
            _transfer(vm, sample)
        elif mode == "reboot":
            _reboot(vm, sample)
        else:
            _in_place(vm, sample, mode)
        vm.running()
        if seen_by_guest:
            settle(vm)
            sample["pause"] = ms(_longest_gap(vm, seen))
            sample["lost"] = ms(vm.body.gap_sum - lost)
        vm.check_no_errors()
    except (harness.Failed, qmp_module.QmpError, qmp_module.QmpClosed,
            AssertionError, LookupError, OSError,
            subprocess.TimeoutExpired) as e:
        raise UpdateFailed("%s: %s" % (type(e).__name__, str(e)[:1500])) from e
    return sample


OPERATIONS = {"read": abi.READ_ALL, "write": abi.WRITE_ALL,
              "random": abi.CRAWL}


def touch(vm, kind):
    """ms of a touch of all RAM; for "random" of each stretch of a crawl.

    The guest samples its TSC for a moment before, so that caches are as
    warm as after an update.
    """
    settle(vm)
    cycles = vm.request(OPERATIONS[kind], 300)
    if kind == "random":
        return [ms(c) for c in vm.page.curve()]
    return ms(cycles)


def beyond_ram(pid):
    """Proportional resident bytes of a process without shared memory.

    Guest RAM is shared memory; of the rest only a few pages are.
    """
    sizes = {}
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        for line in f:
            name, _, value = line.partition(":")
            if name in ("Pss", "Pss_Shmem"):
                sizes[name] = int(value.split()[0]) * 1024
    return sizes["Pss"] - sizes["Pss_Shmem"]


def host():
    """What the figures depend on."""
    uname = os.uname()
    cpu = {}
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            key, _, value = line.partition(":")
            cpu.setdefault(key.strip(), value.strip())
    flags = cpu.get("flags", "").split()
    virt = [f for f in ("vmx", "svm") if f in flags]
    huge = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
    thp = None
    if os.path.exists(huge):
        with open(huge, encoding="ascii") as f:
            thp = f.read().strip()
    return {"kernel": uname.release.split("-")[0], "cpu": cpu.get("model name"),
            "cores": os.cpu_count(), "tsc_mhz": tsc.hz() / 1e6,
            "virtualization": virt[0] if virt else
            "none: a KVM that works without", "shmem_thp": thp,
            "memory_gib": os.sysconf("SC_PAGE_SIZE") *
            os.sysconf("SC_PHYS_PAGES") / (1 << 30),
            "load_average": os.getloadavg()[0],
            "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def raise_on_signals():
    """Makes signals end the program as an exception does, which cleans up.

    Once: what comes after the first must not disturb the cleaning.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number, _frame):
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, end)


def dump(results, path):
    """Writes JSON so that an interrupted bench leaves a whole file."""
    new = path + ".new"
    with open(new, "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    os.replace(new, path)
