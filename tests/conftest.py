# SPDX-License-Identifier: MIT
"""Fixtures of the tests that run real guests."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))

import load  # noqa: E402
import vm as vm_module  # noqa: E402

_KVM_GET_API_VERSION = 0xae00
_KVM_CREATE_VM = 0xae01


def _kvm_problem():
    """Why /dev/kvm cannot be used, or None."""
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        return "cannot open /dev/kvm: %s" % e.strerror
    try:
        if fcntl.ioctl(fd, _KVM_GET_API_VERSION) != 12:
            return "/dev/kvm speaks another API version"
        os.close(fcntl.ioctl(fd, _KVM_CREATE_VM, 0))
    except OSError as e:
        return "/dev/kvm cannot create a VM: %s" % errno.errorcode[e.errno]
    finally:
        os.close(fd)
    return None


def pytest_report_header(config):
    problem = _kvm_problem()
    return ["program under test: " + vm_module.BATON,
            "KVM: " + ("NOT USABLE, guest tests are skipped: " + problem
                       if problem else "usable"),
            "resident memory: " + (
                "NOT CHECKED, the program has AddressSanitizer"
                if vm_module.SANITIZED else "checked")]


def pytest_collection_modifyitems(items):
    """Memory of a sanitizer cannot be shared with another image."""
    if not vm_module.SANITIZED:
        return
    for item in items:
        if "graft" in item.nodeid:
            item.add_marker(pytest.mark.skip("NO GRAFTS WITH A SANITIZER"))


@pytest.fixture(scope="session")
def kvm():
    """Skips what needs a real vCPU where there is none."""
    problem = _kvm_problem()
    if problem:
        pytest.skip("NO KVM: " + problem)
    vm_module.build_guests()


@pytest.fixture
def static_baton():
    """Baton in one file, without shared libraries."""
    path = os.path.join(vm_module.ROOT, "build", "release", "baton-static")
    if not os.path.exists(path):
        pytest.skip("NOT BUILT: make " + os.path.relpath(path,
                                                         vm_module.ROOT))
    return path


@pytest.fixture
def vms(kvm):
    """Factory of virtual machines; all are killed when the test ends."""
    made = []

    def make(*args, **kwargs):
        made.append(vm_module.Vm(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def small_fs(tmp_path):
    """A file system of 1 MiB."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs",
                           str(tmp_path)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("NO RIGHT TO MOUNT a small file system: " +
                    done.stderr.decode(errors="replace").strip())
    yield str(tmp_path)
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.fixture
def cpu_load():
    """Busy loops on every core for as long as the test runs."""
    with load.Load() as busy:
        yield busy


@pytest.fixture
def loops():
    """How often an update is repeated where the number matters."""
    return int(os.environ.get("BATON_LOOPS", "100"))
