# SPDX-License-Identifier: MIT
"""The host's time-stamp counter, readable from Python."""

import ctypes
import functools
import mmap
import time

# rdtsc; shl $32,%rdx; or %rdx,%rax; ret
_CODE = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"
_page = mmap.mmap(-1, mmap.PAGESIZE,
                  prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
_page.write(_CODE)
_anchor = ctypes.c_char.from_buffer(_page)
rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(_anchor))


@functools.lru_cache(maxsize=None)
def hz():
    """TSC cycles a second, measured once against CLOCK_MONOTONIC_RAW."""
    clock = time.CLOCK_MONOTONIC_RAW

    def both():
        best = None
        for _ in range(50):
            a, ns, b = rdtsc(), time.clock_gettime_ns(clock), rdtsc()
            if best is None or b - a < best[0]:
                best = (b - a, (a + b) // 2, ns)
        return best[1], best[2]

    t0, n0 = both()
    time.sleep(0.25)
    t1, n1 = both()
    return (t1 - t0) * 1e9 / (n1 - n0)


def _offset_once(read_guest_tsc, seconds):
    best = None
    end = time.monotonic() + seconds
    while best is None or time.monotonic() < end:
        diff = read_guest_tsc() - rdtsc()
        if best is None or diff > best:
            best = diff
    return best


def guest_offset(read_guest_tsc, seconds=0.1, agree=3, timeout=20.0):
    """Guest TSC minus host TSC.

    read_guest_tsc returns the newest TSC the running guest has stored. What
    it stored lies in the past, so no reading is above the truth, and on a busy
    host many are below: the result is the highest that several spells agree
    on within two microseconds.
    """
    found = []
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found.append(_offset_once(read_guest_tsc, seconds))
        near = [f for f in found if max(found) - f < hz() * 2e-6]
        if len(near) >= agree:
            return max(found)
    raise TimeoutError("the guest's TSC cannot be compared: %s" % found)
