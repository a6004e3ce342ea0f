# SPDX-License-Identifier: MIT
"""Networks: TCP between the host and the same guest, under Baton and under QEMU, in turns.

The guest (tests/guest/netload.c) is a TCP peer on a virtio card behind a tap; the
host's side is the kernel's own, in a network namespace.
"""

import os
import socket
import subprocess
import time

import net_peer
import vm as harness
from rates import compare

GUEST = "192.0.2.2"
CHUNK = bytes(1 << 20)


class _Tap(net_peer.Namespace):
    """A tap with an address, in a namespace of its own."""

    def __enter__(self):
        if self.why:
            raise LookupError("no network namespace: %s" % self.why)
        self.tap("tap0", "vnet_hdr")
        subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", "tap0"],
                       check=True)
        return self

    def __exit__(self, *_):
        self.close()


def _connect(port):
    """As soon as the guest answers."""
    until = time.monotonic() + 10
    while True:
        try:
            conn = socket.create_connection((GUEST, port), 2)
            break
        except OSError:
            if time.monotonic() > until:
                raise
    conn.settimeout(20)
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return conn


def _to_guest(vm, seconds):
    """Bytes a second that the guest has taken."""
    with _connect(9) as conn:
        conn.sendall(CHUNK)
        begin, before = time.monotonic(), vm.body.rx_frames
        while time.monotonic() < begin + seconds:
            conn.sendall(CHUNK)
        return (vm.body.rx_frames - before) / (time.monotonic() - begin)


def _from_guest(_, seconds):
    """Bytes a second that the host has got."""
    room = bytearray(1 << 20)
    with _connect(19) as conn:
        conn.recv_into(room)
        begin, got = time.monotonic(), 0
        while time.monotonic() < begin + seconds:
            got += conn.recv_into(room)
        return got / (time.monotonic() - begin)


def _round_trips(_, seconds):
    """A message of 64 bytes there and back, in a second."""
    message = os.urandom(64)
    with _connect(7) as conn:
        begin, n = time.monotonic(), -1
        while n < 0 or time.monotonic() < begin + seconds:
            conn.sendall(message)
            back = conn.recv(len(message), socket.MSG_WAITALL)
            if back != message:
                raise harness.Failed("the guest sent other bytes back")
            if n < 0:
                begin = time.monotonic()
            n += 1
        return n / (time.monotonic() - begin)


# (name, how, what one is, per how many of what)
LOADS = (("TCP to the guest", _to_guest, "MB/s", 1e6),
         ("TCP from the guest", _from_guest, "MB/s", 1e6),
         ("64 bytes there and back by TCP", _round_trips, "1/s", 1))


def _rates_once(subject, seconds):
    """A rate for each load, of one machine."""
    with subject.make("netload", mem="256M") as vm:
        qemu = subject.name.startswith("qemu")
        vm.extra += ["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
                     "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56%s" %
                     (",disable-legacy=on" if qemu else "")]
        vm.start()
        rates = [measure(vm, seconds) for _, measure, _, _ in LOADS]
        if vm.head.errors:
            raise harness.Failed("the guest found the card wanting")
        return rates


def measure(some, rounds, seconds):
    """Rates of all subjects, in turns, and ratios of the first to the rest."""
    rates = {s.name: [] for s in some}
    for i in range(rounds):
        # Who begins changes too. The kernel may let go of a tap a while after its process.
        for subject in some[i % 2:] + some[:i % 2]:
            with _Tap():
                rates[subject.name].append(_rates_once(subject, seconds))
    return [compare(name, {n: [r[i] for r in all_of]
                           for n, all_of in rates.items()}, unit, scale)
            for i, (name, _, unit, scale) in enumerate(LOADS)]
