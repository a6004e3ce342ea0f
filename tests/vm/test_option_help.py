# SPDX-License-Identifier: MIT
"""`-OPTION help` lists what there is, ends with status 0, and is true."""

import subprocess

import pytest

import vm as harness


def run(*args):
    return subprocess.run([harness.BATON] + list(args),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=20, text=True,
                          check=False)


def listed(*args):
    """The indented or only words that start the lines of the answer."""
    done = run(*args)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [line.split()[0] for line in done.stdout.splitlines()
            if line.strip()]


@pytest.mark.parametrize("word", ["help", "?"])
def test_every_listed_machine_cpu_and_accelerator_is_accepted(word):
    # The wrong option that follows is reached only if these were accepted.
    machines = listed("-machine", word)[1:]
    assert len(machines) >= 2
    assert listed("-M", word)[1:] == machines
    for option, names in (("-machine", machines),
                          ("-cpu", listed("-cpu", word)[1:]),
                          ("-accel", listed("-accel", word)[1:])):
        assert names
        for name in names:
            done = run(option, name, "-frobnicate")
            assert done.returncode == 1
            assert "-frobnicate: invalid option" in done.stderr, done.stderr


def test_every_listed_property_of_an_object_is_known():
    types = [t for t in listed("-object", "help") if t.startswith("memory-")]
    assert "memory-backend-memfd" in types
    assert "memory-backend-file" in types
    for name in types:
        lines = [word.split("=")[0] for word in listed("-object",
                                                       name + ",help")[1:]]
        assert "id" in lines and "size" in lines
        for key in lines:
            done = run("-object", "%s,%s=" % (name, key))
            assert done.returncode == 1
            assert "is unexpected" not in done.stderr, done.stderr
        done = run("-object", name + ",frob=")
        assert "'frob' is unexpected" in done.stderr, done.stderr


def test_every_listed_key_of_a_character_device_is_known():
    backends = listed("-chardev", "help")[1:]
    assert {"null", "stdio", "file", "pty", "socket"} == set(backends)
    for name in backends:
        keys = [word.split("=")[0]
                for word in listed("-chardev", name + ",help")[1:]]
        assert "id" in keys
        for key in keys + ["frob"]:
            done = run("-kernel", "x", "-chardev", "%s,%s=" % (name, key))
            assert done.returncode == 1
            refused = "Invalid parameter '%s'" % key in done.stderr
            assert refused == (key == "frob"), done.stderr


def unknown_keys(option, start, keys, message):
    """Those over whose name, and not over their value or `frob`, the program stumbles."""
    kernel = ("-kernel", harness.guest_path("gap"))
    done = run(*kernel, option, start + ",frob=1")
    assert done.returncode == 1
    assert message % "frob" in done.stderr, done.stderr
    unknown = set()
    for key in keys:
        done = run(*kernel, option, "%s,%s=?,frob=1" % (start, key))
        assert done.returncode == 1
        if message % key in done.stderr:
            unknown.add(key)
    return unknown


def test_every_listed_key_of_a_network_back_end_is_known():
    types = listed("-netdev", "help")[1:]
    assert types == ["tap", "stream", "passt"]
    for name in types:
        keys = [word.split("=")[0] for word in listed("-netdev", name + ",help")[1:]]
        assert len(keys) > 5
        assert not unknown_keys("-netdev", name + ",id=n0", keys, "Parameter '%s' is unexpected")


def test_every_listed_key_of_a_drive_and_a_node_is_known():
    says = "Invalid parameter '%s'"
    for option, starts in (("-drive", ("if=none",)),
                           ("-blockdev", ("driver=file,node-name=n", "driver=raw,node-name=n"))):
        keys = [word.split("=")[0] for word in listed(option, "help")[1:]]
        assert {"file", "discard", "locking"} < set(keys)
        # Some keys of a node are of its file only, or not of that.
        unknown = [unknown_keys(option, start, keys, says) for start in starts]
        assert not set.intersection(*unknown), unknown


def test_every_listed_property_of_the_machine_is_known():
    keys = [word.split("=")[0]
            for word in listed("-machine", "baton,help")[1:]]
    assert "memory-backend" in keys
    for key in keys:
        assert "no property" not in run("-machine", key + "=?!").stderr
    assert "no property 'frob'" in run("-machine", "frob=1").stderr


def test_device_help_lists_drivers_and_what_each_machine_has():
    done = run("-device", "help")
    assert done.returncode == 0
    drivers, own = done.stdout.split("\nEach machine")
    names = [line.strip() for line in own.splitlines()
             if line.startswith("  ")]
    assert "i8259" in names
    for name in names + ["no-such-thing,id=n", "no-such-thing,help"]:
        refused = run("-device", name)
        assert refused.returncode == 1
        assert "'%s' is not a valid device model name" % \
            name.split(",")[0] in refused.stderr
    for name in [line.split('"')[1] for line in drivers.splitlines()]:
        shown = run("-device", name + ",help")
        assert shown.returncode == 0
        assert shown.stdout.startswith(name + " options:\n  id=<str> ")
        refused = run("-device", name + ",frob=1")
        assert refused.returncode == 1
        assert "Property '%s.frob' not found" % name in refused.stderr


def test_help_of_all_options_has_those_that_answer_questions():
    done = run("--help")
    assert done.returncode == 0
    for name in ("machine", "cpu", "accel", "object", "device",
                 "chardev", "trace", "netdev", "drive", "blockdev"):
        assert "\n  -%s " % name in done.stdout


def test_a_question_does_not_hide_a_mistake_in_another_option():
    done = run("-machine", "help", "-frobnicate")
    assert done.returncode == 1
    assert "-frobnicate" in done.stderr
    assert done.stdout == ""


def test_help_is_a_value_like_any_other_where_nothing_is_to_be_chosen():
    done = run("-name", "help", "-frobnicate")
    assert done.returncode == 1
    assert "-frobnicate: invalid option" in done.stderr
