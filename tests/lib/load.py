# SPDX-License-Identifier: MIT
"""Busy processes: CPU load on every core."""

import ctypes
import os
import signal
import subprocess

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """For preexec_fn: the child is killed if the test run dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Load:
    """Context manager: count busy loops, one for each core by default."""

    def __init__(self, count=None):
        self.count = os.cpu_count() if count is None else count
        self.procs = []

    def __enter__(self):
        for _ in range(self.count):
            self.procs.append(subprocess.Popen(
                ["/bin/sh", "-c", "while :; do :; done"],
                preexec_fn=die_with_parent))
        return self

    def __exit__(self, *_):
        for p in self.procs:
            p.kill()
        for p in self.procs:
            p.wait()
        self.procs = []
