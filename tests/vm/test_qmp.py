# SPDX-License-Identifier: MIT
"""QMP: negotiation, lenient JSON, errors with the known texts, events."""

import json
import os
import random
import socket
import time

import pytest

import qmp as qmp_module
from qmp import Qmp, QmpError


@pytest.fixture
def vm(vms):
    return vms("gap", append="pattern=4M").start()


@pytest.fixture
def qmp(vm):
    """A second, fresh connection would wait: reuse the first after a close."""
    return vm.qmp


def refusal(qmp, text):
    """The error object of the reply to text."""
    answer = qmp.raw(text)
    assert "error" in answer, answer
    assert set(answer["error"]) == {"class", "desc"}
    return answer["error"]


def refused(qmp, desc, cls="GenericError", command=None, **arguments):
    with pytest.raises(QmpError) as e:
        qmp.cmd(command, **arguments)
    assert (e.value.cls, e.value.desc) == (cls, desc)


# Negotiation.

def reconnected(vm, negotiate):
    vm.qmp.close()
    vm.proc.qmp = Qmp(vm.qmp_path(0), negotiate=negotiate)
    return vm.proc.qmp


def test_greeting_has_version_and_capabilities(vm):
    qmp = reconnected(vm, False)
    version = qmp.greeting["QMP"]["version"]
    assert set(version["qemu"]) == {"major", "minor", "micro"}
    assert all(isinstance(v, int) for v in version["qemu"].values())
    assert isinstance(version["package"], str)
    assert isinstance(qmp.greeting["QMP"]["capabilities"], list)


def test_commands_before_negotiation_are_refused(vm):
    qmp = reconnected(vm, False)
    for command in ("query-status", "quit", "nonsense"):
        error = refusal(qmp, '{"execute":"%s"}' % command)
        assert error == {
            "class": "CommandNotFound",
            "desc": "Expecting capabilities negotiation with "
                    "'qmp_capabilities'"}
    assert qmp.raw('{"execute":"qmp_capabilities"}') == {"return": {}}
    assert qmp.cmd("query-status")["status"] == "running"


def test_second_negotiation_is_refused(qmp):
    error = refusal(qmp, '{"execute":"qmp_capabilities"}')
    assert error == {
        "class": "CommandNotFound",
        "desc": "Capabilities negotiation is already complete, "
                "command ignored"}


def test_unknown_capability_is_refused(vm):
    qmp = reconnected(vm, False)
    error = refusal(qmp, '{"execute":"qmp_capabilities",'
                         '"arguments":{"enable":["frob"]}}')
    assert error["class"] == "GenericError"


def test_connection_can_be_closed_and_made_again(vm):
    for _ in range(20):
        assert reconnected(vm, True).cmd("query-status")["running"]
    vm.running()


def test_no_event_before_negotiation(vm):
    qmp = reconnected(vm, False)
    time.sleep(0.1)
    qmp.drain_events()
    assert not qmp.events


# Requests.

def test_id_is_echoed(qmp):
    for value in ("x", 7, -1, 1.5, None, True, [1, {"a": []}], {"b": "c"}):
        text = json.dumps({"execute": "query-status", "id": value})
        assert qmp.raw(text)["id"] == value
        text = json.dumps({"execute": "nonsense", "id": value})
        answer = qmp.raw(text)
        assert answer["id"] == value and "error" in answer


def test_single_quotes_are_json_too(qmp):
    assert qmp.raw("{'execute': 'query-status', 'id': 'a'}")["id"] == "a"
    assert qmp.raw("{'execute': \"query-status\", 'id': 'it\\'s'}")["id"] == \
        "it's"
    assert qmp.raw("{'execute':'query-status','id':'say \"x\"'}")["id"] == \
        'say "x"'
    assert qmp.raw('{"execute":"query-status","id":"it\'s"}')["id"] == "it's"


def test_requests_need_no_line_ends(qmp):
    qmp.send_raw('{"execute":"query-status","id":1}'
                 '{"execute":"query-status","id":2} \n\n\t'
                 '{"execute":\r\n"query-status",\n"id":3}')
    assert [qmp.reply()["id"] for _ in range(3)] == [1, 2, 3]


def test_a_request_may_come_byte_by_byte(qmp):
    for byte in '{"execute":"query-status","id":"slow"}':
        qmp.send_raw(byte)
    assert qmp.reply()["id"] == "slow"


def test_unicode_escapes_are_understood(qmp):
    answer = qmp.raw('{"execute":"query-status","id":"\\u00e4\\ud83d\\ude00"}')
    assert answer["id"] == "\u00e4\U0001f600"


@pytest.mark.parametrize("text", (
    "{'execute': 'query-status',}\n", "{'execute' 'query-status'}\n",
    "{\"a\": nope}\n", "]\n", "}\n", "{]\n", "{'a': 01}\n", "{'a': 1e}\n",
    "{'a': 'b\n", "{'a': '\\q'}\n", "{'a': NaN}\n", "{'a': 1, 'a': 2}\n",
    "{'a': \"\\ud800\"}\n", "{1: 2}\n", "\x01\n", "// comment\n",
    "{'a': \"\xff\xfe\"}\n"))
def test_broken_json_is_an_error_and_the_session_goes_on(qmp, text):
    data = text.encode("latin-1")
    qmp.send_raw(data + b"\n")
    answer = qmp.reply()
    assert answer["error"]["class"] == "GenericError", answer
    # Resynchronise as the client library does, then go on.
    qmp.send_raw(b"\xff\n")
    qmp.send_raw('{"execute":"query-status","id":"after"}\n')
    for _ in range(20):
        answer = qmp.reply()
        if answer.get("id") == "after":
            break
        assert "error" in answer
    assert answer["return"]["status"] == "running"


def test_non_objects_are_refused(qmp):
    for text in ("[]\n", "[1, 2]\n", "\"x\"\n", "17 \n", "true\n"):
        assert refusal(qmp, text)["desc"] == "QMP input must be a JSON object"


def test_nesting_beyond_the_limit_is_refused(qmp):
    qmp.send_raw("[" * 1100 + "]" * 1100 + "\n")
    assert "nesting" in qmp.reply()["error"]["desc"]


def test_members_of_requests_are_checked(qmp):
    assert refusal(qmp, "{'foo': 1, 'execute': 'query-status'}")["desc"] == \
        "QMP input member 'foo' is unexpected"
    assert refusal(qmp, "{'id': 1}")["desc"] == \
        "QMP input lacks member 'execute'"
    assert refusal(qmp, "{'exec-oob': 'query-status'}")["desc"] == \
        "QMP input member 'exec-oob' is unexpected"
    assert "error" in qmp.raw("{'execute': 5}")
    assert "error" in qmp.raw("{'execute': 'query-status', 'arguments': []}")


# Commands.

def test_unknown_command_is_refused(qmp):
    refused(qmp, "The command frobnicate has not been found",
            "CommandNotFound", command="frobnicate")


def test_unknown_argument_is_refused(qmp):
    for command in ("query-status", "stop", "migrate", "quit",
                    "migrate-set-parameters", "query-migrate"):
        refused(qmp, "Parameter 'frob' is unexpected", command=command,
                arguments={"frob": 1})
    assert qmp.cmd("query-status")["status"] == "running"


def test_wrong_types_are_refused(qmp):
    refused(qmp, "Invalid parameter type for 'uri', expected: string",
            command="migrate", arguments={"uri": 1})
    refused(qmp, "Invalid parameter type for 'channels', expected: array",
            command="migrate", arguments={"channels": "x"})
    refused(qmp, "Invalid parameter type for 'mode', expected: string",
            command="migrate-set-parameters", arguments={"mode": 7})
    refused(qmp, "Parameter 'mode' does not accept value 'frob'",
            command="migrate-set-parameters", arguments={"mode": "frob"})
    refused(qmp, "Parameter 'capabilities' is missing",
            command="migrate-set-capabilities")
    error = refusal(qmp, "{'execute':'migrate-set-capabilities','arguments':"
                         "{'capabilities':[{'capability':'frob',"
                         "'state':true}]}}")
    assert "capability' does not accept value 'frob'" in error["desc"]


def test_queries_answer_in_the_known_shape(vm, qmp):
    version = qmp.cmd("query-version")
    assert set(version) == {"qemu", "package"}
    assert qmp.cmd("query-kvm") == {"enabled": True, "present": True}
    cpus = qmp.cmd("query-cpus-fast")
    assert len(cpus) == 1
    assert cpus[0]["cpu-index"] == 0 and cpus[0]["target"] == "x86_64"
    assert os.path.exists("/proc/%d/task/%d" % (vm.pid,
                                                cpus[0]["thread-id"]))
    names = {c["name"] for c in qmp.cmd("query-commands")}
    assert {"qmp_capabilities", "query-status", "query-version",
            "query-commands", "query-kvm", "query-cpus-fast", "stop", "cont",
            "quit", "system_reset", "migrate", "migrate-set-parameters",
            "migrate-set-capabilities", "query-migrate",
            "query-migrate-parameters"} <= names
    assert qmp.cmd("query-migrate") == {}


def test_every_command_that_is_listed_is_known(qmp):
    for name in sorted(c["name"] for c in qmp.cmd("query-commands")):
        answer = qmp.raw(json.dumps({"execute": name, "arguments": {
            "no-such-argument": 1}}))
        assert answer["error"]["desc"].startswith(
            ("Parameter", "Capabilities negotiation")), (name, answer)


def test_parameters_are_kept_and_told(qmp):
    before = qmp.cmd("query-migrate-parameters")
    assert before["mode"] == "normal"
    assert before["cpr-exec-command"] == []
    qmp.cmd("migrate-set-parameters", mode="cpr-exec",
            cpr_exec_command=["a", "b c"])
    after = qmp.cmd("query-migrate-parameters")
    assert after["mode"] == "cpr-exec"
    assert after["cpr-exec-command"] == ["a", "b c"]
    qmp.cmd("migrate-set-parameters", {"mode": "cpr-transfer",
                                       "downtime-limit": 400})
    assert qmp.cmd("query-migrate-parameters")["downtime-limit"] == 400


def test_events_carry_a_time(vm, qmp):
    now = time.time()
    qmp.cmd("stop")
    event = qmp.wait_event("STOP")
    stamp = event["timestamp"]
    assert abs(stamp["seconds"] + stamp["microseconds"] / 1e6 - now) < 5
    qmp.cmd("cont")
    qmp.wait_event("RESUME")


def test_two_clients_in_a_row_do_not_mix(vm):
    qmp = vm.qmp
    qmp.send_raw('{"execute":"query-status","id":"lost"}{"execute":')
    qmp.close()
    again = reconnected(vm, True)
    assert "id" not in again.raw('{"execute":"query-status"}')


def test_a_client_that_never_reads_does_not_hold_up_the_guest(vm):
    vm.qmp.send_raw('{"execute":"query-commands"}' * 2000)
    before = vm.head.heartbeat
    time.sleep(0.5)
    assert vm.head.heartbeat > before
    vm.qmp.close()
    assert reconnected(vm, True).cmd("query-status")["running"]


def test_random_bytes_do_not_end_the_process(vm):
    chance = random.Random(1)
    pieces = ["{", "}", "[", "]", ":", ",", "'", '"', "\\", "execute", "id",
              "1", "-", "e", ".", "null", "\n", " ", "\xff", "\x00", "stop"]
    for _ in range(30):
        text = "".join(chance.choice(pieces)
                       for _ in range(chance.randrange(1, 2000)))
        with socket.socket(socket.AF_UNIX) as s:
            vm.qmp.close()
            s.connect(vm.qmp_path(0))
            try:
                s.sendall(text.encode("latin-1"))
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert reconnected(vm, True).cmd("query-status")["running"]
    vm.running()
    vm.check_no_errors()


def test_closed_means_closed(vm):
    vm.qmp.cmd("quit")
    with pytest.raises(qmp_module.QmpClosed):
        while True:
            vm.qmp.receive()
