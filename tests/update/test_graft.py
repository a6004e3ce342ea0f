# SPDX-License-Identifier: MIT
"""cpr-graft: another image in the same process, or the guest stays in the old one."""

import os
import signal
import subprocess
import time

import pytest

import procstat
import qmp
import vm as vm_module
from vm import Footprint

IMAGE = os.path.join(vm_module.ROOT, "tests", "graft", "image.c")


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Builds programs that fail in one way each."""
    directory = tmp_path_factory.mktemp("images")

    def build(kind, *flags):
        path = str(directory / (kind + "".join(flags).replace("/", "_")))
        if not os.path.exists(path):
            subprocess.run(["cc", "-O1", "-fPIE", "-w", "-DKIND=" + kind, "-o",
                            path, IMAGE, *(flags or ("-pie",))], check=True)
        return path

    def lacking(place):
        """Programs whose library has lost a symbol, and whose is gone."""
        library = str(place / "libgraft.so")
        source = str(place / "library.c")
        found = []

        def make(text):
            with open(source, "w", encoding="ascii") as f:
                f.write(text)
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source],
                           check=True)

        make("void not_there(void) {}")
        path = build("lacking", "-pie", "-DMISSING", "-Wl,-z,now", library)
        make("void other(void) {}")
        yield path
        os.unlink(library)
        yield path
    build.lacking = lacking
    return build


def may_change_exe():
    """CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN."""
    with open("/proc/self/status", encoding="ascii") as f:
        caps = [int(line.split()[1], 16) for line in f
                if line.startswith("CapEff")][0]
    return caps & (1 << 40 | 1 << 21)


def graft_that_fails(vm, command, timeout=20.0):
    """query-migrate's answer; the guest runs in the old image."""
    vm.set_parameters(mode="cpr-graft", cpr_exec_command=command)
    vm.qmp.cmd("migrate")
    answer = vm.wait_migrate(timeout)
    assert answer["status"] == "failed", (answer, vm.proc.log())
    assert vm.status()["status"] == "running"
    vm.running()
    return answer["error-desc"]


def refused(vm, command):
    """The reason why `migrate` does not even begin."""
    vm.set_parameters(mode="cpr-graft", cpr_exec_command=command)
    with pytest.raises(qmp.QmpError) as error:
        vm.qmp.cmd("migrate")
    assert vm.status()["status"] == "running"
    return error.value.desc


def check_still_graftable(vm, digest, first):
    """Nothing is left of what failed, and a good image is taken."""
    Footprint(vm).check_against(first)
    vm.graft()
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


BAD_IMAGES = {
    "exits": "ended with exit status 3",
    "exits_raw": "ended with exit status 0",
    "crashes": "crashed with signal 11",
    "aborts": "crashed with signal 6",
    "overflows": "ended by signal 11",
    "leaks": "ended with exit status 4",
    "loops": "was not ready in time",
    "sleeps": "was not ready in time",
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_image_that_fails_leaves_the_guest_in_the_old_one(vms, images, kind):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    for _ in range(1 if kind in ("loops", "sleeps") else 3):
        assert BAD_IMAGES[kind] in graft_that_fails(vm, [images(kind)])
    check_still_graftable(vm, digest, first)


def test_image_that_lacks_a_symbol_leaves_the_guest_in_the_old_one(
        vms, images, tmp_path):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    for path in images.lacking(tmp_path):
        assert "exit status 127" in graft_that_fails(vm, [path])
    check_still_graftable(vm, digest, first)


def test_programs_that_are_no_baton_are_refused_by_what_they_are(
        vms, images, tmp_path):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexec true\n" + "#" * 100)
    script.chmod(0o755)
    (tmp_path / "plain").write_text("x" * 1000)
    (tmp_path / "short").write_text("x")
    (tmp_path / "short").chmod(0o755)
    os.mkfifo(tmp_path / "fifo", 0o755)
    for program, reason in (
            ("/bin/true", "no Baton that can be grafted"),
            (str(script), "no x86-64 program"),
            (str(tmp_path / "short"), "too short"),
            (str(tmp_path / "plain"), "no program that may be executed"),
            (str(tmp_path), "no program that may be executed"),
            (str(tmp_path / "fifo"), "no program that may be executed"),
            ("/nonexistent/baton", "No such file or directory"),
            ("nonexistent-baton", "No such file or directory"),
            (images("fixed", "-no-pie", "-fno-pie"),
             "not position-independent"),
            (images("newer", "-pie", "-DNOTE_VERSION=9"),
             "versions 9 to 9 of the contract")):
        assert reason in refused(vm, [program]), program
    check_still_graftable(vm, digest, first)


def test_newer_image_that_serves_older_ones_is_tried(vms, images):
    vm = vms("gap", append="pattern=32M").start()
    path = images("exits", "-pie", "-DNOTE_VERSION=9", "-DNOTE_OLDEST=1")
    assert "ended with exit status 3" in graft_that_fails(vm, [path])


def test_truncated_program_is_refused_or_fails_alone(vms, tmp_path):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    with open(vm.program, "rb") as f:
        whole = f.read()
    cut = str(tmp_path / "cut")
    for size in (0, 1, 63, 64, 200, 4096, 20000, len(whole) // 10,
                 len(whole) // 8):
        with open(cut, "wb") as f:
            f.write(whole[:size])
        os.chmod(cut, 0o755)
        reason = refused(vm, [cut] + vm.args(vm.generation))
        assert "cut off" in reason or "too short" in reason, (size, reason)
    check_still_graftable(vm, digest, first)


def replaced(argv, old, new):
    return [new if a == old else a for a in argv]


REFUSALS = {
    "unknown option": (lambda vm, c: c + ["-nonono"],
                       "-nonono: invalid option"),
    "other RAM size": (lambda vm, c: [
        a.replace("size=256M", "size=128M")
        for a in replaced(c, "256M", "128M")], "no RAM block 'ram0'"),
    "other number of vCPUs": (lambda vm, c: c + ["-smp", "2"], "use -smp 1"),
    "memory that is not shared": (lambda vm, c: [
        a.replace("share=on", "share=off") for a in c], "use share=on"),
    "device missing": (lambda vm, c: replaced(c, "null", "none"), "serial"),
    "no kernel": (lambda vm, c: c + ["-kernel", "/nonexistent/kernel"],
                  "/nonexistent/kernel"),
    "version": (lambda vm, c: c + ["-version"], "only asks for help"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_image_that_refuses_says_why(vms, name):
    make, reason = REFUSALS[name]
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    answer = graft_that_fails(vm, make(vm, vm.graft_command()))
    assert reason in answer
    assert "refuses" in answer
    check_still_graftable(vm, digest, first)


@pytest.mark.parametrize("fault", ("kill", "stop", "fail"))
@pytest.mark.parametrize("step", ("receive", "load", "run", "claim"))
def test_image_that_fails_at_a_step_leaves_the_guest_in_the_old_one(
        vms, cpu_load, step, fault):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    answer = graft_that_fails(vm, vm.graft_command(
        extra=["-debug", "handover=%s:%s" % (step, fault)]))
    late = "in time" if step == "receive" else "downtime limit"
    assert {"kill": "signal 9", "stop": late,
            "fail": "was made to fail"}[fault] in answer
    check_still_graftable(vm, digest, first)


@pytest.mark.parametrize("step", ("prepare", "stop", "save", "offer"))
def test_old_image_that_fails_at_a_step_goes_on(vms, step):
    vm = vms("gap", append="pattern=32M",
             extra=["-debug", "handover=%s:fail" % step]).start()
    digest = vm.static_hash()
    first = Footprint(vm)
    vm.extra = []
    assert "was made to fail" in graft_that_fails(vm, vm.graft_command())
    check_still_graftable(vm, digest, first)


def test_old_image_that_fails_to_begin_says_so_at_once(vms):
    vm = vms("gap", append="pattern=32M",
             extra=["-debug", "handover=connect:fail"]).start()
    digest = vm.static_hash()
    first = Footprint(vm)
    vm.extra = []
    assert "was made to fail" in refused(vm, vm.graft_command())
    check_still_graftable(vm, digest, first)


def test_graft_takes_no_address(vms):
    vm = vms("gap", append="pattern=32M").start()
    vm.set_parameters(mode="cpr-graft", cpr_exec_command=vm.graft_command())
    for arguments in ({"uri": "file:" + vm.path("state")},
                      {"channels": [vm.unix_channel("main", vm.path("m"))]}):
        with pytest.raises(qmp.QmpError, match="takes neither 'uri' nor"):
            vm.qmp.cmd("migrate", **arguments)
    vm.set_parameters(cpr_exec_command=[])
    with pytest.raises(qmp.QmpError, match="requires setting cpr-exec"):
        vm.qmp.cmd("migrate")
    vm.running()


def test_many_grafts_leave_nothing_behind(vms, cpu_load, loops):
    vm = vms("gap", append="pattern=64M changing=1M").start()
    digest = vm.static_hash()
    first = None
    for i in range(10 * loops):
        vm.graft()
        if i % 10 == 0:
            vm.running()
        if i == 3:
            first = Footprint(vm), procstat.maps(vm.pid)
    vm.check_same_ram()
    assert vm.static_hash() == digest
    assert vm.head.boots == 1 and vm.body.backward == 0
    vm.check_no_errors()
    if first:
        Footprint(vm).check_against(first[0])
        assert abs(procstat.maps(vm.pid) - first[1]) <= 8


def test_graft_to_a_static_program(vms, static_baton):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    for program in (static_baton, vm.program, static_baton, static_baton,
                    vm.program):
        vm.graft(vm.graft_command(program))
        vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_process_and_threads_stay(vms):
    vm = vms("smp", smp=3, extra=["-machine", "huge-pages=off"]).start()
    before = vm.qmp.cmd("query-cpus-fast")
    tasks = set(os.listdir("/proc/%d/task" % vm.pid))
    for _ in range(3):
        vm.graft()
        vm.running()
    assert vm.qmp.cmd("query-cpus-fast") == before
    assert set(os.listdir("/proc/%d/task" % vm.pid)) == tasks
    vm.check_no_errors()


def test_proc_shows_the_new_program(vms, static_baton):
    vm = vms("gap", append="pattern=32M").start()
    command = vm.graft_command(static_baton)
    vm.graft(command)
    with open("/proc/%d/cmdline" % vm.pid, "rb") as f:
        assert f.read().split(b"\0")[:-1] == [a.encode() for a in command]
    with open("/proc/%d/comm" % vm.pid, encoding="ascii") as f:
        assert f.read() == os.path.basename(static_baton) + "\n"
    if may_change_exe():
        assert os.readlink("/proc/%d/exe" % vm.pid) == static_baton


def test_paused_guest_stays_paused(vms):
    vm = vms("gap", append="pattern=32M").start()
    vm.qmp.cmd("stop")
    vm.graft()
    assert vm.status()["status"] == "paused"
    assert vm.stopped()
    vm.qmp.cmd("cont")
    vm.running()
    vm.check_no_errors()


def test_private_memory_is_grafted(vms):
    vm = vms("gap", append="pattern=32M", backend=False)
    vm.extra = ["-object", "memory-backend-ram,id=ram0,size=256M,share=off",
                "-machine", "memory-backend=ram0,aux-ram-share=off"]
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(vm.generation))
    for _ in range(3):
        vm.graft()
        assert vm.status()["status"] == "running"
    for mode in ("cpr-transfer", "cpr-exec"):
        vm.set_parameters(mode=mode)
        assert vm.qmp.cmd("query-migrate")["blocked-reasons"]


def test_memory_may_have_any_name(vms):
    """Also one like those of descriptors that go along."""
    vm = vms("gap", append="pattern=32M", backend=False)
    vm.extra = ["-object", "memory-backend-ram,id=kvm,size=256M,share=on",
                "-machine", "memory-backend=kvm"]
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(vm.generation))
    vm.graft()
    assert vm.status()["status"] == "running"


def test_guest_can_be_reset_after_grafts(vms):
    vm = vms("gap", append="pattern=32M").start()
    for _ in range(2):
        vm.graft()
    boots = vm.head.boots
    vm.qmp.cmd("system_reset")
    vm.wait_for("another boot", lambda: vm.head.boots == boots + 1 and
                vm.page.ready)
    vm.running()
    vm.graft()
    vm.running()
    vm.check_no_errors()


def test_every_mode_follows_every_other(vms, cpu_load):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    modes = ("graft", "exec", "graft", "transfer", "graft", "graft",
             "transfer", "exec", "graft", "exec", "exec", "transfer")
    for mode in modes:
        vm.update(mode)
        vm.running()
    vm.check_same_ram()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_graft_right_after_an_exec_leaves_no_child_behind(vms):
    vm = vms("gap", append="pattern=32M").start()
    for _ in range(3):
        vm.exec_()
        vm.graft()
    vm.wait_for("the end of all children",
                lambda: not procstat.children(vm.pid))
    vm.running()


def test_exec_that_fails_after_a_graft_comes_back_to_that_image(
        vms, static_baton):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    vm.graft(vm.graft_command(static_baton))
    pid = vm.pid
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=vm.exec_command(extra=["-debug", "handover=load:fail"]))
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    end = time.monotonic() + 20
    while "goes on in the old one" not in vm.proc.log():
        assert time.monotonic() < end, vm.proc.log()
        time.sleep(0.01)
    vm.proc.connect(vm.qmp_path(vm.generation))
    assert vm.qmp.cmd("query-migrate")["status"] == "failed"
    assert vm.pid == pid
    vm.running()
    assert os.readlink("/proc/%d/exe" % pid) == static_baton
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_signal_ends_the_process_after_a_graft(vms):
    vm = vms("gap", append="pattern=32M").start()
    vm.graft()
    vm.proc.popen.send_signal(signal.SIGTERM)
    assert vm.proc.wait() == 0


def test_signal_handlers_are_the_new_images(vms):
    """One of the old image's would be called where nothing is any more."""
    vm = vms("gap", append="pattern=32M").start()
    for _ in range(2):
        vm.graft()
        vm.proc.popen.send_signal(signal.SIGUSR1)
        vm.running()
    assert vm.status()["status"] == "running"
    vm.check_no_errors()


def test_events_tell_of_the_stop_once(vms):
    vm = vms("gap", append="pattern=32M").start()
    vm.qmp.take_events()
    vm.graft()
    names = vm.qmp.event_names()
    assert names == ["MIGRATION setup", "MIGRATION active",
                     "MIGRATION_PASS", "STOP", "RESUME",
                     "MIGRATION completed"]
