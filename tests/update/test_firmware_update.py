# SPDX-License-Identifier: MIT
"""Firmware, its variables and what it was told go along; no file is read again."""

import os
import shutil

import pytest

import firmware
from qmp import QmpError

MODES = ("transfer", "exec", "graft")


def start(vms, tmp_path, **kwargs):
    """A guest whose image and file are gone as soon as it runs."""
    image, given = str(tmp_path / "image.bin"), str(tmp_path / "given")
    shutil.copyfile(firmware.BIOS, image)
    with open(given, "w", encoding="ascii") as f:
        f.write("as it was at the start")
    vm = firmware.start(vms, bios=image, extra=[
        "-fw_cfg", "name=opt/given,file=" + given], **kwargs)
    os.unlink(given)
    os.unlink(image)
    return vm


@pytest.mark.parametrize("mode", MODES)
def test_guest_goes_on_in_the_same_memory_and_resets_from_it(vms, tmp_path,
                                                             mode):
    vm = start(vms, tmp_path)
    before = firmware.blocks(vm)
    assert len(before) == 5, before
    contents = {name: firmware.block(vm, name) for name in before}
    assert b"as it was at the start" in contents[firmware.FILES]
    total = firmware.Counters(vm).sum
    for boot in range(2, 4):
        for _ in range(2):
            vm.update(mode)
            firmware.running(vm)
            assert firmware.blocks(vm) == before
            assert {name: firmware.block(vm, name)
                    for name in before} == contents
            assert firmware.Counters(vm).boots == boot - 1
        vm.qmp.cmd("system_reset")
        firmware.wait(vm, "boot", lambda: firmware.Counters(vm).boots == boot)
        firmware.running(vm)
        c = firmware.Counters(vm)
        assert (c.variable, c.signature, c.sum) == (firmware.UNTOUCHED,
                                                    b"QEMU", total)


@pytest.mark.parametrize("mode", MODES)
def test_guest_started_by_seabios_goes_on_and_starts_again(vms, tmp_path,
                                                           mode):
    if not os.path.exists(firmware.SEABIOS):
        pytest.skip("NO PACKAGE seabios")
    disk = firmware.disk(str(tmp_path / "disk"))
    vm = vms("gap", mem="16M", bios="bios-256k.bin",
             extra=firmware.disk_arguments(disk, ",bootindex=0")).start(
                 wait_ready=False)
    firmware.wait_disk(vm, 1)
    rom = firmware.block(vm, firmware.ROM)
    for _ in range(2):
        vm.update(mode)
        before = firmware.disk_counters(vm)[1]
        firmware.wait(vm, "a round",
                      lambda: firmware.disk_counters(vm)[1] != before)
    assert firmware.block(vm, firmware.ROM) == rom
    # It would count on until the reset.
    vm.qmp.cmd("stop")
    with memoryview(vm.ram) as view:
        view[0x7000:0x7008] = bytes(8)
    vm.qmp.cmd("system_reset")
    vm.qmp.cmd("cont")
    firmware.wait_disk(vm, 1)
    assert firmware.block(vm, firmware.ROM) == rom


@pytest.mark.parametrize("mode", ("cpr-reboot", "normal"))
def test_image_goes_with_a_state_file(vms, tmp_path, mode):
    """Sizes come from the command line there, every byte from the file."""
    shutil.copyfile(firmware.BIOS, str(tmp_path / "image.bin"))
    vm = firmware.start(vms, bios=str(tmp_path / "image.bin"))
    rom = firmware.block(vm, firmware.ROM)
    state = "file:" + vm.path("vm.state")
    assert vm.save(state, mode)["status"] == "completed"
    vm.quit()
    # Another image of that size: what is in the file counts.
    with open(str(tmp_path / "image.bin"), "r+b") as f:
        f.write(b"another")
    vm.load(state, mode)
    firmware.running(vm)
    assert firmware.block(vm, firmware.ROM) == rom
    vm.qmp.cmd("system_reset")
    firmware.wait(vm, "boot", lambda: firmware.Counters(vm).boots == 2)
    firmware.running(vm)
    assert firmware.Counters(vm).sum == sum(rom[:256])


def test_new_side_that_starts_a_kernel_is_refused(vms):
    vm = firmware.start(vms)
    bios, vm.bios = vm.bios, None
    generation, new = vm.spawn_incoming()
    vm.bios = bios
    try:
        vm.migrate_to(generation)
    except QmpError:
        pass
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert "pc.bios" in answer["error-desc"], answer
    assert new.wait() == 1
    firmware.running(vm)


def test_memory_of_the_firmware_in_private_memory_is_a_blocker(vms):
    vm = firmware.start(vms, extra=["-machine", "aux-ram-share=off"])
    vm.set_parameters(mode="cpr-transfer")
    reasons = vm.qmp.cmd("query-migrate")["blocked-reasons"]
    assert sorted(r.split()[2] for r in reasons) == [
        "/rom@etc/acpi/rsdp", "/rom@etc/acpi/tables", "/rom@etc/table-loader",
        "/rom@fw_cfg", "pc.bios"]
