# SPDX-License-Identifier: MIT
"""The kernel behaves as docs/kernel-behaviour says."""

import glob
import os
import re
import subprocess

import pytest

import vm as harness

FOLDER = os.path.join(harness.ROOT, "docs", "kernel-behaviour")
PROGRAMS = sorted(os.path.basename(p)[:-2]
                  for p in glob.glob(os.path.join(FOLDER, "*.c")))


@pytest.mark.parametrize("name", PROGRAMS)
def test_fact_holds(name):
    program = os.path.join(harness.ROOT, "build", "facts", name)
    if not os.path.exists(program):
        subprocess.run(["make", "-s", "-C", harness.ROOT,
                        "build/facts/" + name], check=True)
    done = subprocess.run([program], check=False, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode("utf-8", errors="replace").strip()
    if done.returncode == 77:
        pytest.skip("%s: %s" % (name.upper(), said))
    assert done.returncode == 0, said
    assert said.startswith("holds: ")


def test_every_program_has_its_row():
    with open(os.path.join(FOLDER, "README.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| `([\w-]+)` \|", f.read(), re.M)
    assert sorted(rows) == PROGRAMS
