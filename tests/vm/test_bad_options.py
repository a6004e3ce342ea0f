# SPDX-License-Identifier: MIT
"""Bad command lines end with status 1 and a sentence that says what is wrong.

QEMU's conventions are kept: the message goes to stderr and names the option or
the value; nothing else happens.
"""

import os
import subprocess

import pytest

import vm as harness
from vm import MIB

GOOD = ["-m", "64M", "-display", "none", "-nodefaults"]
KERNEL = object()  # replaced by the path of a good kernel
BOOT = GOOD + ["-kernel", KERNEL]


def refused(args, *words, tmp=None):
    """Runs the program, which must refuse and say all the words."""
    done = subprocess.run([harness.BATON] + args, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=20, cwd=tmp, check=False)
    text = done.stderr.decode(errors="replace")
    assert done.returncode == 1, "status %d, stderr: %s" % (
        done.returncode, text)
    assert done.stdout == b"", done.stdout
    assert text.strip(), "nothing was said"
    assert len(text.splitlines()) <= 2, "not one sentence: %s" % text
    for word in words:
        assert word.lower() in text.lower(), \
            "%r is not in: %s" % (word, text)
    return text


CASES = {
    "unknown_option": (GOOD + ["-frobnicate"], ["-frobnicate"]),
    "stray_word": (GOOD + ["frobnicate"], ["frobnicate"]),
    "missing_argument": (GOOD + ["-kernel"], ["-kernel", "argument"]),
    "unknown_machine_property": (
        GOOD + ["-machine", "frob=1"], ["frob"]),
    "unknown_object_property": (
        GOOD + ["-object", "memory-backend-memfd,id=r,size=64M,frob=1"],
        ["frob"]),
    "unknown_object_type": (
        GOOD + ["-object", "memory-backend-epc,id=r,size=64M"],
        ["memory-backend-epc"]),
    "object_without_id": (
        GOOD + ["-object", "memory-backend-memfd,size=64M"], ["id"]),
    "object_without_size": (
        GOOD + ["-object", "memory-backend-memfd,id=r"], ["size"]),
    "file_backend_without_path": (
        GOOD + ["-object", "memory-backend-file,id=r,size=64M"],
        ["mem-path"]),
    "object_id_twice": (
        GOOD + ["-object", "memory-backend-memfd,id=r,size=64M",
                "-object", "memory-backend-memfd,id=r,size=64M"], ["r"]),
    "bad_boolean": (
        GOOD + ["-object", "memory-backend-memfd,id=r,size=64M,share=maybe"],
        ["share"]),
    "ram_zero": (["-m", "0"] + GOOD[2:] + ["-kernel", KERNEL], ["0"]),
    "ram_no_number": (["-m", "lots"] + GOOD[2:], ["lots"]),
    "ram_negative": (["-m", "-5M"] + GOOD[2:], ["-5M"]),
    "ram_overflow": (["-m", "99999999999999999999G"] + GOOD[2:], ["-m"]),
    "ram_beyond_the_host": (
        ["-m", "64T"] + GOOD[2:] + ["-kernel", KERNEL], ["64T|RAM|memory"]),
    "backend_zero": (
        GOOD + ["-object", "memory-backend-memfd,id=r,size=0"], ["size"]),
    "backend_not_found": (
        GOOD + ["-machine", "memory-backend=nope", "-kernel", KERNEL],
        ["Memory backend 'nope' not found"]),
    "backend_of_other_size": (
        GOOD + ["-object", "memory-backend-memfd,id=r,size=128M",
                "-machine", "memory-backend=r", "-kernel", KERNEL],
        ["does not match the size of the memory backend"]),
    "mem_path_cannot_be_opened": (
        GOOD + ["-object", "memory-backend-file,id=r,size=64M,share=on,"
                "mem-path=/nonexistent/dir/ram",
                "-machine", "memory-backend=r", "-kernel", KERNEL],
        ["/nonexistent/dir/ram", "No such file"]),
    "kernel_missing": (
        GOOD + ["-kernel", "/nonexistent/kernel"],
        ["/nonexistent/kernel", "No such file"]),
    "kernel_is_a_directory": (GOOD + ["-kernel", "/"], ["'/'|/:|kernel"]),
    "kernel_is_empty": (GOOD + ["-kernel", "/dev/null"], ["/dev/null"]),
    "kernel_is_no_kernel": (
        GOOD + ["-kernel", "/etc/passwd"], ["/etc/passwd"]),
    "kernel_is_an_elf_without_pvh": (
        GOOD + ["-kernel", "/bin/true"], ["/bin/true"]),
    "initrd_missing": (
        GOOD + ["-kernel", KERNEL, "-initrd", "/nonexistent/initrd"],
        ["/nonexistent/initrd", "No such file"]),
    "cpus_zero": (GOOD + ["-smp", "0", "-kernel", KERNEL], ["smp|CPU"]),
    "cpus_too_many": (
        GOOD + ["-smp", "100000", "-kernel", KERNEL], ["smp|CPU"]),
    "cpus_no_number": (GOOD + ["-smp", "two"], ["two"]),
    "unknown_cpu": (GOOD + ["-cpu", "frob"], ["frob"]),
    "unknown_display": (GOOD + ["-display", "frob"], ["frob"]),
    "unknown_serial": (BOOT + ["-serial", "frob:x"], ["frob"]),
    "serial_file_cannot_be_opened": (
        BOOT + ["-serial", "file:/nonexistent/out"],
        ["/nonexistent/out", "No such file"]),
    "qmp_socket_cannot_be_made": (
        BOOT + ["-qmp", "unix:/nonexistent/sock,server=on,wait=off"],
        ["/nonexistent/sock"]),
    "qmp_path_too_long": (
        BOOT + ["-qmp", "unix:/" + "x" * 200 + ",server=on,wait=off"],
        ["too long|UNIX socket"]),
    "pidfile_cannot_be_made": (
        GOOD + ["-pidfile", "/nonexistent/pid", "-kernel", KERNEL],
        ["/nonexistent/pid"]),
    "stdio_twice": (
        BOOT + ["-serial", "stdio", "-qmp", "stdio"], ["stdio"]),
    "incoming_garbage": (GOOD + ["-incoming", "garbage"], ["garbage"]),
    "incoming_unknown_protocol": (
        GOOD + ["-incoming", "bogus:x"], ["unknown migration protocol"]),
    "incoming_broken_json": (GOOD + ["-incoming", "{"], ["JSON"]),
    "incoming_without_address": (
        GOOD + ["-incoming", '{"channel-type":"main"}'],
        ["Parameter 'addr' is missing"]),
    "incoming_cpr_over_tcp": (
        GOOD + ["-incoming", '{"channel-type":"cpr","addr":{"transport":'
                '"socket","type":"inet","host":"127.0.0.1","port":"1"}}'],
        ["must be unix"]),
    "global_of_another_driver": (
        GOOD + ["-global", "vga.vgamem_mb=16"], ["migration.mode=MODE"]),
    "global_unknown_property": (
        GOOD + ["-global", "migration.x-nono=on"],
        ["Property 'migration.x-nono' not found"]),
    "global_capability_not_here": (
        GOOD + ["-global", "migration.x-multifd=on"],
        ["Capability 'multifd' is not supported"]),
    "global_mode_unknown": (
        GOOD + ["-global", "migration.mode=fast"],
        ["does not accept value 'fast'"]),
    "incoming_file_missing": (
        GOOD + ["-kernel", KERNEL, "-incoming", "file:/nonexistent/state"],
        ["Could not open '/nonexistent/state'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_sentence(kvm, tmp_path, case):
    args, words = CASES[case]
    args = [harness.guest_path("gap") if a is KERNEL else a for a in args]
    choices = [w for w in words if "|" in w]
    text = refused(args, *[w for w in words if "|" not in w], tmp=tmp_path)
    for choice in choices:
        assert any(w.lower() in text.lower() for w in choice.split("|")), text


def test_a_refused_start_leaves_no_file_behind(kvm, tmp_path):
    refused(GOOD + ["-pidfile", str(tmp_path / "pid"),
                    "-qmp", "unix:%s,server=on,wait=off" % (tmp_path / "s"),
                    "-kernel", "/etc/passwd"], "/etc/passwd")
    assert os.listdir(tmp_path) == []


def test_initrd_larger_than_ram_is_refused(kvm, tmp_path):
    initrd = tmp_path / "initrd"
    with open(initrd, "wb") as f:
        f.truncate(80 * MIB)
    refused(GOOD + ["-kernel", harness.guest_path("gap"),
                    "-initrd", str(initrd)], "initrd")


@pytest.mark.parametrize("cut", (0, 1, 3, 4, 52, 64, 100, 200, 4095, 4096,
                                 5000, 50000, 130000))
def test_truncated_kernel_is_refused(kvm, tmp_path, cut):
    with open(harness.guest_path("gap"), "rb") as f:
        data = f.read(cut)
    kernel = tmp_path / "kernel"
    kernel.write_bytes(data)
    refused(GOOD + ["-kernel", str(kernel)], str(kernel))


@pytest.mark.parametrize("where", (16, 18, 24, 32, 33, 52, 54, 56, 57,
                                   64, 68, 72, 80, 88, 96, 104))
def test_damaged_elf_header_neither_crashes_nor_hangs(kvm, tmp_path, where):
    with open(harness.guest_path("gap"), "rb") as f:
        data = bytearray(f.read())
    for value in (0x00, 0x7f, 0xff):
        data[where] = value
        if where >= 64:
            data[where + 6] = value
        kernel = tmp_path / "kernel"
        kernel.write_bytes(data)
        process = subprocess.Popen(
            [harness.BATON] + GOOD + ["-S", "-kernel", str(kernel)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            code = process.wait(0.3)
            assert code == 1, process.stderr.read()
            assert process.stderr.read()
        except subprocess.TimeoutExpired:
            # A value that happens to be harmless: the VM waits in prelaunch.
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
