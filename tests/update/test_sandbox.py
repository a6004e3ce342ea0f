# SPDX-License-Identifier: MIT
"""-sandbox: every update works in it, and what it denies is denied for good."""

import os

import pytest

import qmp
from refusal import reason
from vm import BATON, Failed

MODES = ("transfer", "exec", "graft")


def status(pid, task, name):
    with open("/proc/%d/task/%s/status" % (pid, task), encoding="ascii") as f:
        return [line.split(":")[1].strip() for line in f
                if line.startswith(name + ":")][0]


def check_all_threads(vm):
    for task in os.listdir("/proc/%d/task" % vm.pid):
        try:
            assert status(vm.pid, task, "Seccomp") == "2"
            assert status(vm.pid, task, "NoNewPrivs") == "1"
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile


def has_landlock():
    with open("/proc/kallsyms", encoding="ascii") as f:
        return any("landlock_restrict_self" in line for line in f)


def limited(vm):
    """-sandbox with paths: the machine's, the program's, the kernel's."""
    if not has_landlock():
        pytest.skip("THIS KERNEL HAS NO LANDLOCK")
    return ["-sandbox", "on,path=%s,path=%s,path=%s" % (
        vm.dir, os.path.dirname(os.path.realpath(BATON)),
        os.path.dirname(vm.kernel))]


@pytest.mark.parametrize("devices", (False, True))
def test_updates_in_the_sandbox(vms, loops, devices):
    vm = vms("gap", append="pattern=16M", mem="64M", smp=2,
             extra=["-sandbox", "on"])
    if devices:
        with open(vm.path("disk"), "wb") as f:
            f.truncate(1 << 20)
        vm.extra += ["-drive", "file=%s,format=raw,if=virtio" %
                     vm.path("disk"), "-device", "virtio-rng-pci"]
    vm.start()
    before = vm.static_hash()
    check_all_threads(vm)
    for i in range(max(6, loops // 5)):
        vm.update(MODES[i % 3])
        vm.running()
        check_all_threads(vm)
    assert vm.static_hash() == before
    vm.check_no_errors()
    for proc in vm.procs:
        assert "not permitted" not in proc.log(), proc.log()


def test_updates_with_limited_paths(vms):
    vm = vms("gap", append="pattern=16M", mem="64M")
    vm.extra += limited(vm)
    vm.start()
    for i in range(6):
        vm.update(MODES[i % 3])
        vm.running()
    vm.check_no_errors()
    for proc in vm.procs:
        assert "denied" not in proc.log(), proc.log()


@pytest.mark.parametrize("mode", (None,) + MODES)
def test_monitor_opens_nothing_outside_what_was_given(vms, mode, tmp_path):
    vm = vms("gap", append="pattern=16M", mem="64M")
    vm.extra += limited(vm)
    vm.start()
    if mode:
        vm.update(mode)
    outside = tmp_path / "outside"
    outside.write_bytes(b"x" * 65536)
    for command, arguments in (
            ("migrate", {"uri": "file:%s" % (tmp_path / "state")}),
            ("migrate", {"uri": "file:/etc/baton-test"}),
            ("blockdev-add", {"driver": "file", "node-name": "n",
                              "filename": str(outside)}),
            ("blockdev-add", {"driver": "file", "node-name": "n",
                              "filename": "/etc/passwd",
                              "read-only": True})):
        vm.set_parameters(mode="cpr-reboot")
        with pytest.raises(qmp.QmpError) as refused:
            vm.qmp.cmd(command, **arguments)
        assert "Permission denied" in str(refused.value), refused.value
    assert not (tmp_path / "state").exists()
    # What was given is open.
    vm.save("file:" + vm.path("inside.state"))
    assert os.path.getsize(vm.path("inside.state")) > 4096


def test_without_programs_only_a_transfer_is_possible(vms):
    vm = vms("gap", append="pattern=16M", mem="64M",
             extra=["-sandbox", "on,spawn=deny"]).start()
    vm.update("transfer")
    vm.running()
    for mode, where in (("cpr-exec", {"uri": "file:" + vm.path("s")}),
                        ("cpr-graft", {}),
                        ("cpr-reboot", {"uri": "exec:cat > /dev/null"})):
        vm.set_parameters(mode=mode, cpr_exec_command=vm.graft_command())
        with pytest.raises(qmp.QmpError) as refused:
            vm.qmp.cmd("migrate", **where)
        assert "spawn=deny" in str(refused.value)
    vm.running()
    assert vm.status()["running"]
    vm.update("transfer")
    vm.running()


@pytest.mark.parametrize("sandbox", ("on,spawn=deny", "on,path=/proc"))
def test_a_new_images_sandbox_does_not_bind_the_old_one(vms, sandbox):
    """It begins when the guest is there: until then this image can fall back."""
    if "path" in sandbox and not has_landlock():
        pytest.skip("THIS KERNEL HAS NO LANDLOCK")
    vm = vms("gap", append="pattern=16M", mem="64M").start()
    before = vm.static_hash()
    with pytest.raises(Failed):
        vm.exec_(command=vm.exec_command(extra=[
            "-sandbox", sandbox, "-debug", "handover=load:fail"]))
    assert status(vm.pid, vm.pid, "Seccomp") == "0"
    vm.running()
    # Not even the directory of the state is among the paths.
    vm.exec_(command=vm.exec_command(extra=["-sandbox", sandbox]))
    check_all_threads(vm)
    vm.running()
    assert vm.static_hash() == before


@pytest.mark.parametrize("bad,why", (
    ("maybe", "'maybe' is neither on nor off"), ("on,spawn=x", "'allow' or 'deny' is wanted"),
    ("on,path=rel", "an absolute path is wanted"),
    ("on,path=/does/not/exist", "'/does/not/exist' cannot be allowed: No such file")))
def test_bad_options(vms, bad, why):
    vm = vms("gap", extra=["-sandbox", bad])
    _, proc = vm.spawn()
    if "exist" in bad and not has_landlock():
        pytest.skip("THIS KERNEL HAS NO LANDLOCK")
    assert proc.wait() == 1
    assert why in reason(proc.log(), "-sandbox " + bad, "-sandbox")
