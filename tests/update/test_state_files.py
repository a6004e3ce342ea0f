# SPDX-License-Identifier: MIT
"""The state file has the documented form; a damaged one is refused whole.

A state is loaded only together with the guest's memory, so a damaged one is
given to a new image by a wrapper that spoils the file between the two.
"""

import json
import os
import random
import struct
import time

import pytest

from vm import Failed


@pytest.fixture
def vm(vms):
    return vms("gap", append="pattern=4M", mem="64M").start()


@pytest.fixture
def state(vm):
    """The bytes of a valid state file."""
    vm.exec_()
    vm.running()
    with open(vm.path("vm.state"), "rb") as f:
        data = f.read()
    assert len(data) > 1000
    return data


def wrapper(vm, damage):
    """A program that runs some Python on the file, then the real baton."""
    path = vm.path("spoil")
    with open(path, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\n"
                "/usr/bin/python3 - <<'END' || exit 1\n"
                "path = %r\n"
                "d = bytearray(open(path, 'rb').read())\n"
                "%s\n"
                "open(path, 'wb').write(d)\n"
                "END\n"
                "exec %s \"$@\"\n" % (vm.path("vm.state"), damage,
                                      vm.program))
    os.chmod(path, 0o755)
    return path


def check_refused(vm, damage, *words):
    """The new image must not run a guest from that file.

    It ends with status 1, or goes back to the old image, or keeps the guest
    stopped; it says why, and the guest's memory is as it was.
    """
    digest = vm.static_hash()
    logged = len(vm.proc.log())
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=vm.exec_command(wrapper(vm, damage)))
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    try:
        vm.wait_exec(20)
    except Failed:
        pass
    end = time.monotonic() + 5
    while vm.proc.alive() and time.monotonic() < end and \
            vm.status()["status"] == "inmigrate" and \
            vm.qmp.cmd("query-migrate").get("status") != "failed":
        time.sleep(0.01)
    text = vm.proc.log()[logged:]
    assert text.strip(), "nothing was said"
    for word in words:
        assert word.lower() in text.lower(), text
    assert vm.static_hash() == digest
    if not vm.proc.alive():
        assert vm.proc.wait() == 1
        return
    if vm.status()["status"] == "inmigrate":
        assert vm.stopped()
        return
    # Back in the old image, which goes on.
    assert vm.qmp.cmd("query-migrate")["status"] == "failed"
    vm.running()
    vm.check_no_errors()


def test_stream_starts_with_the_documented_magic(state):
    assert state[:8] == b"QEVM\0\0\0\3"
    assert state[8] == 7


def test_stream_ends_with_the_description(state):
    start = state.rindex(b"\0") + 1
    while state[start:start + 1] != b"{":
        start += 1
    size, = struct.unpack(">I", state[start - 4:start])
    assert state[start - 5] == 6
    description = json.loads(state[start:start + size])
    assert start + size == len(state)
    assert description["page_size"] == 4096
    assert description["devices"]
    assert all(d["fields"] for d in description["devices"])


def test_state_file_is_private(vm, state):
    assert os.stat(vm.path("vm.state")).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage,word", (
    ("d[0:4] = b'XXXX'", ""), ("d[4:8] = b'\\0\\0\\0\\2'", ""),
    ("d[4:8] = b'\\0\\0\\0\\4'", ""), ("d = b''", ""), ("d = d[:7]", ""),
    ("d = d[:-1]", ""), ("d = d + b'x'", ""), ("d = d * 2", ""),
    ("d = d[:len(d) // 2]", "")))
def test_damaged_state_is_refused(vm, damage, word):
    check_refused(vm, damage, word)


@pytest.mark.parametrize("seed", range(12))
def test_prefix_is_refused(vm, seed):
    cut = random.Random(seed).random()
    check_refused(vm, "d = d[:int(len(d) * %r)]" % cut)


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bit_is_refused(vm, seed):
    chance = random.Random(100 + seed)
    check_refused(vm, "d[int(len(d) * %r)] ^= %d" % (
        chance.random(), 1 << chance.randrange(8)))


def test_state_of_another_machine_size_is_refused(vm):
    digest = vm.static_hash()
    vm.smp = 2
    command = vm.exec_command()
    vm.smp = 1
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=command)
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_exec(20)
    assert vm.proc.log().strip()
    assert vm.static_hash() == digest
