# SPDX-License-Identifier: MIT
"""A new image of cpr-exec that cannot run the guest gives it back to the old one."""

import os
import shutil
import time

import pytest

import procstat
import qmp
import tsc
from vm import Footprint


def exec_that_fails(vm, command, timeout=20.0):
    """Returns query-migrate's answer of the old image, come back."""
    pid = vm.pid
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=command)
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_exec(timeout)
    end = time.monotonic() + timeout
    while vm.status()["status"] != "running":
        assert time.monotonic() < end, vm.proc.log()
        time.sleep(0.01)
    assert vm.pid == pid
    return vm.qmp.cmd("query-migrate")


def replaced(argv, old, new):
    return [new if a == old else a for a in argv]


# What a trial of the new image shows while the guest runs.
SEEN = {
    "unknown option": (lambda vm, c: c + ["-nonono"], "-nonono: invalid option"),
    "other RAM size": (lambda vm, c: [a.replace("size=256M", "size=128M") for a in
                                      replaced(c, "256M", "128M")], "268435456"),
    "other RAM block": (lambda vm, c: c + ["-machine", "memory-backend="],
                        "Memory backend '' not found"),
    "other number of vCPUs": (lambda vm, c: c + ["-smp", "2"], "use -smp 1"),
    "no kernel": (lambda vm, c: c + ["-kernel", "/nonexistent/kernel"],
                  "/nonexistent/kernel"),
    "only asks": (lambda vm, c: c + ["-version"], "only asks for help"),
    "no such program": (lambda vm, c: ["/nonexistent/baton"] + c[1:],
                        "/nonexistent/baton"),
    "no program of this system": (lambda vm, c: [vm.kernel] + c[1:],
                                  "ended by signal"),
    "no Baton": (lambda vm, c: ["/bin/true"] + c[1:], "ended without a word"),
    "a script that fails": (lambda vm, c: ["/bin/sh", "-c", "exit 3"],
                            "ended with status 3"),
    "a crash": (lambda vm, c: ["/bin/sh", "-c", "kill -SEGV $$"],
                "ended by signal 11"),
}
# What only the new image itself can find; the old one is executed again.
FOUND = {
    "no state": (lambda vm, c: c + ["-incoming", "file:" + vm.path("no.state")],
                 "no.state"),
    "monitor that cannot be opened": (
        lambda vm, c: c + ["-qmp", "unix:/nonexistent/dir/qmp,server=on,wait=off"],
        "/nonexistent/dir/qmp"),
}
for _step in ("receive", "load", "claim"):
    for _kind, _reason in (("fail", "was made to fail"),
                           ("crash", "it crashed: SIGSEGV"),
                           ("hang", "within the downtime limit of 400 ms")):
        FOUND["%s:%s" % (_step, _kind)] = (
            lambda vm, c, s=_step, k=_kind: c + ["-debug", "handover=%s:%s" % (s, k)],
            _reason)


@pytest.mark.parametrize("name", SEEN)
def test_a_trial_keeps_the_guest_from_an_image_that_cannot_take_it(vms, name):
    make, reason = SEEN[name]
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    vm.qmp.take_events()
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=make(vm, vm.exec_command()))
    try:
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    except qmp.QmpError as e:
        assert reason in str(e)  # it could not even be started
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert reason in answer["error-desc"], answer
    # It was never stopped, and it is the same program that goes on.
    events = vm.qmp.event_names()
    assert "STOP" not in events and "RESUME" not in events
    assert procstat.children(vm.pid) == []
    assert not os.path.exists(vm.path("vm.state"))
    vm.running()
    Footprint(vm).check_against(first)
    vm.exec_()
    vm.running()
    assert vm.static_hash() == digest
    assert vm.head.boots == 1
    vm.check_no_errors()


def test_a_trial_that_hangs_can_be_cancelled(vms):
    vm = vms("gap").start()
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=["/bin/sh", "-c", "sleep 1000 & sleep 1000"])
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_for("the trial", lambda: procstat.children(vm.pid))
    group = procstat.children(vm.pid)[0]
    assert vm.status()["status"] == "running"
    vm.qmp.cmd("migrate_cancel")
    assert vm.wait_migrate()["status"] == "cancelled"
    assert procstat.children(vm.pid) == []
    wait_for_end(group)
    vm.running()
    vm.exec_()
    vm.check_no_errors()


def wait_for_end(group):
    """All that a trial has started has ended."""
    end = time.monotonic() + 20
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_trial_leaves_nothing_behind_and_touches_nothing(vms):
    """Sockets with clients, a log and a PID file stay as they are."""
    vm = vms("serial")
    vm.extra = ["-pidfile", vm.path("pid"), "-monitor",
                "unix:%s,server=on,wait=off" % vm.path("hmp")]
    vm.start()
    before = sorted(os.listdir(vm.dir))
    with open(vm.path("pid"), encoding="ascii") as f:
        assert int(f.read()) == vm.pid
    number = os.stat(vm.path("hmp")).st_ino
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command() + [
        "-smp", "2", "-qmp", "unix:%s,server=on,wait=off" % vm.path("other")])
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    assert vm.wait_migrate()["status"] == "failed"
    assert sorted(os.listdir(vm.dir)) == before
    assert os.stat(vm.path("hmp")).st_ino == number
    with open(vm.path("pid"), encoding="ascii") as f:
        assert int(f.read()) == vm.pid
    vm.running()


@pytest.mark.parametrize("name", FOUND)
def test_guest_goes_on_in_the_old_image(vms, name):
    make, reason = FOUND[name]
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    vm.set_parameters(downtime_limit=400)
    answer = exec_that_fails(vm, make(vm, vm.exec_command()))
    assert answer["status"] == "failed"
    assert reason in answer["error-desc"], answer
    vm.running()
    vm.exec_()
    vm.running()
    assert vm.static_hash() == digest
    assert vm.head.boots == 1
    vm.check_no_errors()


def test_the_deadline_counts_from_the_stop(vms):
    """The guest stands still for the limit and two images' starts, no longer."""
    vm = vms("gap", append="pattern=32M").start()
    vm.set_parameters(downtime_limit=150)
    answer = exec_that_fails(vm, vm.exec_command() +
                             ["-debug", "handover=load:hang"])
    assert "within the downtime limit of 150 ms" in answer["error-desc"]
    vm.running()
    longest = max(end - begin for begin, end in vm.page.ring()) / tsc.hz()
    assert 0.150 <= longest < 3, longest
    vm.check_no_errors()


def test_fallback_returns_to_the_program_that_ran_not_to_its_path(vms):
    vm = vms("gap")
    program = vm.path("baton-copy")
    shutil.copy(os.path.realpath(vm.program), program)
    vm.program = program
    vm.start()
    os.unlink(program)
    with open(program, "w") as f:
        f.write("#!/bin/sh\nexit 3\n")
    os.chmod(program, 0o755)
    command = [os.environ.get("BATON", os.path.join(
        os.path.dirname(__file__), "../../build/baton"))] + vm.exec_command()[1:]
    answer = exec_that_fails(vm, command + ["-debug", "handover=load:fail"])
    assert answer["status"] == "failed"
    assert os.readlink("/proc/%d/exe" % vm.pid).startswith(program)
    vm.running()
    vm.check_no_errors()


def test_twenty_fallbacks_leave_nothing_behind(vms):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    bad = [vm.exec_command() + ["-debug", "handover=load:" + kind]
           for kind in ("fail", "crash", "hang")]
    vm.set_parameters(downtime_limit=300)
    exec_that_fails(vm, bad[0])
    footprint = Footprint(vm)
    for i in range(20):
        assert exec_that_fails(vm, bad[i % 3])["status"] == "failed"
    Footprint(vm).check_against(footprint)
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_old_image_goes_on_without_what_it_cannot_open_again(vms):
    """The old image cannot open its kernel; the console came along."""
    vm = vms("gap", append="pattern=32M")
    gone, kernel = vm.path("gone"), vm.kernel
    os.mkdir(gone)
    shutil.copy(vm.kernel, gone + "/kernel")
    vm.kernel = gone + "/kernel"
    vm.serial = lambda generation: "file:" + gone + "/serial"
    vm.start()
    digest = vm.static_hash()
    shutil.rmtree(gone)
    vm.set_parameters(downtime_limit=20000)
    answer = exec_that_fails(vm, vm.exec_command() + [
        "-kernel", kernel, "-debug", "handover=load:fail"])
    assert answer["status"] == "failed"
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()
    log = vm.proc.log()
    assert "the guest goes on without it" not in log
    assert gone + "/serial (deleted)" in procstat.fds(vm.pid).values()
    assert "cannot be reset" in log
    # The next reset is where it ends, with a reason.
    vm.qmp.cmd("system_reset")
    time.sleep(0.2)
    assert "what the guest boots from is gone" in vm.proc.log()



def test_the_end_of_the_process_ends_a_trial(vms):
    vm = vms("gap").start()
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=["/bin/sh", "-c", "sleep 1000 & sleep 1000"])
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_for("the trial", lambda: procstat.children(vm.pid))
    group = procstat.children(vm.pid)[0]
    vm.qmp.cmd("quit")
    assert vm.proc.wait() == 0
    wait_for_end(group)
    assert not os.path.exists(vm.path("vm.state"))


def test_what_a_trial_leaves_is_ended(vms):
    vm = vms("gap").start()
    vm.exec_(["/bin/sh", "-c", 'if [ -n "$BATON_CPR_EXEC_TRIAL" ]; then '
              'sleep 1000 & echo $$ >"$0"; fi; exec "$@"', vm.path("group")] +
             vm.exec_command())
    with open(vm.path("group"), encoding="ascii") as f:
        group = int(f.read())
    wait_for_end(group)
    vm.running()


def test_state_file_that_goes_away_meanwhile_costs_no_guest(vms):
    """Neither image would find the state again."""
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=[
        "/bin/sh", "-c", '[ -z "$BATON_CPR_EXEC_TRIAL" ] || rm "$0"; exec "$@"',
        vm.path("vm.state")] + vm.exec_command())
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert "cannot find" in answer["error-desc"]
    vm.running()
    assert vm.static_hash() == digest
    vm.exec_()
    vm.check_no_errors()


def test_a_variable_of_a_trial_that_is_over_is_none(vms, monkeypatch):
    """Whoever inherits it writes no answer into what has that number now."""
    with monkeypatch.context() as m:
        for number in "9", "40":
            m.setenv("BATON_CPR_EXEC_TRIAL", number)
            vm = vms("gap", append="pattern=16M").start()
            vm.exec_()
            vm.exec_()
            vm.running()
            vm.check_no_errors()


def test_a_trial_opens_no_network(vms):
    """Of the command line, where the old machine has none of that name."""
    vm = vms("gap").start()
    path = vm.path("net")
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command() + [
        "-netdev", "stream,id=n9,server=on,addr.type=unix,addr.path=" + path,
        "-smp", "2"])
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    assert vm.wait_migrate()["status"] == "failed"
    assert not os.path.exists(path)
    vm.running()
