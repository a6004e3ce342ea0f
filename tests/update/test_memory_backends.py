# SPDX-License-Identifier: MIT
"""Memory of every kind of backend stays what and where it is in updates.

It is preserved by its descriptor: also where its name has gone or means
another file now. What cannot be preserved is refused by name, and the guest
goes on.
"""

import os

import pytest

import backends
from qmp import QmpError
from vm import Failed, MIB

MODES = ("transfer", "exec", "graft")


def start(vms, where, text, target, **kwargs):
    vm = vms("gap", append="pattern=16M", mem="64M", backend=False,
             extra=backends.arguments(text, **where), **kwargs)
    return backends.start(vm, target.format(**where))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", backends.SHAREABLE)
def test_memory_is_the_same_object_with_the_same_bytes(vms, tmp_path, name,
                                                       mode):
    text, target = backends.SHAREABLE[name]
    with backends.places(tmp_path, text) as where:
        vm = start(vms, where, text, target)
        memory = backends.ram_id(vm, target.format(**where))
        digest = vm.static_hash()
        for _ in range(3):
            vm.update(mode)
            vm.running()
            assert backends.ram_id(vm, target.format(**where)) == memory
        assert vm.static_hash() == digest
        assert vm.head.boots == 1
        vm.check_no_errors()
        vm.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("other", ("gone", "another file"))
def test_file_is_preserved_without_its_path(vms, tmp_path, mode, other):
    path = tmp_path / "ram.img"
    vm = start(vms, {"dir": str(tmp_path)},
               "file,share=on,mem-path={dir}/ram.img", str(path))
    memory = backends.ram_id(vm, str(path))
    digest = vm.static_hash()
    path.unlink()
    if other == "another file":
        path.write_bytes(b"other" * 1000)
    vm.update(mode)
    vm.running()
    assert backends.ram_id(vm, str(path)) == memory
    assert vm.static_hash() == digest
    vm.check_no_errors()
    assert path.exists() is (other == "another file")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", backends.PRIVATE)
def test_private_memory_is_refused_by_name_and_the_guest_counts_on(
        vms, tmp_path, name, mode):
    vm = vms("serial", mem="64M", backend=False, extra=backends.arguments(
        backends.PRIVATE[name], dir=str(tmp_path)))
    counting = backends.Counting(vm)
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(0))
    counting.goes_on()
    with pytest.raises(QmpError) as e:
        if mode == "transfer":
            generation, new = vm.spawn_incoming()
            try:
                vm.migrate_to(generation)
            finally:
                new.kill()
        else:
            vm.set_parameters(mode="cpr-exec",
                              cpr_exec_command=vm.exec_command())
            vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    said = "Memory region ram0 is not compatible with CPR. share=on is " \
        "required for memory-backend objects, and aux-ram-share=on is " \
        "required."
    assert e.value.desc == said
    assert vm.qmp.cmd("query-migrate")["blocked-reasons"] == [said]
    counting.goes_on()


@pytest.mark.parametrize("mode", MODES)
def test_mailing_list_case_goes_on_typed_as_it_was(vms, mode):
    """Without -machine memory-backend=ram0: no guest is lost."""
    vm = vms("gap", append="pattern=64M", mem="4G", backend=False)
    vm.extra = ["-object", "memory-backend-file,id=ram0,size=4G,"
                "mem-path=%s,share=on" % vm.path("ram0.img")]
    vm.start()
    assert "memory backend 'ram0' is not used, guest RAM is 'pc.ram'; is " \
        "-machine memory-backend=ram0 missing?" in vm.proc.log()
    assert vm.qmp.cmd("query-memdev")[0]["id"] == "pc.ram"
    digest = vm.static_hash()
    for _ in range(3):
        vm.update(mode)
        vm.running()
    vm.check_same_ram()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_private_memory_on_the_new_side_is_refused(vms):
    """It would show the guest's bytes, and lose them at the next update."""
    vm = vms("gap", append="pattern=16M", mem="64M").start()
    vm.backend = False
    vm.extra = backends.arguments("memfd,share=off")
    generation, new = vm.spawn_incoming()
    try:
        vm.migrate_to(generation)
    except QmpError:
        pass
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert "'ram0' is shared, this one's is not" in answer["error-desc"]
    assert new.wait() == 1
    vm.running()
    vm.check_no_errors()


@pytest.mark.parametrize("mode", MODES)
def test_memory_that_begins_elsewhere_in_its_file_is_refused(vms, mode):
    """The descriptor would fit; the guest would find other bytes."""
    vm = vms("gap", append="pattern=16M", mem="64M", backend=False)
    path = vm.path("ram.img")
    text = "file,share=on,mem-path=%s,offset=" % path
    with open(path, "wb") as f:
        f.truncate(80 * MIB)
    vm.extra = backends.arguments(text + "0")
    backends.start(vm, path)
    old = vm.extra
    vm.extra = backends.arguments(text + "2M")
    try:
        if mode == "transfer":
            generation, new = vm.spawn_incoming()
            try:
                vm.migrate_to(generation)
            except QmpError:
                pass
            assert "use offset=0" in vm.wait_migrate()["error-desc"]
            assert new.wait() == 1
        else:
            # The new image goes back to the old one.
            with pytest.raises(Failed):
                vm.exec_()
            assert "use offset=0" in vm.qmp.cmd("query-migrate")["error-desc"]
    finally:
        vm.extra = old
    vm.running()
    vm.check_no_errors()
    vm.update(mode)
    vm.running()
    vm.check_no_errors()


def test_discard_data_does_not_discard_what_has_moved_on(vms, tmp_path):
    """The old process ends; the guest is in the new one, on this file."""
    path = str(tmp_path / "ram.img")
    vm = start(vms, {"dir": str(tmp_path)},
               "file,share=on,discard-data=on,mem-path={dir}/ram.img", path)
    digest = vm.static_hash()
    vm.transfer()
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()
    vm.qmp.cmd("quit")
    assert vm.proc.wait() == 0
    with open(path, "rb") as f:
        assert not any(f.read())
    assert os.stat(path).st_size == 64 * MIB
