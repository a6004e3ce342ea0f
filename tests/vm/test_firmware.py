# SPDX-License-Identifier: MIT
"""Guests that start in firmware: what it finds, and what is refused."""

import os
import subprocess

import pytest

import firmware
import vm as vm_module


def run(*args, cwd=None):
    p = subprocess.run([vm_module.BATON, "-m", "16", "-display", "none",
                        "-nodefaults"] + list(args), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=20, check=False, cwd=cwd)
    return p.returncode, p.stdout.decode()


def refused(text, *args, cwd=None):
    code, out = run(*args, cwd=cwd)
    assert code == 1, out
    assert text in out, out


def test_firmware_starts_at_the_reset_vector_and_reads_fw_cfg(vms):
    vm = firmware.start(vms, extra=["-fw_cfg", "name=opt/x,string=abc"])
    c = firmware.Counters(vm)
    assert (c.boots, c.variable, c.signature) == (1, firmware.UNTOUCHED,
                                                  b"QEMU")
    assert c.vector == 0xea
    with open(firmware.BIOS, "rb") as f:
        image = f.read()
    assert c.sum == sum(image[:256])
    assert firmware.block(vm, firmware.ROM) == image
    # Item 0x20 is the machine's: its ACPI tables, without the RSDP's bytes.
    assert c.item == bytes(4)


def test_reset_starts_a_pristine_image(vms):
    vm = firmware.start(vms)
    for boot in range(2, 5):
        vm.qmp.cmd("system_reset")
        firmware.wait(vm, "boot", lambda: firmware.Counters(vm).boots == boot)
        firmware.running(vm)
        # It overwrites its variable each time.
        assert firmware.Counters(vm).variable == firmware.UNTOUCHED


def test_image_is_found_by_its_name_alone(vms, tmp_path):
    if not os.path.exists(firmware.SEABIOS):
        pytest.skip("NO PACKAGE seabios")
    vm = vms("gap", mem="16M", bios="bios-256k.bin").start(wait_ready=False)
    with open(firmware.SEABIOS, "rb") as f:
        assert firmware.block(vm, firmware.ROM) == f.read()


def test_seabios_finds_memory_and_tables_and_says_so_on_the_serial_port(
        vms, tmp_path):
    if not os.path.exists(firmware.SEABIOS):
        pytest.skip("NO PACKAGE seabios")
    out = str(tmp_path / "serial")
    vm = vms("gap", mem="16M", bios="bios-256k.bin",
             serial=lambda g: "file:" + out).start(wait_ready=False)

    def text():
        with open(out, "rb") as f:
            return f.read()
    firmware.wait(vm, "the end of the list of boot devices",
                  lambda: b"No bootable device" in text(), 60)
    assert b"SeaBIOS (version" in text()
    # Below 1 MiB the RSDP; it leads to tables in memory that SeaBIOS chose.
    with memoryview(vm.ram) as view:
        low = bytes(view[0xe0000:0x100000])
        at = low.find(b"RSD PTR BATON") if b"RSD PTR BATON" in low else \
            low.find(b"RSD PTR ")
        assert at >= 0
        assert sum(low[at:at + 36]) & 0xff == 0
        xsdt = int.from_bytes(low[at + 24:at + 32], "little")
        assert 0x100000 <= xsdt < 16 << 20
        table = bytes(view[xsdt:xsdt + 36])
        assert table[:4] == b"XSDT"


def test_seabios_starts_the_first_disk_of_the_boot_order(vms, tmp_path):
    """Without -bios and -kernel, since there is a disk; the other disk is empty."""
    if not os.path.exists(firmware.SEABIOS):
        pytest.skip("NO PACKAGE seabios")
    out, empty = str(tmp_path / "serial"), str(tmp_path / "empty")
    with open(empty, "wb") as f:
        f.truncate(1 << 20)
    vm = vms("gap", mem="16M", bios="bios-256k.bin",
             serial=lambda g: "file:" + out, extra=[
                 "-drive", "file=%s,format=raw,if=none,id=d1" % empty,
                 "-device", "virtio-blk-pci,drive=d1,bootindex=5"] +
             firmware.disk_arguments(firmware.disk(str(tmp_path / "disk")),
                                     ",bootindex=1"))
    args = vm.args
    vm.args = lambda g, extra=(): [
        a for a in args(g, extra) if a not in ("-bios", "bios-256k.bin")]
    vm.start(wait_ready=False)
    assert b"/pci@i0cf8/scsi@2/disk@0,0\n/pci@i0cf8/scsi@1/disk@0,0\0" in \
        firmware.block(vm, firmware.FILES)
    firmware.wait_disk(vm, 1)

    def text():
        with open(out, "rb") as f:
            return f.read()
    firmware.wait(vm, "its text", lambda: b"second sector read" in text())
    assert b"started from a disk" in text()
    assert b"Boot failed" not in text()


def test_a_drive_alone_is_enough_to_start_from(vms, tmp_path):
    if not os.path.exists(firmware.SEABIOS):
        pytest.skip("NO PACKAGE seabios")
    vm = vms("gap", mem="16M", extra=[
        "-drive", "format=raw,file=" + firmware.disk(str(tmp_path / "d"))])
    args = vm.args
    vm.args = lambda g, extra=(): [
        a for a in args(g, extra) if a not in ("-kernel", vm.kernel)]
    vm.start(wait_ready=False)
    firmware.wait_disk(vm, 1)


def test_two_devices_with_one_bootindex_are_refused(kvm, tmp_path):
    args = []
    for i in range(2):
        args += ["-drive", "file=%s,format=raw,if=none,id=d%d" % (
            firmware.disk(str(tmp_path / str(i))), i),
                 "-device", "virtio-blk-pci,drive=d%d,bootindex=3" % i]
    refused("The bootindex 3 has already been used", "-bios", firmware.BIOS,
            *args)


@pytest.mark.parametrize("size,text", (
    (0, "the file is empty"),
    (1, "not a multiple of 64 KiB"),
    (0x18000, "not a multiple of 64 KiB"),
    (0x1010000, "there is room for 16777216"),
))
def test_images_of_odd_sizes_are_refused(kvm, tmp_path, size, text):
    path = str(tmp_path / "image")
    with open(path, "wb") as f:
        f.truncate(size)
    refused(text, "-bios", path)


def test_what_is_no_image_is_refused(kvm, tmp_path):
    refused("/usr/share/seabios/", "-bios", "none.bin", cwd=str(tmp_path))
    refused("No such file", "-bios", str(tmp_path / "none"))
    refused("a directory", "-bios", str(tmp_path))


def test_kernel_and_its_options_do_not_go_with_firmware(kvm):
    refused("exclude each other", "-bios", firmware.BIOS, "-kernel",
            vm_module.guest_path("gap"))
    refused("-append is for -kernel", "-bios", firmware.BIOS, "-append", "x")


@pytest.mark.parametrize("arg,text", (
    ("", "needs a name"),
    ("name=opt/a", "either string= or file="),
    ("name=opt/a,string=x,file=y", "either string= or file="),
    ("name=opt/a,text=x", "Invalid parameter 'text'"),
    ("name=" + 56 * "n" + ",string=x", "too long"),
    ("name=opt/a,file=/none", "No such file"),
    ("name=bootorder,string=x", "the machine's"),
    ("name=etc/e820,string=x", "two files"),
))
def test_files_that_cannot_be_are_refused(kvm, arg, text):
    refused(text, "-bios", firmware.BIOS, "-fw_cfg", arg)


def test_files_reach_the_guest_as_they_are(vms, tmp_path):
    path = str(tmp_path / "a,b")
    with open(path, "wb") as f:
        f.write(bytes(range(256)) * 300)
    vm = firmware.start(vms, extra=[
        "-fw_cfg", "opt/text,string=one,,two",
        "-fw_cfg", "name=opt/bytes,file=" + path.replace(",", ",,")])
    data = firmware.block(vm, firmware.FILES)
    assert bytes(range(256)) * 300 in data
    assert b"one,two" in data
    assert b"opt/text\0" in data and b"opt/bytes\0" in data


def test_kernels_may_have_files_too(vms):
    vm = vms("gap", extra=["-fw_cfg", "opt/a,string=x"]).start()
    assert b"opt/a\0" in firmware.block(vm, firmware.FILES)
    vm.update("transfer")
    vm.running()
