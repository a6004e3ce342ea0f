# SPDX-License-Identifier: MIT
"""Each kind of memory backend carries a guest; what cannot be had is refused.

The texts are those people know; where a sentence is longer, it says more.
"""

import json
import os
import subprocess

import pytest

import backends
import vm as harness
from vm import MIB


@pytest.mark.parametrize("name", backends.SHAREABLE)
def test_a_guest_runs_on_it(vms, tmp_path, name):
    text, target = backends.SHAREABLE[name]
    with backends.places(tmp_path, text) as where:
        vm = vms("gap", append="pattern=16M", mem="64M", backend=False,
                 extra=backends.arguments(text, **where))
        backends.start(vm, target.format(**where))
        vm.running()
        vm.check_no_errors()
        dev = vm.qmp.cmd("query-memdev")
        assert [(d["id"], d["size"], d["share"]) for d in dev
                if d["id"] == "ram0"] == [("ram0", 64 * MIB, True)]
        assert vm.qmp.cmd("query-migrate").get("blocked-reasons", []) == []
        vm.close()


@pytest.mark.parametrize("name", backends.PRIVATE)
def test_a_guest_runs_on_private_memory(vms, tmp_path, name):
    vm = vms("serial", mem="64M", backend=False, extra=backends.arguments(
        backends.PRIVATE[name], dir=str(tmp_path)))
    counting = backends.Counting(vm)
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(0))
    counting.goes_on()
    assert vm.qmp.cmd("query-memdev")[0]["share"] is False


def test_json_form_of_object_works(vms):
    vm = vms("gap", append="pattern=16M", mem="64M", backend=False, extra=[
        "-object", json.dumps({"qom-type": "memory-backend-memfd",
                               "id": "ram0", "size": 64 * MIB,
                               "share": True, "seal": False}),
        "-machine", "memory-backend=ram0"])
    backends.start(vm, "/memfd:ram0")
    vm.running()


def test_size_of_the_machine_follows_the_backend_without_m(vms):
    vm = vms("gap", append="pattern=16M", backend=False,
             extra=backends.arguments("memfd", size="96M"))
    args = vm.args(0)
    at = args.index("-m")
    del args[at:at + 2]
    vm.args = lambda generation, extra=(): args + list(extra)
    backends.start(vm, "/memfd:ram0")
    vm.running()
    assert len(vm.ram) == 96 * MIB


def test_memory_begins_at_the_offset(vms, tmp_path):
    path = str(tmp_path / "ram.img")
    with open(path, "wb") as f:
        f.write(b"front" * 1000)
    vm = vms("gap", append="pattern=16M", mem="64M", backend=False,
             extra=backends.arguments(
                 "file,share=on,offset=1M,mem-path=" + path))
    os.truncate(path, 65 * MIB)
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(0))
    vm.ram = backends.map_part(path, MIB, 64 * MIB)
    vm.wait_ready()
    vm.running()
    with open(path, "rb") as f:
        assert f.read(5000) == b"front" * 1000


@pytest.mark.parametrize("option", ("aux-ram-share", "memfd-alloc"))
@pytest.mark.parametrize("on", (True, False))
def test_plain_m_is_shared_as_machine_says(vms, option, on):
    vm = vms("serial", mem="64M", backend=False, extra=[
        "-machine", "%s=%s" % (option, "on" if on else "off")])
    counting = backends.Counting(vm)
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(0))
    counting.goes_on()
    dev = vm.qmp.cmd("query-memdev")
    assert [(d["id"], d["share"]) for d in dev] == [("pc.ram", on)]
    for mode in ("normal", "cpr-reboot", "cpr-transfer", "cpr-exec"):
        vm.set_parameters(mode=mode)
        blocked = vm.qmp.cmd("query-migrate").get("blocked-reasons", [])
        # Private RAM can go into a stream, but not stay in place.
        assert any("pc.ram" in b for b in blocked) is \
            (not on and mode in ("cpr-transfer", "cpr-exec"))


@pytest.mark.parametrize("how", ("quit", "kept"))
def test_discard_data_empties_the_file_when_the_guest_ends(vms, tmp_path,
                                                          how):
    path = str(tmp_path / "ram.img")
    vm = vms("gap", append="pattern=16M", mem="64M", backend=False,
             extra=backends.arguments(
                 "file,share=on,mem-path=%s,discard-data=%s" %
                 (path, "on" if how == "quit" else "off")))
    backends.start(vm, path)
    vm.qmp.cmd("quit")
    assert vm.proc.wait() == 0
    with open(path, "rb") as f:
        empty = not any(f.read())
    assert empty is (how == "quit")
    assert os.stat(path).st_size == 64 * MIB


GOOD = ["-m", "64M", "-display", "none", "-nodefaults"]
# Properties of a backend used as main RAM -> the whole of what is said.
BAD = {
    "epc": ("epc,id=r,size=64M", "memory-backend-epc: memory of an SGX "
            "enclave cannot outlive the process it was given to, so no "
            "guest on it could be updated"),
    "unknown type": (
        "frob,id=r,size=64M", "Parameter 'qom-type' does not accept value "
        "'memory-backend-frob'; known are memory-backend-memfd, "
        "memory-backend-file, memory-backend-shm and memory-backend-ram"),
    "unknown property": (
        "memfd,id=r,size=64M,frob=1",
        "Parameter 'frob' is unexpected for memory-backend-memfd"),
    "property of another type": (
        "memfd,id=r,size=64M,mem-path=/tmp/x",
        "Parameter 'mem-path' is unexpected for memory-backend-memfd"),
    "no id": ("memfd,size=64M", "Parameter 'id' is missing"),
    "id with a slash": (
        "memfd,id=a/b,size=64M", "Parameter 'id' expects an identifier (a "
        "letter, then letters, digits, '-', '.', '_'), not 'a/b'"),
    "no size": ("ram,id=r", "Parameter 'size' is missing or zero"),
    "no path": ("file,id=r,size=64M", "Parameter 'mem-path' is missing"),
    "private shm": ("shm,id=r,size=64M,share=off",
                    "can't create shm backend with `share=off`"),
    "bad boolean": ("ram,id=r,size=64M,share=maybe",
                    "Parameter 'share' expects 'on' or 'off', not 'maybe'"),
    "bad size": ("ram,id=r,size=many",
                 "Parameter 'size' expects a size: 'many' is not a size"),
    "huge page size without huge pages": (
        "memfd,id=r,size=64M,hugetlbsize=2M",
        "Parameter 'hugetlbsize' needs hugetlb=on"),
    "huge pages of no size": (
        "memfd,id=r,size=64M,hugetlb=on,hugetlbsize=3M",
        "RAM block 'r': huge pages of 3145728 bytes: the size is no power "
        "of 2"),
    "huge pages the host lacks": (
        "memfd,id=r,size=64M,hugetlb=on,hugetlbsize=8M",
        "RAM block 'r': this host has no huge pages of 8388608 bytes"),
    "NUMA": ("ram,id=r,size=64M,policy=bind,host-nodes=0",
             "Parameter 'policy' cannot be 'bind': memory is not bound to "
             "NUMA nodes by this program; start it with numactl instead"),
    "pmem": ("file,id=r,size=64M,mem-path=x,pmem=on",
             "Parameter 'pmem' cannot be 'on': persistence of what the "
             "guest writes cannot be promised without libpmem"),
    "odd alignment": ("file,id=r,size=64M,mem-path={dir}/x,align=12K",
                      "RAM block 'r': alignment 0x3000 must be a power of "
                      "two"),
    "small alignment": (
        "file,id=r,size=64M,mem-path={dir}/x,align=512",
        "RAM block 'r': alignment 0x200 must be multiples of page size "
        "0x1000"),
    "odd offset": ("file,id=r,size=64M,mem-path={dir}/x,offset=1K",
                   "RAM block 'r': offset 0x400 must be a multiple of page "
                   "size 0x1000"),
    "endless offset": (
        "file,id=r,size=64M,mem-path={dir}/x,offset=0x7ffffffffffff000",
        "RAM block 'r': the file would be too large"),
    "missing directory": (
        "file,id=r,size=64M,mem-path={dir}/none/x",
        "RAM block 'r': can't open backing store {dir}/none/x for guest "
        "RAM: No such file or directory"),
    "short file": (
        "file,id=r,size=64M,mem-path={dir}/short",
        "RAM block 'r': backing store size 0x1000 of {dir}/short does not "
        "match 'size' option 0x4000000"),
    "character device": (
        "file,id=r,size=64M,mem-path=/dev/zero",
        "RAM block 'r': /dev/zero is no regular file"),
    "read-only": ("file,id=r,size=64M,mem-path={dir}/short,readonly=on",
                  "Memory backend 'r' is read-only; the guest's RAM must be "
                  "writable"),
    "other size": (
        "memfd,id=r,size=128M", "Machine memory size does not match the size "
        "of the memory backend: 67108864 and 134217728 bytes"),
}
# What is said of a whole -object, before the machine is looked at.
JSON = {
    "no JSON": '{"qom-type":',
    "no type": '{"id":"r","size":67108864}',
    "text as size": '{"qom-type":"memory-backend-ram","id":"r",'
                    '"size":"64M"}',
    "number as boolean": '{"qom-type":"memory-backend-ram","id":"r",'
                         '"size":67108864,"share":1}',
    "list": '{"qom-type":"memory-backend-ram","id":"r","size":67108864,'
            '"host-nodes":[0]}',
    "negative": '{"qom-type":"memory-backend-ram","id":"r","size":-1}',
}
JSON_SAYS = {
    "no JSON": "JSON",
    "no type": "Parameter 'qom-type' is missing",
    "text as size": "Invalid parameter type for 'size', expected: integer",
    "number as boolean": "Invalid parameter type for 'share', expected: "
                         "boolean",
    "list": "Parameter 'host-nodes' cannot be",
    "negative": "Parameter 'size' expects a size",
}


def refusal(args):
    done = subprocess.run(
        [harness.BATON] + GOOD + ["-kernel", harness.guest_path("gap")] +
        args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=20, check=False)
    text = done.stderr.decode()
    assert done.returncode == 1, text
    assert len(text.splitlines()) == 1, text
    return text.rstrip("\n")


@pytest.mark.parametrize("name", BAD)
def test_bad_backend_is_refused_in_these_words(kvm, tmp_path, name):
    text, words = BAD[name]
    (tmp_path / "short").write_bytes(bytes(4096))
    before = sorted(os.listdir(tmp_path))
    said = refusal(["-object", "memory-backend-" +
                    text.format(dir=tmp_path),
                    "-machine", "memory-backend=r"])
    assert said.endswith(": " + words.format(dir=tmp_path)), said
    assert sorted(os.listdir(tmp_path)) == before, "a file was left behind"


@pytest.mark.parametrize("name", JSON)
def test_bad_json_is_refused(kvm, name):
    assert JSON_SAYS[name] in refusal(["-object", JSON[name]])


def test_backend_that_is_missing_is_named(kvm):
    assert refusal(["-machine", "memory-backend=nope"]).endswith(
        "Memory backend 'nope' not found")


def test_id_that_is_taken_is_named(kvm):
    one = "memory-backend-ram,id=r,size=64M"
    assert "two objects have the id 'r'" in refusal(
        ["-object", one, "-object", one])


def test_prealloc_says_that_the_file_system_is_full(kvm, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "none",
                           str(small)], stderr=subprocess.PIPE, check=False)
    if done.returncode:
        pytest.skip("NO TMPFS: %s" % done.stderr.decode())
    try:
        said = refusal(backends.arguments(
            "file,share=on,prealloc=on,mem-path=%s/x" % small))
        assert "prealloc: touching the memory would raise SIGBUS" in said
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_missing_huge_pages_are_named_at_once(kvm, tmp_path):
    """Not when the guest touches them: that would end the process."""
    with backends.hugetlbfs(str(tmp_path / "huge"), pages=2):
        for text in ("memfd,hugetlb=on,hugetlbsize=2M",
                     "file,share=on,mem-path=%s/huge/x" % tmp_path):
            said = refusal(["-m", "256M"] +
                           backends.arguments(text, size="256M"))
            assert "the host has not 128 huge pages of 2048 kB free" in said


def test_size_that_is_no_multiple_of_the_huge_page_is_refused(kvm, tmp_path):
    with backends.hugetlbfs(str(tmp_path / "huge"), pages=2):
        for text in ("memfd,hugetlb=on,hugetlbsize=2M",
                     "file,share=on,mem-path=%s/huge/x" % tmp_path):
            said = refusal(["-m", "65M"] +
                           backends.arguments(text, size="65M"))
            assert "memory size 0x4100000 must be a multiple of the page " \
                "size 0x200000" in said


@pytest.mark.parametrize("ask", ("help", "memory-backend-file,help"))
def test_help_lists_what_there_is(kvm, ask):
    done = subprocess.run([harness.BATON, "-object", ask],
                          stdout=subprocess.PIPE, timeout=20, check=True)
    text = done.stdout.decode()
    if ask == "help":
        for kind in ("memfd", "file", "shm", "ram"):
            assert "memory-backend-" + kind in text
    else:
        assert "mem-path=" in text and "hugetlb=" not in text
