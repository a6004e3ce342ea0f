# SPDX-License-Identifier: MIT
"""A name server that does not answer holds up nothing but the command that asked."""

import shlex
import socket
import subprocess

import pytest

import procstat
import qmp

# A whole address, so that nothing is appended to the name; the answer is awaited for 9 s.
RESOLV_CONF = "nameserver 127.99.99.98\noptions timeout:9 attempts:1\n"


@pytest.fixture
def silent(tmp_path):
    """Makes a program whose name server, of its own, takes questions and never answers."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(RESOLV_CONF, encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.99.99.98", 53))
        except OSError as e:
            pytest.skip("NO RIGHT TO SET UP A NAME SERVER OF OUR OWN: %s" % e)

        def make(program):
            wrapper = tmp_path / "silent"
            wrapper.write_text(
                "#!/bin/sh\nexec unshare --mount -- sh -c 'mount --bind %s "
                "/etc/resolv.conf && exec \"$0\" \"$@\"' %s \"$@\"\n" %
                (shlex.quote(str(conf)), shlex.quote(program)),
                encoding="ascii")
            wrapper.chmod(0o755)
            done = subprocess.run([wrapper, "-version"], check=False,
                                  capture_output=True)
            if done.returncode:
                pytest.skip("NO RIGHT TO MOUNT A resolv.conf: %s" %
                            done.stderr.decode(errors="replace").strip())
            return str(wrapper)

        yield make


def test_no_graft_while_a_look_up_has_no_answer(vms, silent):
    """Its thread would go on in the old image's memory, which goes."""
    vm = vms("gap", append="pattern=16M")
    program = vm.program
    vm.program = silent(program)
    vm.start()
    vm.program = program
    digest = vm.static_hash()
    threads = len(procstat.threads(vm.pid))
    vm.set_parameters(mode="normal")
    with pytest.raises(qmp.QmpError, match="no answer within 5 s"):
        vm.qmp.cmd("migrate", uri="tcp:host.example:4444")
    vm.running()
    assert len(procstat.threads(vm.pid)) == threads + 1
    vm.set_parameters(mode="cpr-graft", cpr_exec_command=vm.graft_command())
    vm.qmp.cmd("migrate")
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert "something else is at work" in answer["error-desc"]
    vm.running()
    vm.wait_for("the end of the look-up",
                lambda: len(procstat.threads(vm.pid)) == threads)
    vm.graft()
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()
