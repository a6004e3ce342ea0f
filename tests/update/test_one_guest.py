# SPDX-License-Identifier: MIT
"""What an operator may do at the wrong moment, and never two guests on one memory."""

import os
import signal
import socket
import subprocess
import time

import pytest

import procstat
import qmp
import vm as harness
from test_fallback import exec_that_fails


@pytest.fixture
def vm(vms):
    return vms("gap", append="pattern=16M").start()


def check_guest(vm, digest):
    vm.running()
    assert vm.static_hash() == digest
    assert vm.head.boots == 1
    assert vm.body.backward == 0
    vm.check_no_errors()


def test_failed_new_side_cannot_load_another_state_into_that_memory(vm):
    digest = vm.static_hash()
    state = "file:" + vm.path("older")
    vm.save(state, "normal")
    vm.qmp.cmd("cont")
    number = len(vm.procs)
    generation, new = vm.spawn([
        "-incoming", "defer",
        "-incoming", "cpr,addr.transport=socket,addr.type=unix,addr.path=" +
        vm.cpr_path(number)])
    end = time.monotonic() + 20
    while not procstat.listens(vm.cpr_path(number)):
        assert time.monotonic() < end
        time.sleep(0.002)
    vm.migrate_to(generation)
    new.connect(vm.qmp_path(generation))
    vm.qmp.cmd("migrate_cancel")
    # It learns of it when it says that it is ready: at once, or soon after.
    try:
        new.qmp.cmd("migrate-incoming", uri="unix:" + vm.main_path(generation),
                    exit_on_error=False)
    except qmp.QmpError as e:
        assert "Broken pipe" in str(e) or "Connection reset" in str(e)
    end = time.monotonic() + 10
    while new.qmp.cmd("query-migrate").get("status") != "failed":
        assert time.monotonic() < end
        time.sleep(0.01)
    for command, arguments in (
            ("migrate-incoming", {"uri": state, "exit-on-error": False}),
            ("cprload", {"file": vm.path("older")})):
        with pytest.raises(qmp.QmpError, match="needs a new process"):
            new.qmp.cmd(command, arguments)
    assert new.qmp.cmd("query-status")["status"] == "inmigrate"
    new.kill()
    check_guest(vm, digest)
    vm.transfer()
    check_guest(vm, digest)


@pytest.fixture
def monitored(vms):
    vm = vms("gap", append="pattern=16M")
    vm.extra = ["-monitor", "unix:%s,server=on,wait=off" % vm.path("hmp")]
    vm.start()
    return vm


@pytest.mark.parametrize("behind", ("migrate_cancel", "cont", "stop", "quit",
                                    "system_reset"))
def test_lines_behind_an_exec_run_once_when_it_is_over(monitored, behind):
    """Not in its last step, and not twice: in the image that has the guest."""
    vm = monitored
    digest = vm.static_hash()
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(vm.path("hmp"))
        s.sendall(b"migrate file:%s\n%s\n" %
                  (vm.path("vm.state").encode(), behind.encode()))
        if behind == "quit":
            assert vm.proc.wait() == 0
            # A process that ends writes no state that anybody could run.
            assert "guest is lost" not in vm.proc.log()
            return
        vm.wait_exec()
        if behind == "stop":
            vm.wait_for("the stop", lambda: not vm.status()["running"])
            assert vm.stopped()
            vm.qmp.cmd("cont")
        if behind == "system_reset":
            vm.wait_for("the second boot", lambda: vm.head.boots == 2)
            vm.wait_ready()
        assert vm.status() == {"status": "running", "running": True}
        vm.running()
    assert vm.static_hash() == digest
    assert vm.head.boots == (2 if behind == "system_reset" else 1)
    vm.check_no_errors()


def test_command_may_be_changed_while_it_is_about_to_run(vm):
    digest = vm.static_hash()
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
    vm.qmp.send_raw(
        '{"execute":"migrate","arguments":{"uri":"file:%s"}}\n'
        '{"execute":"migrate-set-parameters","arguments":'
        '{"cpr-exec-command":["/nonexistent"]}}\n' % vm.path("vm.state"))
    for _ in range(2):
        assert vm.qmp.reply() == {"return": {}}
    vm.wait_exec()
    check_guest(vm, digest)


def test_state_of_an_earlier_exec_is_refused(vm):
    """It is undamaged, and of this guest: only too old."""
    digest = vm.static_hash()
    vm.exec_()
    old = vm.path("older")
    os.rename(vm.path("vm.state"), old)
    answer = exec_that_fails(vm, [a.replace("vm.state", "older")
                                  for a in vm.exec_command()])
    assert answer["status"] == "failed"
    assert "does not hold the state that was saved" in answer["error-desc"]
    check_guest(vm, digest)


# Runs before the new image, and leaves the page of the owner word as it was when
# nothing followed the times in it.
FORGET = """
import mmap, os, sys
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        name = os.readlink("/proc/self/fd/%d" % fd)
    except OSError:
        continue
    if "baton-owner" in name and "BATON_CPR_EXEC_TRIAL" not in os.environ:
        with mmap.mmap(fd, 4096) as page:
            assert any(page[64:80])
            page[64:80] = bytes(16)
        open(sys.argv[1], "w").close()
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_image_that_does_not_say_what_it_saved_is_taken_at_its_word(vm):
    """An earlier release; this build as well, with its note wiped away."""
    digest = vm.static_hash()
    vm.exec_(["/usr/bin/python3", "-c", FORGET, vm.path("forgotten")] +
             vm.exec_command(os.path.realpath(vm.program)))
    assert os.path.exists(vm.path("forgotten"))
    check_guest(vm, digest)


def test_cprload_takes_only_what_cprsave_wrote(vm):
    digest = vm.static_hash()
    for name in ("one", "two"):
        vm.qmp.cmd("cprsave", file=vm.path(name), mode="restart")
        vm.wait_waiting()
        if name == "two":
            with pytest.raises(qmp.QmpError, match="does not hold the state"):
                vm.qmp.cmd("cprload", file=vm.path("one"))
        vm.qmp.cmd("cprload", file=vm.path(name))
        assert vm.wait_loaded(vm.proc)["status"] == "completed"
    check_guest(vm, digest)


def test_fall_back_keeps_a_command_line_that_is_no_utf_8(vms):
    vm = vms("gap", append="pattern=16M")
    plain = vm.args

    def args(generation, extra=()):
        found = plain(generation, extra)
        found[found.index("-name") + 1] = os.fsdecode(b"v\xe9m,\xff")
        return found

    vm.args = args
    vm.start()
    digest = vm.static_hash()
    argv = plain(vm.generation, ["-incoming", "file:x", "-m", "32M"])
    answer = exec_that_fails(vm, [vm.program] + argv)
    assert answer["status"] == "failed"
    check_guest(vm, digest)
    with open("/proc/%d/cmdline" % vm.pid, "rb") as f:
        assert b"\0v\xe9m,\xff\0" in f.read()


def test_source_cannot_go_on_after_another_process_had_the_memory(vms):
    vm = vms("gap", append="pattern=16M", backend=False)
    ram = vm.path("ram.img")
    vm.extra = ["-object", "memory-backend-file,id=ram0,size=256M,share=on,"
                "mem-path=" + ram, "-machine", "memory-backend=ram0"]
    vm.start_on_file(ram)
    state = "file:" + vm.path("vm.state")
    vm.save(state, shared=True)
    source = vm.proc
    vm.load(state, shared=True, ram_path=ram)
    vm.running()
    vm.quit()
    with pytest.raises(qmp.QmpError, match="another machine has had it"):
        source.qmp.cmd("cont")
    assert source.qmp.cmd("query-status")["status"] == "postmigrate"


def test_child_of_a_failed_exec_ends_quietly(vm):
    """It holds the memory; a crash of it would be one of our memory."""
    before = kernel_says_segfault()
    for _ in range(5):
        vm.set_parameters(mode="cpr-exec",
                          cpr_exec_command=[vm.program_for_a_trial_only()] +
                          vm.exec_command()[1:])
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
        vm.wait_migrate()
        vm.running()
    time.sleep(0.1)
    assert procstat.children(vm.pid) == []
    if before is None:
        pytest.skip("NO RIGHT TO READ THE KERNEL'S LOG, WHERE A CRASH SHOWS")
    assert kernel_says_segfault() == before


def kernel_says_segfault():
    """How often so far; None if it cannot be asked."""
    done = subprocess.run(["dmesg"], capture_output=True, check=False)
    return done.stdout.count(b"baton[") if done.returncode == 0 else None


def test_exec_waits_for_the_child_of_the_exec_before(vm):
    """Only this image can reap it, and its own memory needs a child as well."""
    digest = vm.static_hash()
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command(
        extra=["-debug", "handover=load:stop"]))
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_for("the stop", lambda: procstat.state(vm.pid) == "T")
    holder, = procstat.children(vm.pid)
    os.kill(holder, signal.SIGSTOP)
    os.kill(vm.pid, signal.SIGCONT)
    vm.wait_exec(20)
    vm.wait_for("the load", lambda: vm.status()["status"] == "running")
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    for _ in range(10):
        assert vm.qmp.cmd("query-migrate")["status"] == "setup"
        vm.running()
    os.kill(holder, signal.SIGCONT)
    vm.wait_exec(20)
    vm.wait_for("the load", lambda: vm.status()["status"] == "running")
    vm.wait_for("the end of both", lambda: procstat.children(vm.pid) == [])
    check_guest(vm, digest)


def test_pidfile_of_another_process_is_left_alone(vms):
    vm = vms("gap", append="pattern=16M")
    pidfile = vm.path("pid")
    vm.extra = ["-pidfile", pidfile]
    vm.start()
    state = "file:" + vm.path("vm.state")
    vm.save(state, "normal")
    source = vm.proc
    vm.load(state, "normal")
    source.qmp.cmd("quit")
    assert source.wait() == 0
    with open(pidfile, encoding="ascii") as f:
        assert int(f.read()) == vm.pid
    vm.quit()
    assert not os.path.exists(pidfile)


def test_save_that_fails_before_it_begins_keeps_the_file_there_is(vms):
    vm = vms("gap", append="pattern=16M",
             extra=["-debug", "handover=save:fail"]).start()
    path = vm.path("vm.state")
    with open(path, "wb") as f:
        f.write(b"the last good state")
    with pytest.raises(qmp.QmpError, match="was made to fail"):
        vm.save("file:" + path)
    with open(path, "rb") as f:
        assert f.read() == b"the last good state"
    vm.running()
    assert vm.save("file:" + path)["status"] == "completed"


def test_save_into_a_fifo_nobody_reads_is_an_error_at_once(vm):
    os.mkfifo(vm.path("fifo"))
    with pytest.raises(qmp.QmpError, match="Could not create"):
        vm.save("file:" + vm.path("fifo"))
    vm.running()


def test_failed_command_is_noticed_though_its_parent_ignores_children(vms):
    vm = vms("gap", append="pattern=16M")
    vm.extra = ["-serial", "null"]
    argv = ["python3", "-c", "import os,signal,sys;"
            "signal.signal(signal.SIGCHLD,signal.SIG_IGN);"
            "os.execv(sys.argv[1],sys.argv[1:])", vm.program]
    generation = next(vm.generations)
    proc = harness.Process(argv + vm.args(generation), vm.path("0.log"))
    vm.procs.append(proc)
    vm.generation, vm.proc = generation, proc
    proc.connect(vm.qmp_path(generation))
    answer = vm.save("exec:cat >/dev/null; exit 1")
    assert answer["status"] == "failed"
    assert "ended with status 1" in answer["error-desc"]


def test_what_a_command_has_started_ends_with_it(vm):
    pids = vm.path("pids")
    vm.set_parameters(mode="cpr-reboot")
    vm.qmp.cmd("migrate", uri="exec:sleep 1000 & echo $! >%s; wait" % pids)
    vm.wait_for("the command", lambda: os.path.exists(pids) and
                open(pids).read().endswith("\n"))
    pid = int(open(pids).read())
    vm.qmp.cmd("migrate_cancel")
    vm.wait_for("the end of its child",
                lambda: not os.path.exists("/proc/%d" % pid))
    vm.running()


def test_hung_new_side_that_has_the_guest_does_not_keep_the_old_from_ending(
        vm):
    generation, new = vm.spawn_incoming(["-debug", "handover=run:stop"])
    vm.migrate_to(generation)
    answer = vm.wait_migrate(40)
    assert answer["status"] == "failed"
    assert "does not say that it runs" in answer["error-desc"]
    assert vm.status()["status"] == "postmigrate"
    with pytest.raises(qmp.QmpError, match="handed over"):
        vm.qmp.cmd("cont")
    vm.quit()
    new.kill()
