# SPDX-License-Identifier: MIT
"""The bench program without Baton runs, and its figures are whole."""

import json
import os
import subprocess

import vm as harness

PARTS = {
    "GET all state of a vCPU", "SET all state of a vCPU",
    "KVM_RUN round trip with a port exit", "KVM_CREATE_VM",
    "KVM_CREATE_IRQCHIP", "KVM_CREATE_VCPU", "memslot of 256 MiB",
    "memslot of 1 GiB", "memslot of 8 GiB", "closing an empty VM",
    "the first memslot right after KVM_CREATE_IRQCHIP, 256 MiB",
    "hop from thread to thread by futex",
    "hop from thread to thread by eventfd",
    "hop from thread to thread by pipe",
    "vfork and exec of a static program, and its end",
    "pause: stopped, and run again by the same thread",
    "pause: run again by another thread, as in a graft",
    "pause: run by another process in another VM, as in a transfer",
}


def test_floor_measures_every_part(kvm, tmp_path):
    program = os.path.join(harness.ROOT, "build", "bench", "floor")
    if not os.path.exists(program):
        subprocess.run(["make", "-s", "-C", harness.ROOT, "build/bench/floor"],
                       check=True)
    path = tmp_path / "floor.json"
    done = subprocess.run(
        [program, "--rounds", "11", "--json", str(path)], check=True,
        stdout=subprocess.PIPE, timeout=120)
    found = json.loads(path.read_text(encoding="ascii"))
    parts = {p["name"]: p for p in found["parts"] if not p["part_of_previous"]}
    assert set(parts) == PARTS
    for part in found["parts"]:
        assert part["rounds"] == 11, part
        assert 0 < part["lowest"] <= part["median"] <= part["p99"], part
        assert part["name"] in done.stdout.decode("ascii")


def test_floor_refuses_what_it_does_not_know(kvm):
    program = os.path.join(harness.ROOT, "build", "bench", "floor")
    for args in (["--nonono"], ["--rounds", "0"], ["--rounds", "x"], ["word"]):
        done = subprocess.run([program] + args, check=False,
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=20)
        assert done.returncode == 2, args
        assert b"Usage: floor" in done.stderr
