# SPDX-License-Identifier: MIT
"""Requests and replies of QMP, and lines of the human monitor, from a table."""

import codecs
import json
import os
import re

import pytest

from qmp import Qmp

TABLE = os.path.join(os.path.dirname(__file__), "qmp_pairs.txt")


def entries():
    """[(line number, kind, what is sent, [what comes back])]"""
    found = []
    with open(TABLE, encoding="ascii") as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            kind, text = line[0], line[2:]
            if kind in ">)":
                found.append((number, kind, text, []))
            else:
                assert kind == "<|"[found[-1][1] == ")"], \
                    "%s:%d: what is '%s'?" % (TABLE, number, line)
                found[-1][3].append(text)
    return found


def text_fits(pattern, text):
    parts = (re.escape(p) for p in pattern.split("..."))
    return re.fullmatch(".*".join(parts), text, re.S) is not None


_TYPES = {"<int>": int, "<str>": str, "<bool>": bool, "<any>": object}


def fits(want, got):
    """Whether the value is as the table has it."""
    if isinstance(want, str):
        if want in _TYPES:
            return isinstance(got, _TYPES[want])
        return isinstance(got, str) and text_fits(want, got)
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return False
        names = set(want) - {"..."}
        if not ("..." in want or set(got) == names):
            return False
        return all(n in got and fits(want[n], got[n]) for n in names)
    if isinstance(want, list):
        if not isinstance(got, list):
            return False
        if want and want[-1] == "...":
            want = want[:-1]
            got = got[:len(want)]
        return len(want) == len(got) and all(map(fits, want, got))
    return type(want) is type(got) and want == got


def request(text):
    """The bytes to be sent for what the table has after '>'."""
    if not text[0].isalpha():
        return codecs.decode(text, "unicode_escape").encode("latin-1") + b"\n"
    name, _, arguments = text.partition(" ")
    value = {"execute": name}
    if arguments:
        value["arguments"] = json.loads(arguments)
    return json.dumps(value).encode() + b"\n"


def reply(text):
    """The reply that the table has after '<', as a pattern."""
    if text == "ok":
        return {"return": {}}
    if text.startswith("{"):
        return json.loads(text)
    first, _, rest = text.partition(" ")
    if first == "return":
        return {"return": json.loads(rest)}
    return {"error": {"class": first, "desc": rest}}


def replies_until(qmp, mark):
    """All replies before the one to the request with this id."""
    qmp.send_raw(json.dumps({"execute": "query-kvm", "id": mark}) + "\n")
    found = []
    while True:
        answer = qmp.reply()
        if answer.get("id") == mark:
            return found
        found.append(answer)


def replay(qmp, number, kind, sent, want):
    """An error text, or None."""
    where = "%s:%d: %s" % (os.path.basename(TABLE), number, sent)
    if kind == ")":
        text = qmp.cmd("human-monitor-command", {"command-line": sent})
        assert text == "" or text.endswith("\r\n"), where
        got = text.split("\r\n")[:-1]
        good = len(got) == len(want) and all(map(text_fits, want, got))
    else:
        qmp.send_raw(request(sent))
        got = replies_until(qmp, "mark %d" % number)
        want = [reply(w) for w in want]
        good = len(got) == len(want) and all(map(fits, want, got))
    return None if good else "%s\n  wanted %r\n  got    %r" % (where, want, got)


@pytest.fixture
def vm(vms):
    return vms("gap", append="pattern=4M").start()


def test_the_table_is_replayed(vm):
    table = entries()
    assert sum(e[1] == ">" for e in table) >= 150
    assert sum(e[1] == ")" for e in table) >= 40
    wrong = [w for w in (replay(vm.qmp, *e) for e in table) if w]
    assert not wrong, "\n".join(["%d entries" % len(wrong)] + wrong)
    vm.running()
    vm.check_no_errors()


def test_the_table_can_be_sent_in_one_piece(vm):
    """Pipelined: nobody waits for a reply before the next request."""
    table = [e for e in entries() if e[1] == ">" and len(e[3]) == 1]
    count = 0
    # Half a value, or none, would join what comes next.
    for _, _, sent, _ in table:
        if sent[0].isalpha() or sent.startswith('{"execute": "query-kvm"'):
            vm.qmp.send_raw(request(sent))
            count += 1
    assert count >= 100
    assert len(replies_until(vm.qmp, "end")) == count
    vm.running()


@pytest.mark.parametrize("size", (1, 7, 64))
def test_the_table_can_be_sent_in_pieces(vm, size):
    table = [e for e in entries() if e[1] == ">"][:60]
    for number, _, sent, want in table:
        data = request(sent)
        for i in range(0, len(data), size):
            vm.qmp.send_raw(data[i:i + size])
        got = replies_until(vm.qmp, "mark %d" % number)
        assert len(got) == len(want), sent


def test_oob_can_be_negotiated(vm):
    vm.qmp.close()
    qmp = vm.proc.qmp = Qmp(vm.qmp_path(0), negotiate=False)
    assert qmp.greeting["QMP"]["capabilities"] == ["oob"]
    error = qmp.raw('{"exec-oob": "qmp_capabilities"}')["error"]
    assert error["desc"] == "QMP input member 'exec-oob' is unexpected"
    error = qmp.raw('{"execute": "qmp_capabilities", "arguments": '
                    '{"enable": ["x"]}}')["error"]
    assert "does not accept value 'x'" in error["desc"]
    assert qmp.raw('{"execute": "qmp_capabilities", "arguments": '
                   '{"enable": ["oob"]}}') == {"return": {}}
    error = qmp.raw('{"exec-oob": "query-kvm", "id": 3}')
    assert error["id"] == 3
    assert error["error"]["desc"] == \
        "The command query-kvm does not support OOB"
    assert qmp.cmd("query-status")["running"]
