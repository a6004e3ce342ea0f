# SPDX-License-Identifier: MIT
"""What a guest programs on the PCI buses stays; its devices come and go between updates."""

import re
import time

import pytest

import qmp

MODES = ("transfer", "exec", "graft")
DEVICES = ("-device", "virtio-rng-pci,id=rng0,addr=3",
           "-device", "pcie-root-port,id=rp0,addr=4,chassis=1,slot=1",
           "-device", "pcie-root-port,id=rp1,addr=5,chassis=1,slot=2",
           "-device", "virtio-rng-pci,id=rng1,bus=rp1")
PLUGGED = {"driver": "virtio-rng-pci", "id": "hot", "bus": "rp0"}


def started(vms, append="", device=DEVICES, **kwargs):
    vm = vms("pci", append=append, extra=device, **kwargs).start()
    assert vm.body.functions == 5
    assert vm.body.ports == 2
    return vm


def look(vm, rounds=3):
    """The guest has read everything again, and it is as it was."""
    before = vm.body.rounds
    vm.wait_for("further rounds", lambda: vm.body.rounds >= before + rounds)
    assert (vm.body.mismatches, vm.body.changes) == (0, 0), vm.body.all()
    vm.check_no_errors()


def functions(vm):
    """What query-pci says, by id, those behind ports included."""
    found = {}

    def add(devices):
        for d in devices:
            found[d["qdev_id"]] = d
            add(d.get("pci_bridge", {}).get("devices", ()))

    for bus in vm.qmp.cmd("query-pci"):
        add(bus["devices"])
    return found


def wait_body(vm, member, value):
    vm.wait_for("%s %d" % (member, value), lambda: getattr(vm.body, member) == value)


def test_both_ways_to_configuration_space_agree(vms):
    vm = started(vms)
    look(vm, 10)
    found = functions(vm)
    assert set(found) == {"", "rng0", "rp0", "rp1", "rng1"}
    assert found["rng1"]["bus"] == 2
    assert found["rp1"]["pci_bridge"]["bus"]["secondary"] == 2
    memory = found["rp1"]["pci_bridge"]["bus"]["memory_range"]
    for region in found["rng1"]["regions"]:
        assert memory["base"] <= region["address"]
        assert region["address"] + region["size"] - 1 <= memory["limit"]


@pytest.mark.parametrize("mode", MODES)
def test_what_the_guest_programmed_survives(vms, loops, mode):
    vm = started(vms)
    before = functions(vm)
    for i in range((loops + 1) // 2):
        time.sleep((i % 4) * 0.003)
        vm.update(mode)
        look(vm)
    assert functions(vm) == before


@pytest.mark.parametrize("mode", MODES)
def test_the_address_register_crosses(vms, loops, mode):
    """Nearly all the time is between the write of the address and the read of the data."""
    vm = started(vms, "hold=20M")
    for _ in range((loops + 1) // 2):
        vm.update(mode)
        look(vm, 2)


def test_save_and_load(vms):
    vm = started(vms)
    before = functions(vm)
    vm.save("file:" + vm.path("state"))
    old = vm.proc
    vm.load("file:" + vm.path("state"))
    old.kill()
    look(vm)
    assert functions(vm) == before


def test_a_reset_begins_anew(vms):
    vm = started(vms)
    before = functions(vm)
    for boots in (2, 3):
        vm.qmp.cmd("system_reset")
        vm.wait_for("another boot", lambda b=boots: vm.head.boots == b and vm.page.ready)
        assert vm.body.functions == 5
        look(vm)
        assert functions(vm) == before
        vm.update(MODES[boots % 3])


def test_a_device_comes_and_goes(vms):
    vm = started(vms)
    vm.qmp.cmd("device_add", **PLUGGED)
    wait_body(vm, "came", 1)
    wait_body(vm, "functions", 6)
    look(vm)
    assert all(r["address"] > 0 for r in functions(vm)["hot"]["regions"])
    vm.qmp.cmd("device_del", id="hot")
    vm.qmp.wait_event("DEVICE_DELETED")
    wait_body(vm, "gone", 1)
    assert "hot" not in functions(vm)
    look(vm)


@pytest.mark.parametrize("mode", MODES)
def test_devices_come_and_go_between_updates(vms, loops, mode):
    vm = started(vms)
    for i in range(1, (loops + 3) // 4 + 1):
        vm.qmp.cmd("device_add", **PLUGGED)
        wait_body(vm, "came", i)
        vm.update(mode)
        look(vm)
        assert "hot" in functions(vm)
        vm.qmp.cmd("device_del", id="hot")
        wait_body(vm, "gone", i)
        vm.update(mode)
        look(vm)
        assert "hot" not in functions(vm)
        assert vm.body.released == i


@pytest.mark.parametrize("mode", MODES)
def test_an_update_right_after_the_request(vms, loops, mode):
    """The guest hears of what came and of what is to go, whoever runs it by then."""
    vm = started(vms)
    for i in range(1, (loops + 3) // 4 + 1):
        vm.qmp.cmd("stop")
        vm.qmp.cmd("device_add", **PLUGGED)
        vm.update(mode)
        vm.qmp.cmd("cont")
        wait_body(vm, "came", i)
        vm.qmp.cmd("stop")
        vm.qmp.cmd("device_del", id="hot")
        vm.update(mode)
        assert "hot" in functions(vm)
        vm.qmp.cmd("cont")
        wait_body(vm, "gone", i)
        look(vm)


def test_what_is_cold_stays(vms):
    vm = started(vms)
    for name in ("rng0", "rp0"):
        with pytest.raises(qmp.QmpError, match="Bus 'pcie.0' does not support hotplugging"):
            vm.qmp.cmd("device_del", id=name)
    with pytest.raises(qmp.QmpError, match="Bus 'pcie.0' does not support hotplugging"):
        vm.qmp.cmd("device_add", driver="virtio-rng-pci", bus="pcie.0")
    with pytest.raises(qmp.QmpError, match="not available, in use by virtio-rng,id=rng1"):
        vm.qmp.cmd("device_add", driver="virtio-rng-pci", bus="rp1", addr="0")
    look(vm)


def test_with_two_vcpus_and_all_modes(vms, cpu_load, loops):
    vm = started(vms, smp=2)
    for i in range(loops):
        vm.update(MODES[i % 3])
        look(vm, 1)


DISPLAY = ("-device", "bochs-display,id=d,addr=6,vgamem=4M")


def display_address(vm):
    return functions(vm)["d"]["regions"][0]["address"]


def check_no_exits(vm):
    """The guest reaches the memory by itself, wherever it is."""
    vm.qmp.cmd("trace-event-set-state", {"name": "kvm_exit_mmio", "enable": True})
    look(vm)
    vm.qmp.cmd("trace-event-set-state", {"name": "kvm_exit_mmio", "enable": False})
    exits = [int(a, 16) for a in re.findall(r"kvm_exit_mmio .*?address (0x[0-9a-f]+)", vm.proc.log())]
    assert exits
    assert [hex(a) for a in exits if 0xd2000000 <= a < 0xd6000000] == []


@pytest.mark.parametrize("append", ("", "moves=on"))
@pytest.mark.parametrize("mode", MODES)
def test_memory_of_a_device_is_where_the_guest_put_it(vms, loops, mode, append):
    """Each look is at all its pages."""
    vm = vms("pci", append=append, extra=DISPLAY).start()
    assert vm.body.display_pages == 1024
    for _ in range((loops + 1) // 2):
        vm.update(mode)
        look(vm)
    check_no_exits(vm)
    at = display_address(vm)
    if append:
        vm.wait_for("a move", lambda: display_address(vm) != at)


def test_memory_of_a_device_is_loaded_and_reset(vms):
    vm = vms("pci", append="moves=on", extra=DISPLAY).start()
    vm.save("file:" + vm.path("state"))
    old = vm.proc
    vm.load("file:" + vm.path("state"))
    old.kill()
    look(vm)
    vm.qmp.cmd("system_reset")
    vm.wait_for("another boot", lambda: vm.head.boots == 2 and vm.page.ready)
    look(vm)


def test_a_state_of_another_port_is_refused_by_name(vms):
    vm = started(vms)
    state = "file:" + vm.path("state")
    vm.save(state)
    vm.extra = [a.replace("slot=1", "slot=9") for a in vm.extra]
    _, new = vm.spawn_deferred()
    new.qmp.cmd("migrate-incoming", uri=state)
    assert new.wait() != 0
    # A byte of the slot capabilities.
    assert re.search("'pcie-root-port' 0: configuration space of 0000:00:04.0 differs at 0x56: "
                     "0x0c in the state, 0x4c here", new.log()), new.log()
    new.kill()
    vm.qmp.cmd("cont")
    look(vm)
