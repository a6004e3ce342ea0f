# SPDX-License-Identifier: MIT
"""Devices that cannot be had: one clear sentence each, on the command line and by QMP.

What there is to get wrong is asked from the program (device-list-properties), so a new
type or property is covered without a line here.
"""

import re
import subprocess

import pytest

import qmp
import vm as harness

GOOD = ["-m", "64M", "-display", "none", "-nodefaults", "-S"]

# Values that no property of the type takes; as they stand in an option.
BAD = {
    "bool": ["maybe", "", "2", "onn"],
    "OnOffAuto": ["maybe", "", "2"],
    "enum": ["no-such-value", "", "0"],
    "uint64": ["", "x", "-1", "1x", "0x", "1.5", "18446744073709551616",
               "9" * 300],
    "size": ["", "x", "-1", "1Q", "8388608T", "9" * 300],
    "int32": ["", "x", "20", "-2", "1.8", "1.0.0", "9" * 300],
}
# The same in JSON.
BAD_JSON = {
    "bool": [1, None, [], "maybe"],
    "OnOffAuto": [True, 1, None, "maybe"],
    "enum": [True, 1, None, {}, "no-such-value"],
    "uint64": [-1, 1.5, True, None, [], "x"],
    "size": [-1, 1.5, True, None, {}, "x"],
    "int32": [256, -2, True, None, 1.5, "x"],
    "str": [1, True, None, [], "x" * 256],
}


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A machine that has not run yet, for QMP."""
    directory = tmp_path_factory.mktemp("devices")
    with harness.Vm(mem="64M", directory=str(directory)) as vm:
        vm.start(extra=["-S"], wait_ready=False)
        yield vm


def drivers():
    text = subprocess.run([harness.BATON, "-device", "help"], check=True,
                          stdin=subprocess.DEVNULL, timeout=20,
                          stdout=subprocess.PIPE).stdout.decode()
    return re.findall(r'^name "([^"]+)"', text, re.M)


DRIVERS = drivers()


def properties(vm, driver):
    return vm.qmp.cmd("device-list-properties", typename=driver)


def refused(*options):
    """The sentence with which the program refuses these devices."""
    args = GOOD + ["-kernel", harness.guest_path("gap")]
    for o in options:
        args += ["-device", o]
    done = subprocess.run([harness.BATON] + args, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=20, check=False)
    text = done.stderr.decode(errors="replace")
    assert done.returncode == 1, "status %d: %s" % (done.returncode, text)
    assert done.stdout == b""
    assert len(text.splitlines()) == 1, text
    assert text.startswith("baton: -device ")
    return text.strip()


def refused_by_qmp(vm, driver, **members):
    with pytest.raises(qmp.QmpError) as e:
        # Not as keywords, in which the client turns _ into -.
        vm.qmp.cmd("device_add", dict(members, driver=driver))
    assert e.value.cls == "GenericError"
    assert len(e.value.desc) > 10 and "\n" not in e.value.desc
    return e.value.desc


def peripherals(vm):
    return [p["name"]
            for where in ("/machine/peripheral", "/machine/peripheral-anon")
            for p in vm.qmp.cmd("qom-list", path=where) if p["name"] != "type"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_property_refuses_what_it_does_not_take(waiting, driver):
    for p in properties(waiting, driver):
        for value in BAD.get(p["type"], []):
            text = refused("%s,%s=%s" % (driver, p["name"], value))
            assert "'%s'" % p["name"] in text or \
                "'%s.%s'" % (driver, p["name"]) in text, text


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_property_refuses_what_it_does_not_take_by_qmp(waiting, driver):
    before = peripherals(waiting)
    for p in properties(waiting, driver):
        for value in BAD_JSON[p["type"]]:
            text = refused_by_qmp(waiting, driver, **{p["name"]: value})
            assert "'%s'" % p["name"] in text or \
                "'%s.%s'" % (driver, p["name"]) in text, text
    assert peripherals(waiting) == before


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_range_ends_where_it_says(waiting, driver):
    for p in properties(waiting, driver):
        if p["type"] not in ("uint64", "size"):
            continue
        for value in (0, (1 << 63) - 1):
            try:
                waiting.qmp.cmd("device_add", {
                    "driver": driver, "bus": "no-such-bus", p["name"]: value})
            except qmp.QmpError as e:
                found = re.search(r"\(minimum: (\d+), maximum: (\d+)\)$",
                                  e.desc)
            if not found:
                # That it is in range was said, since the bus is what is wrong.
                continue
            low, high = int(found[1]), int(found[2])
            assert low <= high
            if "default-value" in p and p["default-value"]:
                assert low <= p["default-value"] <= high
            for beyond in (low - 1, high + 1):
                if beyond >= 0:
                    text = refused("%s,%s=%d" % (driver, p["name"], beyond))
                    assert "%s.%s' doesn't take value %d (minimum: %d, " \
                        "maximum: %d)" % (driver, p["name"], beyond, low,
                                          high) in text


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_refuses_unknown_properties_buses_and_ids(waiting,
                                                               driver):
    assert "Property '%s.frob' not found" % driver in \
        refused(driver + ",frob=1")
    assert "Parameter 'id' expects an identifier" in refused(driver + ",id=1a")
    assert "Parameter 'id' is given twice" in refused(driver + ",id=a,id=a")
    long = "Parameter '%s' expects at most 63 bytes"
    assert long % "id" in refused("%s,id=%s" % (driver, "a" * 64))
    assert long % "bus" in refused("%s,bus=%s" % (driver, "a" * 64))
    refused(driver + ",bus=no-such-bus")
    refused_by_qmp(waiting, driver, bus="no-such-bus")
    refused("%s,id=\xff" % driver)
    assert not peripherals(waiting)


CASES = {
    "no_driver": (["id=x"], "Parameter 'driver' is missing"),
    "unknown_driver": (["xyz"], "'xyz' is not a valid device model name"),
    "empty": ([""], "'' is not a valid device model name"),
    "unknown_bus": (["pcie-root-port,bus=x"], "Bus 'x' not found"),
    "slot_of_the_host_bridge": (
        ["pcie-root-port,addr=0"],
        "slot 0 function 0 not available, in use by pci-host"),
    "slot_taken": (
        ["pcie-root-port,addr=2,id=a", "pcie-root-port,addr=2"],
        "slot 2 function 0 not available, in use by pcie-root-port,id=a"),
    "id_taken": (["pcie-root-port,id=a", "virtio-rng-pci,id=a"],
                 "Duplicate device ID 'a'"),
    "port_behind_a_port": (
        ["pcie-root-port,id=a", "pcie-root-port,bus=a"],
        "a port cannot be on bus 'a'"),
    "second_device_behind_a_port": (
        ["pcie-root-port,id=a", "virtio-rng-pci,bus=a",
         "virtio-rng-pci,bus=a"],
        "no slot/function available on bus 'a'"),
    "slot_beyond_the_bus": (
        ["pcie-root-port,id=a", "virtio-rng-pci,bus=a,addr=1"],
        "slot 1 is not valid for bus 'a'"),
    "function_of_a_single_one": (
        ["pcie-root-port,addr=3", "pcie-root-port,addr=3.1"],
        "without multifunction=on"),
    "json_that_is_none": (["{"], "JSON parse error"),
    "json_twice": (
        ['{"driver": "pcie-root-port", "id": "a", "id": "b"}'],
        "duplicate object key"),
    "json_of_another_type": (
        ['{"driver": []}'],
        "Invalid parameter type for 'driver', expected: string"),
    "unknown_in_json": (
        ['{"driver": "pcie-root-port", "frob": {}}'],
        "Property 'pcie-root-port.frob' not found"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_is_said_in_one_sentence(name):
    options, why = CASES[name]
    assert why in refused(*options)


def test_there_is_an_end_to_slots():
    text = refused(*["pcie-root-port"] * 40)
    assert text.startswith("baton: -device pcie-root-port: ")


def test_there_is_an_end_to_devices():
    assert "more than 256 devices" in refused(*["virtio-rng-pci"] * 257)


def test_a_running_machine_refuses_and_goes_on():
    with harness.Vm(mem="64M") as vm:
        vm.start()
        for driver in DRIVERS:
            for p in properties(vm, driver):
                for value in BAD_JSON[p["type"]]:
                    refused_by_qmp(vm, driver, **{p["name"]: value})
            text = refused_by_qmp(vm, driver, bus="pcie.0")
            assert text
        assert "Bus 'pcie.0' does not support hotplugging" in \
            refused_by_qmp(vm, "virtio-rng-pci")
        assert not peripherals(vm)
        vm.running()
        vm.check_no_errors()


def test_one_of_each_from_text_and_json_is_the_same(tmp_path):
    def made(option):
        with harness.Vm(mem="64M", extra=["-device", option]) as vm:
            vm.start(extra=["-S"], wait_ready=False)
            tree = vm.qmp.cmd("qom-list", path="/machine/peripheral/x")
            return {p["name"]: vm.qmp.cmd(
                "qom-get", path="/machine/peripheral/x", property=p["name"])
                for p in tree}

    assert made("virtio-rng-pci,id=x,addr=1f.0,max-bytes=0x10") == made(
        '{"driver": "virtio-rng", "id": "x", "addr": 248, "max-bytes": 16}')
