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
