# SPDX-License-Identifier: MIT
"""The examples of QEMU's CPR document work with the program's name replaced."""

import os
import socket
import subprocess

import vm as harness

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(tmp_path, script, *args):
    programs = tmp_path / "bin"
    programs.mkdir()
    os.symlink(harness.BATON, programs / "baton")
    work = tmp_path / "work"
    work.mkdir()
    environment = dict(os.environ)
    environment["PATH"] = "%s:%s" % (programs, os.environ["PATH"])
    done = subprocess.run(
        [os.path.join(HERE, script), harness.guest_path("gap")] + list(args),
        cwd=work, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=90, check=False)
    assert done.returncode == 0, "%s\n%s" % (done.stdout.decode(),
                                             done.stderr.decode())
    return done.stdout.decode()


def test_cpr_transfer_example_from_a_shell_script(kvm, tmp_path):
    text = run(tmp_path, "doc-cpr-transfer", str(free_port()))
    assert "postmigrate" in text
    assert "VM status: running" in text


def test_cpr_exec_example_from_a_shell_script(kvm, tmp_path):
    text = run(tmp_path, "doc-cpr-exec")
    assert text.count("VM status: running") == 2


def test_cpr_exec_example_with_incoming_defer(kvm, tmp_path):
    text = run(tmp_path, "doc-cpr-exec", "defer")
    assert "VM status: paused (inmigrate)" in text
    assert text.count("VM status: running") >= 2


def state_size(text):
    return int(text.split()[-2])


def test_cpr_reboot_example_from_a_shell_script(kvm, tmp_path):
    text = run(tmp_path, "doc-cpr-reboot")
    assert "VM status: paused (postmigrate)" in text
    assert "VM status: paused (inmigrate)" in text
    # RAM stayed in the file.
    assert state_size(text) < 1 << 20


def test_cpr_reboot_example_as_it_is_printed_loses_no_guest(kvm, tmp_path):
    """Without -machine memory-backend= RAM is in the stream."""
    text = run(tmp_path, "doc-cpr-reboot", "without")
    assert "VM status: paused (postmigrate)" in text
    assert state_size(text) > 16 << 20
