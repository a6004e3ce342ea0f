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


def guest_offset(read_guest_tsc, samples=20000):
    """Guest TSC minus host TSC.

    read_guest_tsc returns the newest TSC the running guest has stored. What
    it stored lies in the past, so the largest difference seen is the best.
    """
    best = None
    for _ in range(samples):
        guest = read_guest_tsc()
        diff = guest - rdtsc()
        if best is None or diff > best:
            best = diff
    return best
