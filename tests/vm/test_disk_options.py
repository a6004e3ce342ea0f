# SPDX-License-Identifier: MIT
"""Disk options: what is accepted shows, what is wrong is refused by name, and nobody gets a locked image."""

import json
import os
import re
import shutil
import subprocess

import pytest

from vm import BATON, guest_path

MIB = 1 << 20
QEMU = shutil.which("qemu-system-x86_64")


def image(directory, name="disk.raw", size=4 * MIB, data=b""):
    path = str(directory / name)
    with open(path, "wb") as f:
        f.write(data)
        f.truncate(size)
    return path


def refusal(*args, before=()):
    """What the program, run by `before`, says; it must end by itself, with an error."""
    done = subprocess.run([*before, BATON, "-m", "32M", "-nodefaults", "-display", "none", "-kernel",
                           guest_path("gap"), *args], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1, done
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.stderr


def drive(path, more=""):
    return ["-drive", "file=%s,if=virtio%s" % (path, more)]


@pytest.mark.parametrize("what, why", (
    ("missing", "cannot open image '.*missing' for reading and writing: No such file"),
    ("directory", "is a directory"),
    ("empty", "is empty; `truncate -s SIZE` makes room in it"),
    ("fifo", "neither a file nor a block device"),
    ("null", "neither a file nor a block device"),
    ("qcow2", "has the format qcow2, and only raw ones can be used: `qemu-img convert"),
    ("broken-link", "No such file"),
))
def test_an_image_that_cannot_be_used_is_refused(tmp_path, what, why):
    path = str(tmp_path / what)
    if what == "directory":
        os.mkdir(path)
    elif what == "empty":
        image(tmp_path, what, 0)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "null":
        path = "/dev/null"
    elif what == "qcow2":
        image(tmp_path, what, MIB, b"QFI\xfb\0\0\0\3")
    elif what == "broken-link":
        os.symlink("/nonexistent", path)
    text = refusal(*drive(path))
    assert re.search(why, text), text
    assert text.count("\n") == 1, text


def test_an_image_without_permission_is_refused(tmp_path):
    if not shutil.which("setpriv"):
        pytest.skip("NO setpriv")
    path = image(tmp_path)
    os.chmod(path, 0o400)
    rights = "-dac_override,-dac_read_search"
    text = refusal(*drive(path), before=("setpriv", "--bounding-set=" + rights,
                                         "--inh-caps=" + rights))
    assert re.search("cannot open image '.*disk.raw' for reading and writing: Permission denied",
                     text), text


def test_a_size_that_is_no_multiple_of_a_sector_is_rounded_up(vms, tmp_path):
    path = image(tmp_path, size=4 * MIB + 100)
    vm = vms("blk", extra=drive(path, ",format=raw")).start()
    assert vm.body.capacity == 4 * MIB // 512 + 1
    before = vm.body.answered
    vm.wait_for("requests", lambda: vm.body.answered > before + 100)
    vm.check_no_errors()


def locked(path):
    return ('Failed to get "write" lock: is another process using the image [%s]?' % path,
            'Failed to get shared "write" lock: is another process using the image [%s]?' % path)


def test_an_image_belongs_to_one_guest(vms, tmp_path):
    path = image(tmp_path)
    vm = vms("blk", extra=drive(path, ",format=raw")).start()
    one, two = locked(path)
    assert one in refusal(*drive(path, ",format=raw"))
    assert two in refusal(*drive(path, ",format=raw,readonly=on"))
    vm.check_no_errors()
    vm.quit()
    # Readers can be many.
    one = vms("blk", extra=drive(path, ",format=raw,readonly=on")).start()
    two = vms("blk", extra=drive(path, ",format=raw,readonly=on")).start()
    assert one.body.found == two.body.found == 1
    assert locked(path)[0] in refusal(*drive(path, ",format=raw"))


def test_writers_that_agree_share_an_image(vms, tmp_path):
    path = image(tmp_path)
    extra = ["-drive", "file=%s,if=none,id=d,format=raw" % path,
             "-device", "virtio-blk-pci,drive=d,share-rw=on"]
    first = vms("blk", append="blocks=16", extra=extra).start()
    second = vms("rom", extra=extra).start()
    assert first.body.found == 1
    assert second.qmp.cmd("query-block")[0]["device"] == "d"
    assert locked(path)[1] in refusal(*drive(path, ",format=raw"))


@pytest.mark.skipif(not QEMU, reason="NO QEMU")
def test_qemu_and_this_program_respect_each_others_locks(vms, tmp_path):
    path = image(tmp_path)
    command = [QEMU, "-accel", "tcg", "-M", "q35", "-m", "32", "-display", "none", "-nodefaults",
               "-S", "-qmp", "stdio", "-drive", "file=%s,format=raw,if=virtio" % path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        try:
            # It greets before it has opened the image, and answers afterwards.
            qemu.stdin.write(b'{"execute": "qmp_capabilities"}\n')
            qemu.stdin.flush()
            assert b"QMP" in qemu.stdout.readline()
            assert b"return" in qemu.stdout.readline()
            assert locked(path)[0] in refusal(*drive(path, ",format=raw"))
        finally:
            qemu.kill()
    vms("blk", extra=drive(path, ",format=raw")).start()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=20)
    assert done.returncode and 'Failed to get "write" lock' in done.stderr, done


def test_nodes_in_both_notations(vms, tmp_path):
    path = image(tmp_path)
    nested = json.dumps({"driver": "raw", "node-name": "d", "discard": "unmap",
                         "file": {"driver": "file", "filename": path, "aio": "io_uring"}})
    for nodes in (["-blockdev", "driver=file,filename=%s,node-name=f" % path,
                   "-blockdev", "driver=raw,file=f,node-name=d"],
                  ["-blockdev", nested],
                  ["-blockdev", "driver=file,filename=%s,node-name=d" % path]):
        vm = vms("blk", extra=nodes + ["-device", "virtio-blk-pci,drive=d,id=v"]).start()
        answer, = vm.qmp.cmd("query-block")
        assert answer["device"] == "" and answer["inserted"]["node-name"] == "d"
        assert answer["inserted"]["file"] == path
        assert "d (d): %s" % path in vm.qmp.cmd("human-monitor-command",
                                                command_line="info block")
        vm.check_no_errors()
        vm.quit()


@pytest.mark.parametrize("args, why", (
    (["-blockdev", "driver=file,filename=PATH,node-name=f", "-blockdev",
      "driver=raw,file=f,node-name=d", "-device", "virtio-blk-pci,drive=f"],
     "drive 'f' is used by device 'd' already"),
    (["-blockdev", "driver=raw,file=nope,node-name=d"], "node-name='nope'"),
    (["-drive", "file=PATH,if=none,id=a", "-drive", "file=PATH,if=none,id=a"], "Duplicate ID 'a'"),
    (["-blockdev", "driver=file,filename=PATH,node-name=f,read-only=on", "-blockdev",
      "driver=raw,file=f,node-name=d"], "node 'f' is read-only"),
    (["-blockdev", "driver=host_device,filename=PATH,node-name=f"], "to be a block device"),
))
def test_nodes_that_do_not_fit_are_refused(tmp_path, args, why):
    path = image(tmp_path)
    text = refusal(*[a.replace("PATH", path) for a in args])
    assert why in text, text


def test_a_drive_is_added_and_removed_by_a_monitor(vms, tmp_path):
    path = image(tmp_path)
    vm = vms("rom").start()

    def line(text):
        return vm.qmp.cmd("human-monitor-command", command_line=text).replace("\r", "")

    assert line("drive_add 0 file=%s,if=none,id=d0,format=raw" % path) == "OK\n"
    assert "Duplicate ID 'd0'" in line("drive_add 0 file=%s,if=none,id=d0" % path)
    assert "Can't hot-add" in line("drive_add 0 file=%s,id=d1" % path)
    assert line("block_resize d0 8") == ""
    assert os.path.getsize(path) == 8 * MIB
    assert "multiple of 512" in line("block_resize d0 1000B")
    assert line("drive_del d0") == ""
    assert "Failed to find node" in line("drive_del d0")
    assert vm.qmp.cmd("query-block") == []
