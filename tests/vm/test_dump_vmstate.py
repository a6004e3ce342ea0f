# SPDX-License-Identifier: MIT
"""-dump-vmstate describes the tables; -only-migratable takes a machine that can be saved."""

import copy
import json
import os
import subprocess

import pytest

import dump
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


def test_dump_and_a_written_state_agree(tables, vms):
    """What a real state file says of itself is what the tables say."""
    vm = vms("gap", mem="64M", smp=2).start()
    vm.exec_()
    with open(vm.path("vm.state"), "rb") as f:
        data = f.read()
    text = data[data.rindex(b"\0"):]
    written = json.loads(text[text.index(b"{"):])["devices"]
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
        table = tables[device["vmsd_name"]]["Description"]
        assert device["version"] == table["version_id"]
        sizes = {f["field"]: (f["size"], f.get("num", 1))
                 for f in table["Fields"]}
        names = [f["name"] for f in device["fields"]]
        # In the order of the table; a variable part of length 0 is not there.
        assert names == [n for n in sizes if n in names]
        for field in device["fields"]:
            size, num = sizes[field["name"]]
            assert field["size"] <= size
            assert field.get("array_len", 1) <= num


def test_a_machine_that_can_be_saved_is_taken(vms):
    vm = vms("gap", mem="64M", extra=["-only-migratable"]).start()
    vm.exec_()
    vm.running()
