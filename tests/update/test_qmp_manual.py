# SPDX-License-Identifier: MIT
"""The examples of baton-qmp(7), typed as they stand there."""

import json
import os
import re
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MANUAL = os.path.join(ROOT, "docs", "man", "baton-qmp.7")
MIB = 1 << 20


def example(name):
    """The lines of the displays of one section of the examples."""
    with open(MANUAL, encoding="ascii") as f:
        text = f.read().replace("\\-", "-").replace("\\(aq", "'")
    text = text.split(".SH EXAMPLES")[1]
    text = re.search(r"\.SS %s\n(.*?)\n\.S[SH]" % name, text, re.S).group(1)
    return re.findall(r"\.nf\n\.RS\n(.*?)\n\.RE\n\.fi", text, re.S)


def typed(text):
    """[(line, what it prints)] of a display of the human monitor."""
    found = []
    for line in text.splitlines():
        if line.startswith("(qemu) "):
            found.append((line[7:], ""))
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + line + "\r\n")
    return found


def run_lines(vm, text, state):
    """Types the lines; what is still under way may take a moment."""
    lines = typed(text)
    assert lines
    for line, want in lines:
        line = line.replace("vm.state", state)
        end = time.monotonic() + 10
        while True:
            got = vm.qmp.cmd("human-monitor-command", {"command-line": line})
            if got == want or not line.startswith("info") or \
                    time.monotonic() > end:
                break
            time.sleep(0.01)
        assert got == want, (line, got)
        if line == "quit":
            vm.qmp.wait_eof()
            assert vm.proc.wait() == 0


def test_the_reboot_example(vms, tmp_path):
    ram = str(tmp_path / "ram")
    state = str(tmp_path / "vm.state")
    vm = vms("gap", append="pattern=16M", mem="64M", backend=False, extra=[
        "-object", "memory-backend-file,id=ram0,size=64M,share=on,mem-path=" +
        ram, "-machine", "memory-backend=ram0"])
    vm.start_on_file(ram)
    first, second = example("Reboot")
    options = first.split("\n\n")[0].replace("\\e\n", "").split()[1:]
    assert [o for o in options if o.startswith("-")] == [
        "-m", "-object", "-machine", "-kernel", "-initrd", "-nodefaults",
        "-monitor"]
    run_lines(vm, first, state)
    # RAM stayed where it is: what was written is the state of the devices.
    assert os.stat(state).st_size < MIB
    vm.generation, vm.proc = vm.spawn(["-incoming", "defer"])
    vm.proc.connect(vm.qmp_path(vm.generation))
    run_lines(vm, second, state)
    vm.running()
    vm.check_no_errors()


def test_requests_in_the_examples_are_as_the_commands_want_them(vms):
    """Sent to a guest; what goes wrong, if anything, is the update itself."""
    vm = vms("gap", append="pattern=4M").start()
    count = 0
    decoder = json.JSONDecoder()
    for text in example("Transfer") + example("Exec"):
        text = text.strip()
        while text.startswith('{"execute"'):
            value, used = decoder.raw_decode(text)
            text = text[used:].strip()
            count += 1
            # The last of exec would try to run a program that is not there.
            if value["execute"] in ("qmp_capabilities", "migrate"):
                continue
            answer = vm.qmp.raw(json.dumps(value))
            desc = answer.get("error", {}).get("desc", "")
            assert "arameter" not in desc and "found" not in desc, answer
    assert count >= 7
    assert vm.qmp.cmd("query-migrate-parameters")["mode"] == "cpr-exec"
    vm.running()
