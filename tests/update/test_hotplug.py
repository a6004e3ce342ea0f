# SPDX-License-Identifier: MIT
"""Devices that came or went while the machine was there go along with an update."""

import os
import time

import pytest

import procstat
import qmp
from vm import SANITIZED, Vm

LOOPS = int(os.environ.get("BATON_LOOPS", "100"))
PORT = ["-device", "pcie-root-port,id=rp1,slot=1"]
MODES = ["transfer", "exec", "graft"]


@pytest.fixture
def vm():
    with Vm(extra=PORT) as v:
        yield v


def no_graft_with_a_sanitizer(mode):
    if mode == "graft" and SANITIZED:
        pytest.skip("NO GRAFTS WITH A SANITIZER")


def devices(vm):
    """What was asked for: from path to what is told of it, in order."""
    found = {}
    for where in ("/machine/peripheral", "/machine/peripheral-anon"):
        for p in vm.qmp.cmd("qom-list", path=where):
            if p["type"].startswith("child<"):
                path = "%s/%s" % (where, p["name"])
                found[path] = {
                    q["name"]: vm.qmp.cmd("qom-get", path=path,
                                          property=q["name"])
                    for q in vm.qmp.cmd("qom-list", path=path)}
    return found


def plug(vm, **args):
    vm.qmp.cmd("device_add", **args)


def unplug(vm, name):
    vm.qmp.cmd("device_del", id=name)
    vm.qmp.wait_event("DEVICE_DELETED")


@pytest.mark.parametrize("mode", MODES)
def test_a_plugged_device_goes_along_without_an_option(vm, mode):
    no_graft_with_a_sanitizer(mode)
    vm.start()
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1", max_bytes=1000)
    before = devices(vm)
    assert before["/machine/peripheral/rng0"]["hotplugged"] is True
    for _ in range(min(3, LOOPS)):
        vm.update(mode)
        vm.running()
        assert devices(vm) == before
    vm.check_no_errors()


@pytest.mark.parametrize("mode", MODES)
def test_a_device_is_unplugged_after_an_update(vm, mode):
    no_graft_with_a_sanitizer(mode)
    vm.start()
    vm.update(mode)
    first = devices(vm)
    fds = procstat.fd_kinds(vm.pid)
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1")
    vm.update(mode)
    unplug(vm, "rng0")
    assert devices(vm) == first
    # The next one finds the slot free.
    plug(vm, driver="virtio-rng-pci", id="rng1", bus="rp1")
    vm.update(mode)
    unplug(vm, "rng1")
    if mode != "transfer":
        assert procstat.fd_kinds(vm.pid) == fds
    vm.running()
    vm.check_no_errors()


@pytest.mark.parametrize("mode", MODES)
def test_an_unplugged_device_of_the_command_line_stays_away(mode):
    no_graft_with_a_sanitizer(mode)
    with Vm(extra=PORT + ["-device", "virtio-rng-pci,id=rng0,bus=rp1"]) as vm:
        # Before the guest has run nobody is asked, so any guest will do.
        vm.start(extra=["-S"], wait_ready=False)
        unplug(vm, "rng0")
        vm.qmp.cmd("cont")
        vm.wait_ready()
        first = devices(vm)
        for _ in range(2):
            # The command line names it each time.
            vm.update(mode)
            assert devices(vm) == first
        plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1", max_bytes=9)
        again = devices(vm)
        vm.update(mode)
        assert devices(vm) == again
        vm.running()
        vm.check_no_errors()


@pytest.mark.parametrize("step", ["load", "claim"])
def test_who_gets_the_guest_back_has_its_devices(vm, step):
    vm.start()
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1")
    before = devices(vm)
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command(
        extra=["-debug", "handover=%s:fail" % step]))
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_exec()
    assert vm.wait_migrate()["status"] == "failed"
    vm.running()
    assert devices(vm) == before
    vm.exec_()
    assert devices(vm) == before
    vm.check_no_errors()


DIFFERENT = [
    (["-device", "pcie-root-port,id=rp1,slot=2"],
     "device 'rp1' is another one in the old machine: "
     "'slot' is 1 there and 2 here"),
    (["-device", "pcie-root-port,id=rp1,slot=1,addr=1e"],
     "device 'rp1' is another one in the old machine: 'addr' is "),
    (["-device", "pcie-root-port,id=rp2,slot=1"],
     "the old machine has no device 'rp2'"),
    (PORT + ["-device", "pcie-root-port,slot=2"],
     "the old machine has no device 'pcie-root-port'"),
]


@pytest.mark.parametrize("options, why", DIFFERENT)
def test_a_difference_is_named_before_the_guest_stops(vm, options, why):
    vm.start()
    vm.extra = options
    generation, new = vm.spawn_incoming()
    try:
        vm.migrate_to(generation)
        answer = vm.wait_migrate()
    except qmp.QmpError as e:
        answer = {"status": "failed", "error-desc": str(e)}
    assert answer["status"] == "failed"
    assert why in answer["error-desc"]
    assert new.wait() == 1
    assert why in new.log()
    assert "STOP" not in vm.qmp.event_names()
    vm.running()
    vm.extra = PORT
    vm.transfer()


@pytest.mark.parametrize("options, why", DIFFERENT[:1] + DIFFERENT[2:3])
@pytest.mark.parametrize("mode", ["exec", "graft"])
def test_an_image_with_a_difference_does_not_get_the_guest(vm, mode, options,
                                                           why):
    no_graft_with_a_sanitizer(mode)
    vm.start()
    before = devices(vm)
    vm.extra = options
    if mode == "exec":
        vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
        vm.wait_exec()
    else:
        vm.set_parameters(mode="cpr-graft",
                          cpr_exec_command=vm.graft_command())
        vm.qmp.cmd("migrate")
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert why in answer["error-desc"]
    vm.running()
    assert devices(vm) == before
    vm.check_no_errors()


def test_options_may_be_left_out(vm):
    vm.start()
    before = devices(vm)
    vm.extra = []
    vm.transfer()
    after = devices(vm)
    for d in list(before.values()) + list(after.values()):
        d.pop("hotplugged")
    assert before == after
    vm.running()


def defer(vm):
    """Document example 2: the new side's monitor before migrate-incoming."""
    generation, new = vm.spawn_incoming(main="defer")
    vm.migrate_to(generation)
    new.connect(vm.qmp_path(generation))
    return generation, new


def finish(vm, generation, new):
    new.qmp.cmd("migrate-incoming", uri="unix:" + vm.main_path(generation))
    assert vm.wait_migrate()["status"] == "completed"
    old = vm.proc
    vm.adopt(generation, new)
    old.qmp.cmd("quit")
    old.wait()
    vm.running()


def test_document_example_2(vm):
    vm.start()
    before = devices(vm)
    generation, new = defer(vm)
    new.qmp.cmd("device_add", driver="pcie-root-port")
    finish(vm, generation, new)
    after = devices(vm)
    added = after.pop("/machine/peripheral-anon/device[0]")
    assert after == before
    assert added["type"] == "pcie-root-port" and added["hotplugged"] is True
    # From now on it is one of the guest's devices.
    now = devices(vm)
    vm.transfer()
    assert devices(vm) == now
    vm.check_no_errors()


def test_a_device_that_came_along_is_not_added_twice(vm):
    vm.start()
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1", max_bytes=1000)
    before = devices(vm)
    generation, new = defer(vm)
    with pytest.raises(qmp.QmpError, match="'max-bytes' is 1000 there and"):
        new.qmp.cmd("device_add", driver="virtio-rng-pci", id="rng0", bus="rp1")
    # As one has to with other programs.
    new.qmp.cmd("device_add", driver="virtio-rng-pci", id="rng0", bus="rp1",
                max_bytes=1000)
    with pytest.raises(qmp.QmpError, match="Duplicate device ID 'rng0'"):
        new.qmp.cmd("device_add", driver="virtio-rng-pci", id="rng0",
                    bus="rp1", max_bytes=1000)
    finish(vm, generation, new)
    assert devices(vm) == before
    vm.check_no_errors()


def add_disk(process, path, name, bus):
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    process.qmp.cmd("blockdev-add", {
        "driver": "raw", "node-name": "node-" + name,
        "file": {"driver": "file", "filename": path}})
    process.qmp.cmd("device_add", driver="virtio-blk-pci", id=name, bus=bus,
                    drive="node-" + name)


def test_a_port_and_disks_come_before_and_during_a_deferred_update():
    """Document example 2, with something in the slots."""
    with Vm(extra=PORT) as vm:
        vm.start()
        add_disk(vm.proc, vm.path("a.img"), "a", "rp1")
        generation, new = defer(vm)
        new.qmp.cmd("device_add", driver="pcie-root-port", id="rp2")
        add_disk(new, vm.path("b.img"), "b", "rp2")
        finish(vm, generation, new)
        there = devices(vm)
        assert {p.split("/")[-1] for p in there} == {"rp1", "rp2", "a", "b"}
        for mode in ("transfer", "exec"):
            vm.update(mode)
            assert devices(vm) == there
        unplug(vm, "a")
        add_disk(vm.proc, vm.path("c.img"), "c", "rp1")
        vm.transfer()
        assert {p.split("/")[-1] for p in devices(vm)} == \
            {"rp1", "rp2", "b", "c"}
        unplug(vm, "b")
        unplug(vm, "c")
        vm.transfer()
        assert {p.split("/")[-1] for p in devices(vm)} == {"rp1", "rp2"}
        vm.running()
        vm.check_no_errors()


def back_end_commands(vm):
    """What would change what the new side has been told of back ends."""
    return (("netdev_add", {"type": "stream", "id": "n9", "server": True,
                            "addr": {"type": "unix",
                                     "path": vm.path("n9.sock")}}),
            ("netdev_del", {"id": "n0"}),
            ("set_link", {"name": "n0", "up": False}),
            ("block_resize", {"node-name": "d0", "size": 1 << 21}),
            ("blockdev-add", {"driver": "file", "node-name": "d9",
                              "filename": vm.path("d.img")}),
            ("blockdev-del", {"node-name": "d0"}))


def test_nothing_comes_or_goes_while_an_update_is_at_work(vm):
    with open(vm.path("d.img"), "wb") as f:
        f.truncate(1 << 20)
    vm.extra = list(vm.extra) + [
        "-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path=" +
        vm.path("n0.sock"), "-blockdev",
        "driver=file,node-name=d0,filename=" + vm.path("d.img")]
    vm.start()
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1")
    before = devices(vm)
    generation, new = defer(vm)
    with pytest.raises(qmp.QmpError, match="device_add not allowed while"):
        plug(vm, driver="pcie-root-port", id="rp9")
    with pytest.raises(qmp.QmpError, match="device_del not allowed while"):
        vm.qmp.cmd("device_del", id="rng0")
    for command, arguments in back_end_commands(vm):
        with pytest.raises(qmp.QmpError,
                           match="%s not allowed while" % command):
            vm.qmp.cmd(command, arguments)
    finish(vm, generation, new)
    assert devices(vm) == before
    unplug(vm, "rng0")


def test_nothing_comes_to_a_process_whose_guest_is_elsewhere(vm):
    vm.start()
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    assert vm.wait_migrate()["status"] == "completed"
    with pytest.raises(qmp.QmpError, match="was handed over or saved"):
        plug(vm, driver="pcie-root-port")
    vm.adopt(generation, new)


@pytest.mark.parametrize("mode", ["cpr-reboot", "normal"])
def test_a_stream_that_has_more_devices_is_refused_by_name(vm, mode):
    uri = "file:" + vm.path("saved")
    vm.start()
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1")
    assert vm.save(uri, mode)["status"] == "completed"
    generation, new = vm.spawn_deferred(mode)
    new.qmp.cmd("migrate-incoming", uri=uri, exit_on_error=False)
    answer = vm.wait_loaded(new)
    assert answer["status"] == "failed"
    assert "Unknown section or instance '" in answer["error-desc"]
    assert "virtio-rng" in answer["error-desc"]
    # As one does elsewhere: the device first, then the state.
    new.qmp.cmd("device_add", driver="virtio-rng-pci", id="rng0", bus="rp1")
    new.qmp.cmd("migrate-incoming", uri=uri)
    vm.adopt_loaded(generation, new)
    vm.running()
    assert "/machine/peripheral/rng0" in devices(vm)
    vm.check_no_errors()


def test_devices_come_before_the_guest_has_run():
    with Vm() as vm:
        vm.start(extra=["-S"], wait_ready=False)
        plug(vm, driver="pcie-root-port", id="rp1")
        plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1")
        vm.qmp.cmd("cont")
        vm.wait_ready()
        before = devices(vm)
        with pytest.raises(qmp.QmpError,
                           match="Bus 'pcie.0' does not support hotplugging"):
            plug(vm, driver="virtio-rng-pci", id="rng1", bus="pcie.0")
        with pytest.raises(qmp.QmpError,
                           match="Bus 'pcie.0' does not support hotplugging"):
            vm.qmp.cmd("device_del", id="rp1")
        vm.transfer()
        vm.exec_()
        assert devices(vm) == before
        vm.check_no_errors()


def test_only_those_that_can_be_saved_are_plugged(vm):
    vm.start(extra=["-only-migratable"])
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1")
    vm.transfer(extra=["-only-migratable"])
    unplug(vm, "rng0")


def test_who_listens_hears_of_a_device_by_its_path(vm):
    vm.start()
    plug(vm, driver="virtio-rng-pci", bus="rp1")
    vm.qmp.cmd("device_del", id="/machine/peripheral-anon/device[0]")
    event = vm.qmp.wait_event("DEVICE_DELETED")
    assert event["data"] == {"path": "/machine/peripheral-anon/device[0]"}
    plug(vm, driver="virtio-rng-pci", bus="rp1", id="x")
    vm.qmp.cmd("device_del", id="x")
    event = vm.qmp.wait_event("DEVICE_DELETED")
    assert event["data"] == {"device": "x", "path": "/machine/peripheral/x"}


def test_plugging_again_and_again_leaks_nothing(vm):
    vm.start()
    for i in range(LOOPS):
        plug(vm, driver="virtio-rng-pci", id="r", bus="rp1")
        unplug(vm, "r")
        if i == 2:
            fds, rss = procstat.fd_kinds(vm.pid), \
                procstat.rss_beyond_ram(vm.pid)
    assert procstat.fd_kinds(vm.pid) == fds
    assert SANITIZED or procstat.rss_beyond_ram(vm.pid) <= rss + (1 << 20)
    vm.running()
    vm.check_no_errors()


def let_go_while_an_update_waits(vm):
    """The guest was asked, and does it when the new side waits already."""
    vm.start()
    plug(vm, driver="virtio-rng-pci", id="rng0", bus="rp1")
    time.sleep(0.5)  # the guest switches it on
    generation, new = vm.spawn_incoming(main="defer")
    vm.set_parameters(mode="cpr-transfer")
    vm.qmp.cmd("device_del", id="rng0")
    vm.migrate_to(generation)
    new.connect(vm.qmp_path(generation))
    time.sleep(1)
    assert "DEVICE_DELETED" not in vm.qmp.event_names()
    assert "/machine/peripheral/rng0" in devices(vm)
    return generation, new


def test_a_device_that_goes_meanwhile_is_gone_in_the_new_process():
    with Vm("pci", extra=PORT) as vm:
        generation, new = let_go_while_an_update_waits(vm)
        finish(vm, generation, new)
        vm.wait_for("the end of the device", lambda:
                    "/machine/peripheral/rng0" not in devices(vm))
        plug(vm, driver="virtio-rng-pci", id="rng1", bus="rp1")
        vm.transfer()
        assert "/machine/peripheral/rng1" in devices(vm)
        vm.check_no_errors()


def test_a_device_that_goes_meanwhile_is_gone_after_a_failed_update():
    with Vm("pci", extra=PORT) as vm:
        _, new = let_go_while_an_update_waits(vm)
        new.kill()
        assert vm.wait_migrate()["status"] == "failed"
        vm.qmp.wait_event("DEVICE_DELETED")
        assert "/machine/peripheral/rng0" not in devices(vm)
        vm.transfer()
        vm.running()
        vm.check_no_errors()
