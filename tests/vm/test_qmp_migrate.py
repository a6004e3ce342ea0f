# SPDX-License-Identifier: MIT
"""migrate is refused with the known texts, and the guest does not notice."""

import os
import socket

import pytest

from qmp import QmpError


@pytest.fixture
def vm(vms):
    vm = vms("gap", append="pattern=4M").start()
    yield vm
    vm.running()
    vm.check_no_errors()
    assert vm.status() == {"status": "running", "running": True}
    vm.qmp.drain_events(0.05)
    assert not [e for e in vm.qmp.event_names() if e == "STOP"]


def main(path="/nonexistent/main"):
    return {"channel-type": "main", "addr": {
        "transport": "socket", "type": "unix", "path": path}}


def cpr(path="/nonexistent/cpr"):
    return {"channel-type": "cpr", "addr": {
        "transport": "socket", "type": "unix", "path": path}}


REFUSED = {
    "no_argument": (
        "cpr-transfer", {}, "need either 'uri' or 'channels' argument"),
    "both_arguments": (
        "cpr-transfer", {"uri": "unix:/x", "channels": [main()]},
        "need either 'uri' or 'channels' argument"),
    "two_mains": (
        "cpr-transfer", {"channels": [main(), main()]},
        "Channel list has more than one main entry"),
    "no_main": (
        "cpr-transfer", {"channels": [cpr()]},
        "Channel list has no main entry"),
    "empty_list": (
        "cpr-transfer", {"channels": []}, "Channel list has no main entry"),
    "no_cpr": (
        "cpr-transfer", {"channels": [main()]},
        "missing 'cpr' migration channel"),
    "no_cpr_by_uri": (
        "cpr-transfer", {"uri": "unix:/x"}, "missing 'cpr' migration channel"),
    "file_in_transfer": (
        "cpr-transfer", {"channels": [{"channel-type": "main", "addr": {
            "transport": "file", "filename": "/tmp/x", "offset": 0}}, cpr()]},
        "Migration requires streamable transport (eg unix)"),
    "unknown_protocol": (
        "cpr-exec", {"uri": "bogus:x"}, "unknown migration protocol: bogus:x"),
    "exec_without_command": (
        "cpr-exec", {"uri": "file:/tmp/never"},
        "cpr-exec mode requires setting cpr-exec-command"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_happens(vm, case):
    mode, arguments, text = REFUSED[case]
    vm.set_parameters(mode=mode)
    vm.qmp.drain_events()
    vm.qmp.events.clear()
    with pytest.raises(QmpError) as e:
        vm.qmp.cmd("migrate", arguments)
    assert e.value.desc == text
    assert vm.qmp.cmd("query-migrate").get("status") in (None, "none")
    vm.qmp.drain_events(0.05)
    assert not vm.qmp.events


def test_cpr_address_must_be_unix(vm):
    vm.set_parameters(mode="cpr-transfer")
    bad = {"channel-type": "cpr", "addr": {
        "transport": "socket", "type": "inet", "host": "127.0.0.1",
        "port": "4444"}}
    with pytest.raises(QmpError) as e:
        vm.qmp.cmd("migrate", channels=[main(), bad])
    assert e.value.desc == "bad cpr channel address; must be unix"


def test_cpr_socket_nobody_listens_on(vm):
    vm.set_parameters(mode="cpr-transfer")
    with pytest.raises(QmpError) as e:
        vm.qmp.cmd("migrate", channels=[main(), cpr()])
    assert e.value.desc == ("Failed to connect to '/nonexistent/cpr': "
                            "No such file or directory")
    vm.qmp.drain_events(0.1)
    assert [n for n in vm.qmp.event_names() if "MIGRATION" in n] == [
        "MIGRATION setup", "MIGRATION failing", "MIGRATION failed"]
    assert vm.qmp.cmd("query-migrate")["status"] == "failed"


def test_exec_into_a_file_that_cannot_be_written(vm):
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=["/bin/true"])
    with pytest.raises(QmpError) as e:
        vm.qmp.cmd("migrate", uri="file:/nonexistent/state")
    assert "/nonexistent/state" in e.value.desc
    vm.qmp.drain_events(0.1)
    assert [n for n in vm.qmp.event_names() if "MIGRATION" in n] == [
        "MIGRATION setup", "MIGRATION failing", "MIGRATION failed"]


def test_exec_into_a_socket_is_refused(vm):
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=["/bin/true"])
    with pytest.raises(QmpError):
        vm.qmp.cmd("migrate", uri="unix:/nonexistent/sock")


def test_private_ram_is_a_blocker_that_names_the_block_and_the_cure(vms):
    vm = vms("gap", backend=False)
    vm.extra = ["-object", "memory-backend-memfd,id=ram0,size=256M,share=off",
                "-machine", "memory-backend=ram0,aux-ram-share=on"]
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(0))
    for mode, arguments in (
            ("cpr-transfer", {"channels": [main(), cpr()]}),
            ("cpr-exec", {"uri": "file:" + vm.path("state")})):
        vm.set_parameters(mode=mode, cpr_exec_command=["/bin/true"])
        with pytest.raises(QmpError) as e:
            vm.qmp.cmd("migrate", arguments)
        assert "ram0" in e.value.desc and "share=on" in e.value.desc
        reasons = vm.qmp.cmd("query-migrate")["blocked-reasons"]
        assert any("ram0" in r for r in reasons)
    assert vm.status()["status"] == "running"


def test_backend_that_is_not_used_never_loses_the_guest(vms):
    """-object memory-backend-file without -machine memory-backend=."""
    vm = vms("gap", backend=False)
    vm.extra = ["-object", "memory-backend-file,id=ram0,size=256M,share=on,"
                "mem-path=" + vm.path("ram.img")]
    vm.generation, vm.proc = vm.spawn()
    if vm.proc.popen.poll() is None:
        try:
            vm.proc.connect(vm.qmp_path(0))
        except AssertionError:
            pass
    if vm.proc.alive():
        vm.map_ram()
        vm.wait_ready()
        vm.transfer()
        vm.running()
        vm.check_no_errors()
    else:
        assert "memory-backend=ram0" in vm.proc.log()


def test_second_migrate_while_one_is_under_way_is_refused(vm):
    with socket.socket(socket.AF_UNIX) as listener:
        path = vm.path("slow.sock")
        listener.bind(path)
        listener.listen(1)
        vm.set_parameters(mode="cpr-transfer")
        vm.qmp.send_raw('{"execute":"migrate","arguments":{"channels":['
                        '{"channel-type":"main","addr":{"transport":"socket",'
                        '"type":"unix","path":"%s"}},{"channel-type":"cpr",'
                        '"addr":{"transport":"socket","type":"unix",'
                        '"path":"%s"}}]}}' % (vm.path("no.sock"), path))
        connection, _ = listener.accept()
        with connection:
            assert "return" in vm.qmp.reply()
            with pytest.raises(QmpError) as e:
                vm.qmp.cmd("migrate", channels=[main(), cpr()])
            assert e.value.desc == "There's a migration process in progress"
        os.unlink(path)
    assert vm.wait_migrate()["status"] == "failed"
