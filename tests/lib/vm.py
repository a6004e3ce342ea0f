# SPDX-License-Identifier: MIT
"""Virtual machines under test: start, look inside, update, clean up."""

import hashlib
import itertools
import json
import mmap
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter

import abi
import load
import procstat
import qmp

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BATON = os.path.abspath(os.environ.get("BATON") or
                        os.path.join(ROOT, "build", "baton"))
GUESTS = os.path.abspath(os.environ.get("GUESTS") or
                         os.path.join(ROOT, "build", "guest"))
MIB = 1 << 20


def _has(text):
    """The program under test is one, and has these bytes."""
    if not os.path.exists(BATON):
        return False
    with open(BATON, "rb") as f:
        return text in f.read()


# ThreadSanitizer has a thread of its own, and both keep freed memory.
THREAD_SANITIZED = _has(b"__tsan_init")
SANITIZED = THREAD_SANITIZED or _has(b"__asan_init")


DEFAULT_DOWNTIME_LIMIT = 300  # ms


def guest_path(name):
    """The guest's ELF file."""
    return os.path.join(GUESTS, name + ".elf")


def build_guests():
    """Builds the small guests if one is missing or older than a source."""
    sources = os.path.join(ROOT, "tests", "guest")
    newest = max(os.stat(os.path.join(sources, f)).st_mtime
                 for f in os.listdir(sources))
    for name in ("gap", "timer", "fpu", "serial", "smp", "rom", "virtio", "blk",
                 "pci", "net",
                 "ports", "parts"):
        path = guest_path(name)
        if not os.path.exists(path) or os.stat(path).st_mtime < newest:
            subprocess.run([os.path.join(sources, "build"), GUESTS],
                           check=True)
            return


def check_growth(before, after, slack):
    """Resident memory has not grown by more; unless a sanitizer keeps it."""
    assert SANITIZED or after <= before + slack, \
        "resident memory grew from %d to %d bytes" % (before, after)


class Failed(AssertionError):
    """An update did not end as it should; carries what was seen."""


class Process:
    """One process of a VMM, with its log and its QMP connection."""

    def __init__(self, argv, log_path, stdin=None, stdout=None, pass_fds=()):
        self.argv = argv
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(
                argv, stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or log, stderr=log, pass_fds=pass_fds,
                preexec_fn=load.die_with_parent)
        self.pid = self.popen.pid
        self.qmp = None

    def alive(self):
        return self.popen.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def connect(self, path, timeout=20.0, events=True):
        """Connects to the QMP socket (again, if there was a connection)."""
        if self.qmp:
            self.qmp.close()
        end = time.monotonic() + timeout
        while True:
            try:
                self.qmp = qmp.Qmp(path, timeout, alive=self.alive)
                break
            except qmp.QmpClosed as e:
                # The socket of the image that is about to be replaced.
                reason = e
                if self.alive() and time.monotonic() < end:
                    continue
            except OSError as e:
                reason = e
            raise Failed("no QMP at %s: %s; exit status %s; log: %s" %
                         (path, reason, self.popen.poll(),
                          self.log())) from reason
        if events:
            self.qmp.cmd("migrate-set-capabilities", capabilities=[
                {"capability": "events", "state": True}])
        return self.qmp

    def wait(self, timeout=20.0):
        """Exit status."""
        return self.popen.wait(timeout)

    def kill(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.wait()
        if self.qmp:
            self.qmp.close()
            self.qmp = None
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()


class Vm:
    """A guest and the process that runs it; survives updates."""

    def __init__(self, guest="gap", append="", mem="256M", smp=1, serial=None,
                 backend=True, extra=(), program=None, kernel=None,
                 directory=None, bios=None):
        self.own_dir = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix="baton-test-")
        self.guest = guest
        self.kernel = kernel or guest_path(guest)
        self.bios = bios
        self.append = append
        self.mem = mem
        self.smp = smp
        self.serial = serial or (lambda generation: "null")
        self.backend = backend
        self.extra = list(extra)
        self.program = program or BATON
        self.generations = itertools.count()
        self.procs = []
        self.proc = None
        self.generation = None
        self.ram = None
        self.updates = 0

    # Start and end.

    def path(self, name):
        return os.path.join(self.dir, name)

    def qmp_path(self, generation):
        return self.path("%d.qmp" % generation)

    def args(self, generation, extra=()):
        """The command line without the program's name."""
        args = ["-name", "test", "-m", self.mem, "-smp", str(self.smp),
                "-cpu", "host",
                "-bios" if self.bios else "-kernel", self.bios or self.kernel,
                "-display", "none", "-nodefaults",
                "-serial", self.serial(generation), "-monitor", "none",
                "-qmp", "unix:%s,server=on,wait=off" %
                self.qmp_path(generation)]
        if self.append:
            args += ["-append", self.append]
        if self.backend:
            args += ["-object",
                     "memory-backend-memfd,id=ram0,size=%s,share=on" %
                     self.mem,
                     "-machine", "memory-backend=ram0,aux-ram-share=on"]
        return args + self.extra + list(extra)

    def spawn(self, extra=(), program=None, **kwargs):
        """Starts a process of the next generation; returns (generation, it)."""
        generation = next(self.generations)
        proc = Process([program or self.program] +
                       self.args(generation, extra),
                       self.path("%d.log" % generation), **kwargs)
        self.procs.append(proc)
        return generation, proc

    def start(self, extra=(), wait_ready=True, **kwargs):
        """Starts the guest and, by default, waits until it is set up."""
        self.generation, self.proc = self.spawn(extra, **kwargs)
        self.proc.connect(self.qmp_path(self.generation))
        self.map_ram()
        if wait_ready:
            self.wait_ready()
        return self

    def close(self):
        for proc in self.procs:
            proc.kill()
        if self.ram is not None:
            self.ram.close()
            self.ram = None
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def qmp(self):
        return self.proc.qmp

    @property
    def pid(self):
        return self.proc.pid

    # Inside the guest.

    def start_on_file(self, path):
        """Like start, with guest RAM in a file of that name."""
        self.generation, self.proc = self.spawn()
        self.proc.connect(self.qmp_path(self.generation))
        self.map_ram(path)
        self.wait_ready()

    def map_ram(self, path=None):
        path = path or procstat.ram_fd(self.proc.pid)
        fd = os.open(path, os.O_RDWR)
        try:
            self.ram_id = os.fstat(fd).st_ino
            size = os.fstat(fd).st_size
            self.ram = mmap.mmap(fd, size)
        finally:
            os.close(fd)

    def check_same_ram(self):
        """The process that runs the guest holds the very same memory."""
        now = os.stat(procstat.ram_fd(self.proc.pid)).st_ino
        assert now == self.ram_id, "guest RAM is another object now"

    @property
    def page(self):
        return abi.Page(self.ram)

    @property
    def head(self):
        return self.page.head

    @property
    def body(self):
        return self.page.body

    def wait_for(self, what, condition, timeout=20.0):
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise Failed("%s did not happen in %g s; guest: %s; log: %s" %
                             (what, timeout, self.head.all(),
                              self.proc.log()))
            if not self.proc.alive():
                raise Failed("process ended with status %s; log: %s" %
                             (self.proc.popen.poll(), self.proc.log()))
            time.sleep(0.002)

    def wait_ready(self, timeout=30.0):
        self.wait_for("set-up of the guest", lambda: self.page.ready, timeout)

    def running(self, seconds=5.0):
        """Waits for the guest's heartbeat to go on."""
        before = self.head.heartbeat
        self.wait_for("a heartbeat", lambda: self.head.heartbeat != before,
                      seconds)

    def stopped(self, seconds=0.1):
        """True if the guest does not run for so long."""
        before = self.head.heartbeat
        time.sleep(seconds)
        return self.head.heartbeat == before

    def request(self, operation, timeout=60.0):
        """Has the guest do something; returns the TSC cycles it took."""
        word = ((self.head.reply >> 8) + 1) << 8 | operation
        self.head.put("request", word)
        self.wait_for("request %#x" % word,
                      lambda: self.head.reply == word, timeout)
        return self.head.request_cycles

    def static_hash(self):
        """Digest of the part of the gap guest's RAM that never changes."""
        body = self.body
        begin = body.static_gpa
        end = begin + body.static_bytes
        with memoryview(self.ram) as view:
            return hashlib.blake2b(view[begin:end]).hexdigest()

    def check_no_errors(self):
        head = self.head
        assert head.exc_vector == 0, \
            "the guest took an exception: %s" % head.all()
        assert head.errors == 0, "the guest found errors: %s; %s" % (
            head.all(), self.body.all())

    def status(self):
        return self.qmp.cmd("query-status")

    # Updates.

    def set_parameters(self, **parameters):
        self.qmp.cmd("migrate-set-parameters", **parameters)

    def wait_migrate(self, timeout=30.0):
        """Polls query-migrate until the attempt has ended."""
        end = time.monotonic() + timeout
        while True:
            answer = self.qmp.cmd("query-migrate")
            if answer.get("status") in ("completed", "failed", "cancelled"):
                return answer
            if time.monotonic() > end:
                raise Failed("update still %s after %g s; log: %s" %
                             (answer, timeout, self.proc.log()))
            time.sleep(0.001)

    def main_path(self, generation):
        return self.path("main%d.sock" % generation)

    def cpr_path(self, generation):
        return self.path("cpr%d.sock" % generation)

    @staticmethod
    def unix_channel(kind, path):
        return {"channel-type": kind,
                "addr": {"transport": "socket", "type": "unix",
                         "path": path}}

    def spawn_incoming(self, extra=(), program=None, main=None):
        """Starts the new side of a transfer, up to its cpr socket."""
        number = len(self.procs)
        cpr = json.dumps(self.unix_channel("cpr", self.cpr_path(number)))
        incoming = ["-incoming", main or "unix:" + self.main_path(number),
                    "-incoming", cpr]
        generation, proc = self.spawn(incoming + list(extra), program)
        assert generation == number
        end = time.monotonic() + 20
        while not procstat.listens(self.cpr_path(number)):
            if not proc.alive() or time.monotonic() > end:
                raise Failed("new side did not listen; exit status %s; %s" %
                             (proc.popen.poll(), proc.log()))
            time.sleep(0.001)
        return generation, proc

    def migrate_to(self, generation, main=None):
        """Issues the command of a transfer; raises QmpError if refused."""
        self.set_parameters(mode="cpr-transfer")
        self.qmp.cmd("migrate", channels=[
            main or self.unix_channel("main", self.main_path(generation)),
            self.unix_channel("cpr", self.cpr_path(generation))])

    def transfer(self, extra=(), program=None, timeout=30.0):
        """Updates by transfer; the old process is told to quit."""
        generation, new = self.spawn_incoming(extra, program)
        old = self.proc
        self.migrate_to(generation)
        answer = self.wait_migrate(timeout)
        if answer["status"] != "completed":
            new.kill()
            raise Failed("transfer %s: %s; old: %s; new: %s" %
                         (answer["status"], answer.get("error-desc"),
                          old.log(), new.log()))
        self.adopt(generation, new)
        old.qmp.cmd("quit")
        code = old.wait()
        assert code == 0, "old process ended with status %d" % code
        old.kill()
        return answer

    def adopt(self, generation, new):
        """The new process is the one that runs the guest now."""
        new.connect(self.qmp_path(generation))
        self.proc = new
        self.generation = generation
        self.updates += 1

    def exec_command(self, program=None, extra=()):
        return [program or self.program] + self.args(
            self.generation, ["-incoming", "file:" + self.path("vm.state")] +
            list(extra))

    def exec_(self, command=None, timeout=30.0):
        """Updates by exec; returns the events that came on the way."""
        pid = self.pid
        self.set_parameters(mode="cpr-exec", cpr_exec_command=command or
                            self.exec_command())
        # Tests measure no time: a shared host may stand still for longer than
        # the default, and a sanitizer takes long to start.
        limit = self.qmp.cmd("query-migrate-parameters")["downtime-limit"]
        if limit == DEFAULT_DOWNTIME_LIMIT:
            self.set_parameters(
                downtime_limit=20000 if SANITIZED else 3000)
        self.qmp.cmd("migrate", uri="file:" + self.path("vm.state"))
        events = self.wait_exec(timeout)
        assert self.proc.pid == pid
        end = time.monotonic() + timeout
        while self.status()["status"] == "inmigrate":
            if time.monotonic() > end:
                raise Failed("still inmigrate; %s" % self.proc.log())
            time.sleep(0.001)
        answer = self.qmp.cmd("query-migrate")
        if answer["status"] != "completed":
            raise Failed("exec %s: %s; %s" % (
                answer["status"], answer.get("error-desc"), self.proc.log()))
        self.updates += 1
        return events

    def program_for_a_trial_only(self):
        """Is there when it is tried, and gone when it is to be executed."""
        path = self.path("for-a-trial")
        with open(path, "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\nrm -- "$0"\nexec "%s" "$@"\n' % self.program)
        os.chmod(path, 0o755)
        return path

    def graft_command(self, program=None, extra=()):
        return [program or self.program] + self.args(self.generation, extra)

    def graft(self, command=None, timeout=30.0):
        """Updates by graft: another image in the same process.

        The connection goes on; returns query-migrate's answer."""
        if SANITIZED:
            import pytest  # the bench works without
            pytest.skip("NO GRAFTS WITH A SANITIZER")
        self.set_parameters(mode="cpr-graft", cpr_exec_command=command or
                            self.graft_command())
        self.qmp.cmd("migrate")
        answer = self.wait_migrate(timeout)
        if answer["status"] != "completed":
            raise Failed("graft %s: %s; %s" % (
                answer["status"], answer.get("error-desc"), self.proc.log()))
        self.updates += 1
        return answer

    def wait_waiting(self, timeout=20.0):
        """Waits until the next image waits for its operator's load."""
        end = time.monotonic() + timeout
        while self.status()["status"] != "inmigrate":
            if time.monotonic() > end:
                raise Failed("not inmigrate; %s" % self.proc.log())
            time.sleep(0.002)

    def wait_exec(self, timeout=30.0):
        """Follows an exec that was started to the end; returns the events.

        The connection goes on in the next image, or, if that is one of a
        release that does not know how, is made anew."""
        connection = self.qmp
        try:
            self.wait_migrate(timeout)
        except qmp.QmpClosed:
            pass
        else:
            return connection.event_names()
        if not self.proc.alive():
            raise Failed("process ended with status %s in exec; %s" %
                         (self.proc.popen.poll(), self.proc.log()))
        self.proc.connect(self.qmp_path(self.generation))
        return connection.event_names()

    # Saving to a stream and loading it in another process.

    def save(self, uri, mode="cpr-reboot", shared=False, timeout=60.0,
             **migrate):
        """Saves; the source ends postmigrate. Returns query-migrate's answer."""
        self.set_parameters(mode=mode)
        self.set_ignore_shared(self.qmp, shared)
        if uri:
            migrate["uri"] = uri
        self.qmp.cmd("migrate", **migrate)
        return self.wait_migrate(timeout)

    @staticmethod
    def set_ignore_shared(monitor, on):
        monitor.cmd("migrate-set-capabilities", capabilities=[
            {"capability": "x-ignore-shared", "state": on},
            {"capability": "events", "state": True}])

    def spawn_deferred(self, mode="cpr-reboot", shared=False, extra=()):
        """Starts a process that waits for migrate-incoming, set up."""
        generation, new = self.spawn(["-incoming", "defer"] + list(extra))
        new.connect(self.qmp_path(generation))
        self.set_ignore_shared(new.qmp, shared)
        new.qmp.cmd("migrate-set-parameters", mode=mode)
        return generation, new

    def wait_loaded(self, new, timeout=60.0):
        end = time.monotonic() + timeout
        while True:
            answer = new.qmp.cmd("query-migrate")
            if answer.get("status") in ("completed", "failed"):
                return answer
            if time.monotonic() > end:
                raise Failed("not loaded: %s; log: %s" % (answer, new.log()))
            time.sleep(0.002)

    def load(self, uri, mode="cpr-reboot", shared=False, ram_path=None,
             extra=()):
        """Loads in a new process, which runs the guest then."""
        generation, new = self.spawn_deferred(mode, shared, extra)
        new.qmp.cmd("migrate-incoming", uri=uri)
        self.adopt_loaded(generation, new, ram_path)
        return new

    def adopt_loaded(self, generation, new, ram_path=None):
        answer = self.wait_loaded(new)
        if answer["status"] != "completed":
            raise Failed("load failed: %s; log: %s" % (answer, new.log()))
        self.proc = new
        self.generation = generation
        self.updates += 1
        self.ram.close()
        self.map_ram(ram_path)

    def quit(self):
        self.qmp.cmd("quit")
        assert self.proc.wait() == 0

    def update(self, mode, **kwargs):
        if mode == "transfer":
            return self.transfer(**kwargs)
        if mode == "graft":
            return self.graft(**kwargs)
        return self.exec_(**kwargs)


class Footprint:
    """Descriptors, threads and memory of the process that runs a VM."""

    def __init__(self, vm):
        pid = vm.pid
        # It ends by itself, and takes longer where there is more RAM.
        vm.wait_for("RAM being mapped",
                    lambda: "prefault" not in procstat.thread_names(pid))
        # One that is being started has its maker's name at first.
        vm.wait_for("threads with names", lambda: max(
            Counter(name for name in procstat.thread_names(pid)
                    if not name.startswith("iou-")).values()) ==
                    (2 if THREAD_SANITIZED else 1))
        self.fds = procstat.fd_kinds(pid)
        self.threads = procstat.threads(pid)
        self.rss = procstat.rss_beyond_ram(pid)

    def check_against(self, first, rss_slack=1 * MIB):
        assert self.fds == first.fds, "descriptors: %s more, %s less" % (
            self.fds - first.fds, first.fds - self.fds)
        assert self.threads == first.threads, "threads: %s, at first %s" % (
            self.threads, first.threads)
        check_growth(first.rss, self.rss, rss_slack)
