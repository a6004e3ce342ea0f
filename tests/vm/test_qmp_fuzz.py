# SPDX-License-Identifier: MIT
"""Random and mutated lines: the monitors answer afterwards, the guest counts on."""

import json
import random

SEED = 20261121
LINES = 10000

# Nothing here ends the process or resets the guest, nor does a slip of one byte.
SAMPLES = (
    '{"execute": "query-status", "id": "a"}',
    '{"execute": "query-migrate-parameters", "id": 1}',
    '{"execute": "query-qmp-schema"}',
    '{"execute": "stop"}', '{"execute": "cont"}',
    "{'execute': 'qom-list', 'arguments': {'path': '/machine'}}",
    "{'execute': 'qom-get', 'arguments': {'path': 'ram0', 'property': "
    "'size'}}",
    '{"execute": "qom-list-types", "arguments": {"implements": "device"}}',
    '{"execute": "object-add", "arguments": {"qom-type": '
    '"memory-backend-memfd", "id": "m1", "size": 4096}}',
    '{"execute": "object-del", "arguments": {"id": "m1"}}',
    '{"execute": "device_add", "arguments": {"driver": "x", "id": "d"}}',
    '{"execute": "device_del", "arguments": {"id": "d"}}',
    '{"execute": "migrate", "arguments": {"uri": "unix:/nonexistent/s"}}',
    '{"execute": "migrate", "arguments": {"channels": [{"channel-type": '
    '"main", "addr": {"transport": "socket", "type": "unix", "path": '
    '"/nonexistent/m"}}, {"channel-type": "cpr", "addr": {"transport": '
    '"socket", "type": "unix", "path": "/nonexistent/c"}}]}}',
    '{"execute": "migrate_cancel"}',
    '{"execute": "migrate-incoming", "arguments": {"uri": "defer"}}',
    '{"execute": "migrate-set-parameters", "arguments": {"mode": '
    '"cpr-transfer", "downtime-limit": 300, "cpr-exec-command": ["a"]}}',
    '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": '
    '[{"capability": "events", "state": true}]}}',
    '{"execute": "human-monitor-command", "arguments": {"command-line": '
    '"migrate_set_parameter downtime-limit 300"}}',
    '{"execute": "human-monitor-command", "arguments": {"command-line": '
    '"object_add memory-backend-memfd,id=h1,size=4k", "cpu-index": 0}}',
    '{"execute": "human-monitor-command", "arguments": {"command-line": '
    '"info qom-tree /machine"}}',
)

PIECES = [b"{", b"}", b"[", b"]", b":", b",", b"'", b'"', b"\\", b"\\u",
          b"execute", b"arguments", b"id", b"null", b"true", b"-1", b"1e9",
          b"18446744073709551616", b"0.5", b" ", b"\t", b"\xff", b"\xc3",
          b"\x00", b"\x1f", b"info", b"query-kvm"]

HMP_SAMPLES = (
    "info status", "info migrate -a", "info qom-tree /machine", "help stop",
    "help info cpus", "stop", "cont", "migrate -d unix:/nonexistent/s",
    "migrate_incoming defer", "migrate_continue none", "migrate_cancel",
    "migrate_set_parameter cpr-exec-command a \"b c\" 'd'",
    "migrate_set_capability events on", "object_del h1",
    "object_add memory-backend-memfd,id=h1,size=4k,share=on",
    "device_add x,id=d", "qom-list /machine", "qom-get ram0 size",
)


def mutated(chance, text):
    data = bytearray(text.encode())
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(data))
        what = chance.randrange(4)
        if what == 0:
            data[at] = chance.randrange(256)
        elif what == 1:
            del data[at:at + chance.randrange(1, 9)]
        elif what == 2:
            data[at:at] = chance.choice(PIECES)
        else:
            data[at:at] = data[at:at + chance.randrange(40)]
        if not data:
            return b""
    return bytes(data)


def line(chance):
    """One line without its end."""
    if chance.randrange(4):
        data = mutated(chance, chance.choice(SAMPLES))
    else:
        data = b"".join(chance.choice(PIECES)
                        for _ in range(chance.randrange(1, 60)))
    return data.replace(b"\n", b" ")


def synchronise(qmp, mark):
    """Ends whatever value is open; waits for the reply to a request."""
    qmp.send_raw(b"\"\n'\n\xff\n" + json.dumps(
        {"execute": "query-kvm", "id": mark}).encode() + b"\n")
    while True:
        answer = qmp.reply()
        assert ("return" in answer) != ("error" in answer), answer
        if answer.get("id") == mark:
            assert "return" in answer
            return


def test_random_lines_leave_qmp_answering(vms):
    vm = vms("gap", append="pattern=4M").start()
    print("seed", SEED)
    chance = random.Random(SEED)
    sent = 0
    while sent < LINES:
        batch = b"".join(line(chance) + b"\n" for _ in range(20))
        vm.qmp.send_raw(batch)
        sent += 20
        synchronise(vm.qmp, "after %d" % sent)
    vm.qmp.cmd("cont")
    assert vm.qmp.cmd("query-status")["status"] == "running"
    before = vm.head.heartbeat
    vm.wait_for("the guest to count on",
                lambda: vm.head.heartbeat > before + 1)
    vm.check_same_ram()
    vm.check_no_errors()


def test_random_lines_leave_the_human_monitor_answering(vms):
    vm = vms("gap", append="pattern=4M").start()
    print("seed", SEED)
    chance = random.Random(SEED)
    for _ in range(2000):
        text = mutated(chance, chance.choice(HMP_SAMPLES)).decode("latin-1")
        # No line has this byte in it, and JSON strings may not either.
        text = text.replace("\0", "")
        vm.qmp.cmd("human-monitor-command", {"command-line": text})
    assert vm.qmp.cmd("human-monitor-command",
                      {"command-line": "info kvm"}) == \
        "kvm support: enabled\r\n"
    vm.qmp.cmd("cont")
    vm.running()
    before = vm.head.heartbeat
    vm.wait_for("the guest to count on",
                lambda: vm.head.heartbeat > before + 1)
