# SPDX-License-Identifier: MIT
"""A file system with one file, whose host answers when and as the test wants.

Speaks the kernel's FUSE protocol; needs the right to mount."""

import ctypes
import errno
import os
import stat
import struct
import threading
import time

import pytest

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 1, 2, 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 18, 20, 25, 26, 36, 42
HEADER = struct.Struct("<IIQQIIIHH")
ROOT, FILE = 1, 2
MAX_WRITE = 128 << 10
MNT_DETACH = 2


class StallFs:
    """`with StallFs(directory, size) as fs:` has the image fs.path."""

    def __init__(self, directory, size):
        self.directory = directory
        self.path = os.path.join(directory, "image")
        self.data = bytearray(size)
        self.stalled = False
        self.errors = {}  # opcode to errno
        self.waiting = []
        self.lock = threading.Lock()
        self.fd = -1
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        os.mkdir(self.directory)
        try:
            self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as e:
            pytest.skip("NO RIGHT TO MOUNT: /dev/fuse: %s" % e)
        options = "fd=%d,rootmode=40000,user_id=%d,group_id=%d" % (
            self.fd, os.getuid(), os.getgid())
        if self.libc.mount(b"stallfs", self.directory.encode(), b"fuse", 0, options.encode()):
            os.close(self.fd)
            pytest.skip("NO RIGHT TO MOUNT: %s" % os.strerror(ctypes.get_errno()))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.resume()
        self.libc.umount2(self.directory.encode(), MNT_DETACH)
        os.close(self.fd)
        self.thread.join(5)

    # What the test wants.

    def stall(self):
        """From now on reads, writes and flushes wait."""
        with self.lock:
            self.stalled = True

    def resume(self):
        with self.lock:
            self.stalled = False
            waiting, self.waiting = self.waiting, []
        for request in waiting:
            self.handle(*request)

    def fail(self, code, *opcodes):
        """From now on these fail; with 0 they do not any more."""
        for opcode in opcodes:
            self.errors[opcode] = code

    def wait_stalled(self, timeout=10.0):
        """Until a request waits."""
        end = time.monotonic() + timeout
        while not self.waiting:
            assert time.monotonic() < end, "no request has come"
            time.sleep(0.001)

    # What the kernel wants.

    def serve(self):
        while True:
            try:
                message = os.read(self.fd, MAX_WRITE + 4096)
            except OSError as e:
                if e.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return
            length, opcode, unique, node, *_ = HEADER.unpack_from(message)
            body = message[HEADER.size:length]
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            with self.lock:
                if self.stalled and opcode in (READ, WRITE, FSYNC):
                    self.waiting.append((opcode, unique, node, body))
                    continue
            self.handle(opcode, unique, node, body)

    def answer(self, unique, body=b"", error=0):
        try:
            os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError:
            pass  # who asked has been interrupted, or the file system is gone

    def attributes(self, node):
        mode = stat.S_IFREG | 0o600 if node == FILE else stat.S_IFDIR | 0o700
        size = len(self.data) if node == FILE else 0
        return struct.pack("<6Q10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1,
                           os.getuid(), os.getgid(), 0, 4096, 0)

    def handle(self, opcode, unique, node, body):
        if self.errors.get(opcode):
            self.answer(unique, error=self.errors[opcode])
        elif opcode == INIT:
            self.answer(unique, struct.pack("<IIIIHHIIHH8I", 7, 31, 0, 0, 64, 48, MAX_WRITE, 1,
                                            *[0] * 10))
        elif opcode == LOOKUP and body.rstrip(b"\0") == b"image":
            self.answer(unique, struct.pack("<4Q2I", FILE, 0, 0, 0, 0, 0) +
                        self.attributes(FILE))
        elif opcode in (GETATTR, SETATTR):
            self.answer(unique, struct.pack("<QII", 0, 0, 0) + self.attributes(node))
        elif opcode == OPEN:
            self.answer(unique, struct.pack("<QII", 0, 1, 0))  # past the page cache
        elif opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.answer(unique, bytes(self.data[offset:offset + size]))
        elif opcode == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.data[offset:offset + size] = body[40:40 + size]
            self.answer(unique, struct.pack("<II", size, 0))
        elif opcode in (FSYNC, FLUSH, RELEASE):
            self.answer(unique)
        elif opcode == STATFS:
            self.answer(unique, bytes(80))
        else:
            self.answer(unique, error=errno.ENOENT if opcode == LOOKUP else errno.ENOSYS)
