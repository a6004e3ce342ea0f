# SPDX-License-Identifier: MIT
"""Memory backends to start guests on, and what a host needs for them."""

import contextlib
import mmap
import os
import subprocess

import pytest

import abi
import procstat
import serial_lines

MIB = 1 << 20
SIZE = "64M"
BYTES = 64 * MIB
_POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

# Name -> (type and properties; {dir}: of the machine, {huge}: a hugetlbfs;
# where the descriptor of the memory leads). All can be updated.
SHAREABLE = {
    "memfd": ("memfd", "/memfd:ram0"),
    "memfd, prealloc": ("memfd,prealloc=on,prealloc-threads=2",
                        "/memfd:ram0"),
    "memfd, not sealed": ("memfd,seal=off,share=on", "/memfd:ram0"),
    "memfd, as QEMU is told": (
        "memfd,share=on,merge=off,dump=off,reserve=off,policy=default",
        "/memfd:ram0"),
    "shm": ("shm", "/dev/shm/baton-"),
    "ram, shared": ("ram,share=on", "/memfd:ram0"),
    "file on a disk": ("file,share=on,mem-path={dir}/ram.img",
                       "{dir}/ram.img"),
    "file on tmpfs": ("file,share=on,mem-path={shm}/ram.img",
                      "{shm}/ram.img"),
    "file, aligned": (
        "file,share=on,align=1G,prealloc=on,mem-path={dir}/ram.img",
        "{dir}/ram.img"),
    "file in a directory": ("file,share=on,mem-path={dir}", "{dir}/"),
    "file, comma in its name": ("file,share=on,mem-path={dir}/a,,b",
                                "{dir}/a,b"),
    "huge pages, memfd": ("memfd,hugetlb=on,hugetlbsize=2M", "/memfd:ram0"),
    "huge pages, hugetlbfs": ("file,share=on,mem-path={huge}/ram.img",
                              "{huge}/ram.img"),
    "huge pages, directory": ("file,share=on,prealloc=on,mem-path={huge}",
                              "{huge}/"),
}
# These start, and cannot be updated while the guest runs.
PRIVATE = {
    "ram": "ram",
    "ram, merged": "ram,merge=on,reserve=on,dump=on",
    "memfd, private": "memfd,share=off",
    "file, private": "file,mem-path={dir}/ram.img",
}


@contextlib.contextmanager
def _pool(pages):
    """So many free huge pages of 2 MiB; what was there is restored."""
    try:
        with open(_POOL, encoding="ascii") as f:
            before = int(f.read())
        with open(_POOL, "w", encoding="ascii") as f:
            f.write(str(before + pages))
        with open(_POOL, encoding="ascii") as f:
            got = int(f.read())
    except OSError as e:
        pytest.skip("NO HUGE PAGES: %s" % e)
    try:
        if got < before + pages:
            pytest.skip("NO HUGE PAGES: the host has %d of %d" %
                        (got, before + pages))
        yield
    finally:
        with open(_POOL, "w", encoding="ascii") as f:
            f.write(str(before))


@contextlib.contextmanager
def hugetlbfs(where, pages=BYTES // (2 * MIB) + 2):
    """A mounted hugetlbfs with so many free pages; skips loudly without."""
    with _pool(pages):
        os.makedirs(where, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", where],
            stderr=subprocess.PIPE, check=False)
        if done.returncode:
            pytest.skip("NO HUGETLBFS: %s" % done.stderr.decode())
        try:
            yield where
        finally:
            subprocess.run(["umount", where], check=True)


@contextlib.contextmanager
def places(tmp_path, text):
    """Directories that the text of a backend speaks of."""
    shm = "/dev/shm/baton-test-%d" % os.getpid()
    os.mkdir(shm)
    with contextlib.ExitStack() as stack:
        huge = tmp_path / "huge"
        if "{huge}" in text or "hugetlb" in text:
            stack.enter_context(hugetlbfs(str(huge)))
        try:
            yield {"dir": str(tmp_path), "shm": shm, "huge": str(huge)}
        finally:
            for name in os.listdir(shm):
                os.unlink(os.path.join(shm, name))
            os.rmdir(shm)


def arguments(text, size=SIZE, **paths):
    """The options for main RAM on this backend, whose id is ram0."""
    kind, _, rest = text.format(**paths).partition(",")
    return ["-object", "memory-backend-%s,id=ram0,size=%s%s" %
            (kind, size, "," + rest if rest else ""),
            "-machine", "memory-backend=ram0"]


def memory_fd(pid, target):
    """Path of the process's descriptor that leads to that memory."""
    for fd, name in procstat.fds(pid).items():
        if name.startswith(target):
            return "/proc/%d/fd/%d" % (pid, fd)
    raise LookupError("process %d has no descriptor of %s: %s" %
                      (pid, target, procstat.fds(pid)))


def start(vm, target):
    """Starts the guest, whose RAM is found by where a descriptor leads."""
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(vm.generation))
    vm.map_ram(memory_fd(vm.pid, target))
    vm.wait_ready()
    return vm


def ram_id(vm, target):
    """What tells this memory from any other."""
    st = os.stat(memory_fd(vm.pid, target))
    return st.st_dev, st.st_ino


class Counting:
    """Judge of a serial guest whose memory nobody else can look into."""

    def __init__(self, vm):
        self.vm = vm
        vm.serial = lambda generation: "file:" + vm.path("serial.out")

    def lines(self):
        lines = serial_lines.Lines()
        with open(self.vm.path("serial.out"), "rb") as f:
            lines.feed(f.read())
        assert not lines.wrong, lines.wrong[:10]
        return lines.count

    def goes_on(self):
        before = self.lines()
        self.vm.wait_for("more lines of the guest",
                         lambda: self.lines() > before + 10)


def map_part(path, offset, size):
    """A machine's memory that begins somewhere in a file."""
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, size, offset=offset)
    finally:
        os.close(fd)


def page_of(ram):
    """The results area in such a mapping."""
    return abi.Page(ram)
