# SPDX-License-Identifier: MIT
"""The other end of a guest's network card: numbered frames out, and what comes back."""

import ctypes
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time

ECHO = 0x88b5
FLOOD = 0x88b6
GUEST = bytes.fromhex("525400123456")
HOST = bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
SMALLEST = 26
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
PACKET_STATISTICS = 6


def frame(number, size, to=GUEST):
    """A frame that the guest knows to judge."""
    head = to + HOST + struct.pack(">H", ECHO) + \
        struct.pack("<QI", number, size)
    return head + bytes((number + i) & 0xff for i in range(len(head), size))


class Peer:
    """Sends frames without pause and checks that each comes back once, in order.

    At most `window` of them are on the way. A subclass moves frames."""

    def __init__(self, window=24, sizes=(60, 1400), seed=1):
        self.random = random.Random(seed)
        self.window = window
        self.sizes = sizes
        self.sent = 0
        self.echoed = 0
        self.floods = 0
        self.others = 0
        self.wrong = []
        self.quiet = False
        self.done = False
        self.turns = 0
        self.thread = None

    def start(self):
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        self.done = True
        if self.thread:
            self.thread.join(20)

    def _work(self):
        try:
            while not self.done:
                self.turn()
                self.turns += 1
        except Exception as e:  # whatever ends the thread fails the test
            self.wrong.append(repr(e))

    def next_frame(self):
        """The frame to be sent next, or None while there are enough on the way."""
        if self.quiet or self.sent - self.echoed >= self.window:
            return None
        return frame(self.sent, self.random.randint(*self.sizes))

    def judge(self, data):
        kind = struct.unpack(">H", data[12:14])[0] if len(data) >= 14 else 0
        if kind not in (ECHO, FLOOD):
            self.others += 1
            return
        number, size = struct.unpack("<QI", data[14:26])
        expected = self.echoed if kind == ECHO else self.floods
        if number != expected or size != len(data):
            self.wrong.append("%x: number %d of %d bytes, expected %d, %d" %
                              (kind, number, size, expected, len(data)))
        if data[26:] != bytes((number + i) & 0xff
                              for i in range(26, len(data))):
            self.wrong.append("%x: number %d is damaged" % (kind, number))
        if kind == ECHO:
            self.echoed = number + 1
        else:
            self.floods = number + 1

    def check(self, vm=None):
        assert not self.wrong, (self.wrong[:5], vm and vm.body.all())

    def wait_more(self, vm, more=200, timeout=30):
        """Frames go on in both directions."""
        goal = self.echoed + more
        end = time.monotonic() + timeout
        while self.echoed < goal:
            self.check(vm)
            assert time.monotonic() < end, "only %d frames of %d came back: %s; %s" % (
                self.echoed, goal, vm.body.all(), vm.proc.log())
            time.sleep(0.002)

    def settle(self, vm, timeout=30):
        """Sends nothing more, and waits for what is on the way."""
        self.quiet = True
        end = time.monotonic() + timeout
        # The thread may just be sending one.
        goal = self.turns + 2
        while self.turns < goal or self.echoed < self.sent:
            self.check(vm)
            assert time.monotonic() < end, "%d of %d came back: %s" % (
                self.echoed, self.sent, vm.body.all())
            time.sleep(0.002)
        self.check()


class StreamPeer(Peer):
    """On a stream socket: each frame behind its length. With `single`, byte by byte."""

    def __init__(self, sock, single=False, **kwargs):
        super().__init__(**kwargs)
        self.sock = sock
        self.sock.setblocking(False)
        self.single = single
        self.out = b""
        self.got = bytearray()

    def turn(self):
        if not self.out:
            data = self.next_frame()
            if data is not None:
                self.out = struct.pack(">I", len(data)) + data
                self.sent += 1
        ready = select.select([self.sock], [self.sock] if self.out else [], [],
                              0.01)
        if ready[1]:
            self._send()
        if ready[0]:
            self._receive()

    def _send(self):
        try:
            n = self.sock.send(self.out[:1] if self.single else self.out)
        except BlockingIOError:
            return
        self.out = self.out[n:]

    def _receive(self):
        data = self.sock.recv(1 if self.single else 65536)
        if not data:
            raise EOFError("the connection has ended")
        self.got += data
        while len(self.got) >= 4:
            n = struct.unpack(">I", self.got[:4])[0]
            if len(self.got) < 4 + n:
                return
            self.judge(bytes(self.got[4:4 + n]))
            del self.got[:4 + n]

    def stop(self):
        super().stop()
        self.sock.close()


class TapPeer(Peer):
    """On a tap interface, by a packet socket."""

    def __init__(self, name, **kwargs):
        super().__init__(**kwargs)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                  socket.htons(3))
        # Nothing may be lost here: room, and no copies of our own frames.
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.sock.bind((name, 3))
        self.sock.setblocking(False)
        self.name = name
        # The host's kernel drops frames until it has noticed that somebody has the tap open.
        end = time.monotonic() + 20
        while not self.is_up():
            assert time.monotonic() < end, "%s does not come up" % name
            time.sleep(0.01)

    def is_up(self):
        """The interface has its carrier, and the kernel has noticed."""
        text = subprocess.run(["ip", "-o", "link", "show", "dev", self.name],
                              check=True, capture_output=True, text=True).stdout
        return "LOWER_UP" in text and ("state UP" in text or "state UNKNOWN" in text)

    def turn(self):
        data = self.next_frame()
        if data is not None:
            self.sock.send(data)
            self.sent += 1
        while select.select([self.sock], [], [], 0 if data else 0.002)[0]:
            got, address = self.sock.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING:
                self.judge(got)

    def check(self, vm=None):
        super().check(vm)
        packets, drops = struct.unpack("II", self.sock.getsockopt(
            SOL_PACKET, PACKET_STATISTICS, 8))
        assert not drops, "%d frames of %d were lost in this socket" % (drops, packets)

    def stop(self):
        super().stop()
        self.sock.close()


class Server:
    """A listening UNIX socket that a netdev connects to."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(path)
        self.sock.listen(1)
        self.sock.settimeout(20)

    def accept(self):
        return self.sock.accept()[0]

    def close(self):
        self.sock.close()


class Namespace:
    """A network namespace of our own for this thread and its children, or why not."""

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.why = None
        if self.libc.unshare(CLONE_NEWNET):
            self.why = os.strerror(ctypes.get_errno())

    def tap(self, name, *words):
        subprocess.run(["ip", "tuntap", "add", "dev", name, "mode", "tap",
                        *words], check=True)
        # The kernel of the host has nothing to say there.
        subprocess.run(["ip", "link", "set", name, "addrgenmode", "none"],
                       check=False)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)

    def close(self):
        self.libc.setns(self.before, CLONE_NEWNET)
        os.close(self.before)
