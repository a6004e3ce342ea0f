# SPDX-License-Identifier: MIT
"""-run-with: a guest that runs as an ordinary user in a jail is updated like any other."""

import json
import os
import shutil
import subprocess

import pytest

import qmp
from vm import BATON, SANITIZED

SOMEBODY, GROUP = 54321, 54322
WHO = "%d:%d" % (SOMEBODY, GROUP)
MODES = ("transfer", "exec", "graft")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="ONLY ROOT CAN BECOME SOMEBODY ELSE")


def status(pid, task, name):
    with open("/proc/%d/task/%s/status" % (pid, task), encoding="ascii") as f:
        return [line.split(":")[1].split() for line in f
                if line.startswith(name + ":")][0]


def check_all_threads(vm):
    """Nothing of root is left, in whichever thread."""
    for task in os.listdir("/proc/%d/task" % vm.pid):
        try:
            assert status(vm.pid, task, "Uid") == [str(SOMEBODY)] * 4
            assert status(vm.pid, task, "Gid") == [str(GROUP)] * 4
            assert status(vm.pid, task, "Groups") == []
            assert status(vm.pid, task, "NoNewPrivs") == ["1"]
            for caps in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(status(vm.pid, task, caps)[0], 16) == 0
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile
    # Not to be traced by others of that user: what is about it is root's.
    assert os.stat("/proc/%d/environ" % vm.pid).st_uid == 0


@pytest.fixture
def unprivileged(vms):
    """A guest of SOMEBODY's, in a directory where they may make files."""
    vm = vms("gap", append="pattern=16M", mem="64M", smp=2,
             extra=["-run-with", "user=" + WHO])
    os.chown(vm.dir, SOMEBODY, GROUP)
    # The tree may be where nobody but root gets.
    vm.program = shutil.copy(BATON, vm.path("baton"))
    return vm


@pytest.mark.parametrize("sandbox", (False, True))
def test_updates_as_a_user_without_privileges(unprivileged, loops, sandbox):
    if sandbox and SANITIZED:
        pytest.skip("A SANITIZER LOOKS FOR LEAKS BY CALLS THE SANDBOX DENIES")
    vm = unprivileged
    with open(vm.path("disk"), "wb") as f:
        f.truncate(1 << 20)
    vm.extra += ["-drive", "file=%s,format=raw,if=virtio" % vm.path("disk"),
                 "-pidfile", vm.path("pid")]
    if sandbox:
        vm.extra += ["-sandbox", "on"]
    vm.start()
    before = vm.static_hash()
    check_all_threads(vm)
    for i in range(max(6, loops // 5)):
        vm.update(MODES[i % 3])
        # An exec may have fallen back.
        assert vm.qmp.cmd("query-migrate")["status"] == "completed"
        vm.running()
        check_all_threads(vm)
        with open(vm.path("pid"), encoding="ascii") as f:
            assert int(f.read()) == vm.pid
    assert vm.static_hash() == before
    vm.check_no_errors()
    # Kernel and disk are root's, and were open: the guest can be reset.
    assert os.stat(vm.path("disk")).st_uid == 0
    vm.qmp.cmd("system_reset")
    vm.running()
    for proc in vm.procs:
        assert "ermission denied" not in proc.log(), proc.log()


@pytest.mark.parametrize("mode", ("cpr-exec", "cpr-graft"))
@pytest.mark.parametrize("asked", (
    "user=%d:%d" % (SOMEBODY + 1, GROUP), "user=" + WHO + ",chroot=/usr"))
def test_an_image_that_asks_for_something_else_is_refused(
        unprivileged, mode, asked):
    vm = unprivileged.start()
    command = (vm.exec_command if mode == "cpr-exec" else vm.graft_command)()
    command[command.index("user=" + WHO)] = asked
    vm.set_parameters(mode=mode, cpr_exec_command=command)
    with pytest.raises(qmp.QmpError) as refused:
        vm.qmp.cmd("migrate", **({"uri": "file:" + vm.path("s")}
                                 if mode == "cpr-exec" else {}))
    assert "for good" in str(refused.value), refused.value
    vm.running()
    # One that asks for nothing gets what there is.
    at = command.index("-run-with")
    del command[at:at + 2]
    vm.update(mode[4:], command=command)
    vm.running()
    check_all_threads(vm)


@pytest.mark.parametrize("mode", ("cpr-exec", "cpr-graft"))
def test_root_stays_root_within_a_process(vms, mode):
    vm = vms("gap", append="pattern=16M", mem="64M").start()
    vm.set_parameters(mode=mode, cpr_exec_command=vm.graft_command(
        extra=["-run-with", "user=" + WHO]))
    with pytest.raises(qmp.QmpError) as refused:
        vm.qmp.cmd("migrate", **({"uri": "file:" + vm.path("s")}
                                 if mode == "cpr-exec" else {}))
    assert "cpr-transfer" in str(refused.value), refused.value
    vm.running()
    # A new process can become somebody else.
    os.chown(vm.dir, SOMEBODY, GROUP)
    vm.extra += ["-run-with", "user=" + WHO]
    vm.update("transfer")
    vm.running()
    check_all_threads(vm)


def test_an_unprivileged_guest_does_not_become_roots(unprivileged):
    vm = unprivileged.start()
    vm.extra = []
    generation, new = vm.spawn_incoming()
    with pytest.raises(qmp.QmpError) as refused:
        vm.migrate_to(generation)
    assert "ermission denied" in str(refused.value), refused.value
    new.kill()
    vm.running()
    check_all_threads(vm)


def make_jail(path):
    """The program and its libraries; the directory itself is root's."""
    os.makedirs(path + "/bin")
    os.makedirs(path + "/run")
    os.chown(path + "/run", SOMEBODY, GROUP)
    os.chmod(path, 0o755)
    shutil.copy(BATON, path + "/bin/baton")
    for word in subprocess.run(["ldd", BATON], check=True, encoding="utf-8",
                               stdout=subprocess.PIPE).stdout.split():
        if word.startswith("/"):
            os.makedirs(path + os.path.dirname(word), exist_ok=True)
            shutil.copy(word, path + word)


@pytest.fixture
def jailed(vms):
    if SANITIZED:
        pytest.skip("A SANITIZER NEEDS /proc, WHICH A JAIL HAS NOT")
    vm = vms("gap", append="pattern=16M", mem="64M", smp=2)
    vm.jail = vm.path("jail")
    make_jail(vm.jail)
    os.chmod(vm.dir, 0o755)
    vm.extra = ["-run-with", "user=%s,chroot=%s" % (WHO, vm.jail)]
    return vm


def test_exec_in_a_jail(jailed):
    """Without /proc, /dev/kvm and the guest's kernel in it."""
    vm = jailed.start()
    before = vm.static_hash()
    assert os.readlink("/proc/%d/root" % vm.pid) == vm.jail
    for i in range(4):
        vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.graft_command(
            program="/bin/baton",
            extra=["-incoming", "file:/run/state"]))
        vm.qmp.cmd("migrate", uri="file:/run/state")
        vm.wait_exec()
        vm.wait_for("the guest", lambda: vm.status()["running"])
        assert vm.qmp.cmd("query-migrate")["status"] == "completed"
        vm.running()
        check_all_threads(vm)
        assert os.readlink("/proc/%d/root" % vm.pid) == vm.jail
        # What the guest boots from came along.
        if i == 2:
            vm.qmp.cmd("system_reset")
            vm.wait_ready()
            vm.running()
    assert vm.static_hash() == before
    vm.check_no_errors()


def test_exec_in_a_jail_falls_back(jailed):
    vm = jailed.start()
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=[
        "/bin/baton", "-no-such-option", "-incoming", "file:/run/state"])
    vm.qmp.cmd("migrate", uri="file:/run/state")
    vm.wait_exec()
    vm.wait_for("the guest", lambda: vm.status()["running"])
    answer = vm.qmp.cmd("query-migrate")
    assert answer["status"] == "failed"
    assert "no-such-option" in answer["error-desc"]
    vm.running()
    check_all_threads(vm)
    vm.qmp.cmd("system_reset")
    vm.wait_ready()
    vm.running()


def test_what_cannot_be_done_in_a_jail_is_refused_while_the_guest_runs(jailed):
    vm = jailed.start()
    for mode, command, why in (
            ("cpr-exec", [BATON + "-else"], "no program"),
            ("cpr-graft", [BATON + "-else"], "no program"),
            ("cpr-graft", ["/bin/baton"], "/proc/self/task")):
        vm.set_parameters(mode=mode, cpr_exec_command=command)
        try:
            vm.qmp.cmd("migrate", **({"uri": "file:/run/state"}
                                     if mode == "cpr-exec" else {}))
            answer = vm.wait_migrate()
            assert answer["status"] == "failed"
            assert why in answer["error-desc"]
        except qmp.QmpError as refused:
            assert why in str(refused), refused
        vm.running()
    assert vm.status()["running"]


@pytest.fixture
def proc_in_jail(jailed):
    path = jailed.jail + "/proc"
    os.mkdir(path)
    if subprocess.run(["mount", "--bind", "/proc", path],
                      check=False).returncode:
        pytest.skip("NOTHING CAN BE MOUNTED HERE")
    yield jailed
    subprocess.run(["umount", "-l", path], check=True)


def test_graft_in_a_jail(proc_in_jail):
    """That needs /proc; kernel and /dev/kvm are not there either."""
    vm = proc_in_jail.start()
    before = vm.static_hash()
    for _ in range(3):
        vm.graft(vm.graft_command(program="/bin/baton"))
        vm.running()
        check_all_threads(vm)
    vm.qmp.cmd("system_reset")
    vm.wait_ready()
    vm.running()
    assert vm.static_hash() == before
    assert os.readlink("/proc/%d/root" % vm.pid) == vm.jail
    vm.check_no_errors()


def test_transfer_between_jails(jailed):
    vm = jailed.start()
    for _ in range(2):
        number = len(vm.procs)
        cpr, main = "/run/cpr%d" % number, "/run/main%d" % number
        generation, new = vm.spawn([
            "-incoming", "unix:" + main, "-incoming",
            json.dumps(vm.unix_channel("cpr", vm.jail + cpr))])
        vm.wait_for("the socket", lambda: os.path.exists(vm.jail + cpr))
        vm.set_parameters(mode="cpr-transfer")
        vm.qmp.cmd("migrate", channels=[vm.unix_channel("main", main),
                                        vm.unix_channel("cpr", cpr)])
        assert vm.wait_migrate()["status"] == "completed"
        old = vm.proc
        vm.adopt(generation, new)
        old.qmp.cmd("quit")
        assert old.wait() == 0
        vm.running()
        check_all_threads(vm)
        assert os.readlink("/proc/%d/root" % vm.pid) == vm.jail
    vm.check_no_errors()


def test_save_and_load_as_a_user(unprivileged):
    vm = unprivileged.start()
    before = vm.static_hash()
    state = "file:" + vm.path("state")
    assert vm.save(state)["status"] == "completed"
    assert os.stat(vm.path("state")).st_uid == SOMEBODY
    assert os.stat(vm.path("state")).st_mode & 0o777 == 0o600
    vm.load(state)
    vm.running()
    assert vm.static_hash() == before
    check_all_threads(vm)
    vm.check_no_errors()
