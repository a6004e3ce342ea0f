# SPDX-License-Identifier: MIT
"""-dump-vmstate describes the tables; -only-migratable takes a machine that can be saved."""

import copy
import json
import os
import subprocess

import pytest

import dump
import stream
import vm as harness


def run(*args, cwd=None):
    return subprocess.run([harness.BATON, *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=20, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    path = tmp_path_factory.mktemp("dump") / "tables.json"
    done = run("-dump-vmstate", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return json.loads(path.read_text(encoding="ascii"))


def test_dump_has_the_documented_form(tables):
    dump.check_form(tables)
    assert tables["vmschkmachine"]["Name"] == "baton-1"
    assert len(tables) > 8


def test_dump_needs_no_other_option_and_starts_nothing(tmp_path):
    path = tmp_path / "t.json"
    path.write_text("x" * 100000, encoding="ascii")
    done = run("-dump-vmstate", "t.json", "-m", "64M", "-kernel", "/nowhere",
               "-qmp", "unix:q.sock,server=on,wait=off", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    json.loads(path.read_text(encoding="ascii"))
    assert os.listdir(tmp_path) == ["t.json"]


@pytest.mark.parametrize("path,word", (
    ("/nonexistent/t.json", "No such file"), ("/", "directory"),
    ("/dev/full", "No space left")))
def test_dump_that_cannot_be_written_is_an_error(path, word):
    done = run("-dump-vmstate", path)
    assert done.returncode == 1
    assert word.encode() in done.stderr and path.encode() in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_dump_compared_with_itself_has_no_difference(tables):
    assert dump.differences(tables, tables) == []


def test_each_kind_of_change_is_found(tables):
    def changed(change):
        other = copy.deepcopy(tables)
        change(other["mc146818rtc"]["Description"])
        return dump.differences(tables, other)

    assert changed(lambda d: d["Fields"].pop(0))
    assert changed(lambda d: d["Fields"].pop())
    assert changed(lambda d: d["Fields"][0].update(size=4))
    assert changed(lambda d: d.update(version_id=9, minimum_version_id=9))
    other = copy.deepcopy(tables)
    del other["serial"]
    assert dump.differences(tables, other)
    # A newer release may have more, and takes what this one writes.
    other["serial"] = copy.deepcopy(tables["serial"])
    other["serial"]["Description"]["Subsections"] = [{
        "name": "serial/v2", "version_id": 2, "minimum_version_id": 2,
        "Fields": []}]
    assert dump.differences(tables, other) == []
    assert dump.differences(other, tables)


def written_state(vm):
    """What a state file of this machine says of its devices."""
    vm.exec_()
    with open(vm.path("vm.state"), "rb") as f:
        return stream.description(f.read())["devices"]


def check_agreement(device, tables):
    """The table of this name has the written fields; in its order, and as large."""
    table = tables[device["vmsd_name"]]["Description"]
    assert device["version"] == table["version_id"]
    sizes = {f["field"]: (f["size"], f.get("num", 1)) for f in table["Fields"]}
    names = [f["name"] for f in device["fields"]]
    # A variable part of length 0 is not there.
    assert names and names == [n for n in sizes if n in names]
    for field in device["fields"]:
        size, num = sizes[field["name"]]
        assert field["size"] <= size
        assert field.get("array_len", 1) <= num


def test_dump_and_a_written_state_agree(tables, vms):
    """What a real state file says of itself is what the tables say."""
    written = written_state(vms("gap", mem="64M", smp=2).start())
    # A sample of RAM is only in streams that may hold RAM; the guest has not looked for PCI; what
    # has to be asked for is not there.
    own = run("-device", "help").stdout.decode()
    own = {line.strip() for line in own.split("Each machine")[1].splitlines()
           if line.startswith("  ")}
    names = {d["vmsd_name"] for d in written} - {"baton-checksum"}
    assert names <= set(tables)
    assert names - own == {"apic", "cpu", "globalstate"}
    # fw_cfg is there for firmware only.
    assert own - names <= {"reset", "pci-host", "fw_cfg"}
    for device in written:
        if device["vmsd_name"] == "baton-checksum":
            continue
        check_agreement(device, tables)


# What is asked for with -device, and the class of its state.
DRIVERS = {
    "pcie-root-port": "pcie-root-port", "bochs-display": "bochs-display",
    "i6300esb": "i6300esb", "virtio-rng-pci": "virtio-rng",
    "virtio-blk-pci": "virtio-blk", "virtio-net-pci": "virtio-net",
    "virtio-serial-pci": "virtio-serial", "virtserialport": "virtio-serial-port",
    "virtconsole": "virtio-serial-port"}


def test_dump_and_the_written_state_of_each_driver_agree(tables, vms):
    listed = run("-device", "help").stdout.decode().split("\nEach machine")[0]
    assert {line.split('"')[1] for line in listed.splitlines()} == set(DRIVERS)
    more = {"virtio-blk-pci": ",drive=d0", "virtio-net-pci": ",netdev=n0"}
    # One with the driver's part of its state in use, the others as after a reset.
    vm = vms("virtio", mem="64M")
    with open(vm.path("disk"), "wb") as f:
        f.truncate(1 << 20)
    vm.extra += ["-drive", "if=none,id=d0,format=raw,file=" + vm.path("disk"), "-netdev",
                 "stream,id=n0,server=on,addr.type=unix,addr.path=" + vm.path("net.sock")]
    for driver in DRIVERS:
        vm.extra += ["-device", driver + more.get(driver, "")]
    written = written_state(vm.start())
    found = {}
    for device in written:
        if device["vmsd_name"] == "baton-checksum":
            continue
        check_agreement(device, tables)
        found.setdefault(device["vmsd_name"], []).append(device)
    for name in set(DRIVERS.values()) | {"netdev-stream"}:
        count = list(DRIVERS.values()).count(name) if name in DRIVERS.values() else 1
        assert len(found[name]) == count, name
        for device in found[name]:
            assert device["name"].endswith("/" + name), device["name"]


def test_a_machine_that_can_be_saved_is_taken(vms):
    vm = vms("gap", mem="64M", extra=["-only-migratable"]).start()
    vm.exec_()
    vm.running()
