# SPDX-License-Identifier: MIT
"""Introspection: complete, closed, and true of what the monitor accepts and sends."""

import json
import os
import re

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MANUAL = os.path.join(ROOT, "docs", "man", "baton-qmp.7")

JSON_TYPES = {"string": str, "int": int, "boolean": bool,
              "number": (int, float), "null": type(None), "value": object}


@pytest.fixture
def vm(vms):
    return vms("gap", append="pattern=4M").start()


class Schema:
    """query-qmp-schema, by name."""

    def __init__(self, qmp):
        self.list = qmp.cmd("query-qmp-schema")
        self.by_name = {e["name"]: e for e in self.list}

    def of(self, meta):
        return [e for e in self.list if e["meta-type"] == meta]

    def members(self, entity, key="arg-type"):
        return self.by_name[entity[key]]["members"]

    def wrong(self, name, value, where="value"):
        """Why value is not of the type, or None."""
        t = self.by_name[name]
        meta = t["meta-type"]
        if meta == "builtin":
            want = JSON_TYPES[t["json-type"]]
            good = isinstance(value, want) and \
                (want in (bool, object) or not isinstance(value, bool))
            return None if good else "%s: %r is no %s" % (where, value, name)
        if meta == "enum":
            return None if value in t["values"] else \
                "%s: %r is not among %r" % (where, value, t["values"])
        if meta == "array":
            if not isinstance(value, list):
                return where + ": no list"
            tries = (self.wrong(t["element-type"], v, "%s[%d]" % (where, i))
                     for i, v in enumerate(value))
            return next(filter(None, tries), None)
        if meta == "alternate":
            tries = [self.wrong(m["type"], value, where)
                     for m in t["members"]]
            return None if None in tries else tries[0]
        return self._wrong_object(t, value, where)

    def _wrong_object(self, t, value, where):
        if not isinstance(value, dict):
            return where + ": no object"
        known = {}
        while True:
            known.update((m["name"], m) for m in t["members"])
            if "tag" not in t:
                break
            case = value[t["tag"]]
            t = self.by_name[next(v["type"] for v in t["variants"]
                                  if v["case"] == case)]
        for name, m in known.items():
            if name not in value:
                if "default" not in m:
                    return "%s: %s is missing" % (where, name)
                continue
            why = self.wrong(m["type"], value[name], where + "." + name)
            if why:
                return why
        extra = set(value) - set(known)
        return "%s: %s is not in the schema" % (where, extra) if extra \
            else None


def test_every_command_is_there_and_nothing_else(vm):
    schema = Schema(vm.qmp)
    listed = {c["name"] for c in vm.qmp.cmd("query-commands")}
    assert {c["name"] for c in schema.of("command")} == listed
    assert len(schema.list) == len(schema.by_name)


def test_every_reference_leads_somewhere(vm):
    schema = Schema(vm.qmp)
    used = set()
    for e in schema.list:
        for key in ("arg-type", "ret-type", "element-type"):
            if key in e:
                used.add(e[key])
        for m in e.get("members", []) + e.get("variants", []):
            if "type" in m:
                used.add(m["type"])
        if "tag" in e:
            tag = [m for m in e["members"] if m["name"] == e["tag"]]
            cases = schema.by_name[tag[0]["type"]]["values"]
            assert [v["case"] for v in e["variants"]] == cases
        if e["meta-type"] == "enum":
            assert [m["name"] for m in e["members"]] == e["values"]
    types = {e["name"] for e in schema.list
             if e["meta-type"] not in ("command", "event")}
    assert used == types


def test_names_of_our_own_types_are_masked(vm):
    for e in Schema(vm.qmp).list:
        if e["meta-type"] in ("object", "enum", "alternate"):
            assert e["name"].isdigit()
        if e["meta-type"] == "array":
            assert e["name"] == "[%s]" % e["element-type"]


def test_events_are_there(vm):
    schema = Schema(vm.qmp)
    names = {e["name"] for e in schema.of("event")}
    assert {"STOP", "RESUME", "RESET", "SHUTDOWN", "POWERDOWN", "MIGRATION",
            "MIGRATION_PASS"} <= names


# What is required, where the monitor should have a say.
VALUES = {"str": "x", "int": 1, "bool": True, "number": 1, "any": 1}


def test_every_argument_is_accepted_or_refused_by_the_right_name(vm):
    """A member in the schema is never 'unexpected'; a wrong type is told."""
    schema = Schema(vm.qmp)
    count = 0
    for command in schema.of("command"):
        name = command["name"]
        if name in ("qmp_capabilities",):
            continue
        for member in schema.members(command):
            kind = schema.by_name[member["type"]]
            if kind["name"] == "any":
                continue
            bad = {"x": 1} if kind["meta-type"] != "object" else 1
            answer = vm.qmp.raw(json.dumps(
                {"execute": name, "arguments": {member["name"]: bad}}))
            desc = answer["error"]["desc"]
            assert "'%s' is unexpected" % member["name"] not in desc, \
                (name, desc)
            assert "Invalid parameter type" in desc or "is missing" in desc, \
                (name, desc)
            count += 1
        required = [m for m in schema.members(command) if "default" not in m]
        if required:
            answer = vm.qmp.raw(json.dumps({"execute": name}))
            assert answer["error"]["desc"] == \
                "Parameter '%s' is missing" % required[0]["name"]
    assert count > 40


def test_answers_are_as_the_schema_says(vm):
    schema = Schema(vm.qmp)
    vm.qmp.cmd("stop")
    vm.qmp.cmd("cont")
    queries = [c for c in schema.of("command")
               if c["name"].startswith("query-") or
               c["name"] in ("stop", "cont", "migrate_cancel",
                             "qom-list-types")]
    assert len(queries) >= 18
    for c in queries:
        value = vm.qmp.cmd(c["name"])
        assert schema.wrong(c["ret-type"], value, c["name"]) is None
    for name, args in (("qom-list", {"path": "/machine"}),
                       ("qom-get", {"path": "ram0", "property": "size"}),
                       ("human-monitor-command",
                        {"command-line": "info kvm"})):
        c = schema.by_name[name]
        assert schema.wrong(c["arg-type"], args, name) is None
        assert schema.wrong(c["ret-type"], vm.qmp.cmd(name, args),
                            name) is None


def test_an_update_is_told_as_the_schema_says(vm):
    schema = Schema(vm.qmp)
    source = vm.qmp
    vm.transfer()
    c = schema.by_name["query-migrate"]
    assert schema.wrong(c["ret-type"], vm.qmp.cmd("query-migrate"),
                        "query-migrate") is None
    vm.qmp.cmd("stop")
    vm.qmp.cmd("cont")
    vm.qmp.cmd("system_powerdown")
    vm.qmp.cmd("system_reset")
    seen = [vm.qmp.wait_event("RESET")]
    vm.qmp.cmd("quit")
    vm.qmp.wait_eof()
    events = seen + list(source.events) + list(vm.qmp.events)
    # The guest would have to sleep for this one.
    others = {"WAKEUP", "DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR",
              "NETDEV_STREAM_CONNECTED", "NETDEV_STREAM_DISCONNECTED",
                  "BLOCK_IO_ERROR", "WATCHDOG", "VSERPORT_CHANGE"}
    assert {e["name"] for e in schema.of("event")} - others == \
        {e["event"] for e in events}
    for e in events:
        why = schema.wrong(schema.by_name[e["event"]]["arg-type"],
                           e.get("data", {}), e["event"])
        assert why is None


def sections(path):
    """{NAME: text} of the manual's entries."""
    found = {}
    name = None
    with open(path, encoding="ascii") as f:
        for line in f.read().replace("\\-", "-").splitlines():
            if line.startswith((".SH", ".SS")):
                name = None
            if line.startswith('.\\" entry '):
                name = line.split()[2]
                assert name not in found
                found[name] = ""
            elif name:
                found[name] += line + "\n"
    return found


def test_the_manual_has_every_command_and_event_with_its_arguments(vm):
    schema = Schema(vm.qmp)
    manual = sections(MANUAL)
    entities = schema.of("command") + schema.of("event")
    assert set(manual) == {e["name"] for e in entities}
    lacking = []
    for e in entities:
        words = re.findall(r"[\w-]+", manual[e["name"]])
        lacking += ["%s: %s" % (e["name"], m["name"])
                    for m in schema.members(e) if m["name"] not in words]
    assert not lacking, lacking
