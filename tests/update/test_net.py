# SPDX-License-Identifier: MIT
"""A network card: every frame comes once and in order, on every kind of back end."""

import os
import shutil
import socket
import subprocess
import time

import pytest

import abi
import qmp

from net_peer import Namespace, Server, StreamPeer, TapPeer
from vm import Failed, Footprint

MODES = ("transfer", "exec", "graft")
CARD = ("-device", "virtio-net-pci,id=card,addr=5,netdev=n0")


@pytest.fixture
def server(tmp_path):
    s = Server(str(tmp_path / "net.sock"))
    yield s
    s.close()


@pytest.fixture
def peers():
    """Peers to be stopped at the end."""
    started = []
    yield started
    for p in started:
        p.stop()


@pytest.fixture
def namespace():
    n = Namespace()
    if n.why or not os.path.exists("/dev/net/tun") or not shutil.which("ip"):
        why = n.why or "no /dev/net/tun or no ip"
        n.close()
        pytest.skip("NO RIGHT TO A NETWORK NAMESPACE WITH A TAP: " + why)
    yield n
    n.close()


def stream(server):
    return ("-netdev", "stream,id=n0,addr.type=unix,addr.path=" + server.path)


def start_stream(vms, server, peers, append="", single=False, extra=(), card=CARD, **kwargs):
    vm = vms("net", append=append, extra=stream(server) + card + tuple(extra))
    vm.start()
    assert vm.body.found == 1
    peer = StreamPeer(server.accept(), single, **kwargs)
    peers.append(peer)
    peer.start()
    return vm, peer


def start_tap(vms, peers, append="", netdev="tap,id=n0,ifname=tap0", card=CARD, **kwargs):
    vm = vms("net", append=append, extra=("-netdev", netdev) + card)
    vm.start()
    assert vm.body.found == 1
    peer = TapPeer("tap0", **kwargs)
    peers.append(peer)
    peer.start()
    return vm, peer


def check(vm, peer):
    """Everything that was sent came, once, in order, undamaged, and came back so."""
    peer.settle(vm)
    body = vm.body
    assert (body.lost, body.doubled, body.damaged) == (0, 0, 0), body.all()
    assert body.rx_frames == peer.sent
    vm.check_no_errors()


@pytest.mark.parametrize("append", ("", "idx=off", "mode=poll", "rxsize=256", "mrg=off",
                                    "flood=1"))
@pytest.mark.parametrize("mode", MODES)
def test_stream_loses_nothing_under_load(vms, server, peers, cpu_load, loops, mode, append):
    vm, peer = start_stream(vms, server, peers, append)
    first = None
    for i in range(loops if not append else (loops + 4) // 5):
        peer.wait_more(vm, 50)
        time.sleep((i % 4) * 0.005)
        vm.update(mode)
        if i == 1:
            peer.wait_more(vm, 50)
            first = Footprint(vm)
    peer.wait_more(vm, 50)
    check(vm, peer)
    assert not peer.others
    if append == "flood=1":
        assert peer.floods > 100
    if first:
        Footprint(vm).check_against(first)


@pytest.mark.parametrize("mode", MODES)
def test_a_peer_that_sends_and_takes_single_bytes(vms, server, peers, loops, mode):
    """At nearly every update a frame is half read."""
    vm, peer = start_stream(vms, server, peers, single=True, sizes=(60, 200))
    for _ in range((loops + 1) // 2):
        peer.wait_more(vm, 4)
        vm.update(mode)
    peer.wait_more(vm, 4)
    check(vm, peer)


@pytest.mark.parametrize("mode", MODES)
def test_a_peer_that_takes_nothing_for_a_while(vms, server, peers, loops, mode):
    """The socket is full and a frame half written when the update comes."""
    vm = vms("net", append="flood=1 size=1400", extra=stream(server) + CARD).start()
    sock = server.accept()
    sock.settimeout(5)
    taken = bytearray()
    for _ in range((loops + 4) // 5):
        before = -1
        while vm.body.tx_done != before:
            before = vm.body.tx_done
            time.sleep(0.02)
        vm.update(mode)
        # An odd number of bytes, so that the cut moves.
        taken += sock.recv(12345)
    peer = StreamPeer(sock)
    peers.append(peer)
    peer.quiet = True
    peer.got = taken
    peer.start()
    goal = vm.body.tx_done + 100
    vm.wait_for("the flood", lambda: peer.floods > goal or peer.wrong)
    peer.check()
    vm.check_no_errors()


@pytest.mark.parametrize("append", ("", "rxsize=256", "mrg=off", "idx=off"))
@pytest.mark.parametrize("mode", MODES)
def test_tap_loses_nothing_under_load(vms, namespace, peers, cpu_load, loops, mode, append):
    namespace.tap("tap0")
    vm, peer = start_tap(vms, peers, append, window=64)
    for i in range(loops if not append else (loops + 4) // 5):
        peer.wait_more(vm, 50)
        time.sleep((i % 4) * 0.005)
        vm.update(mode)
        assert peer.is_up()
    peer.wait_more(vm, 50)
    check(vm, peer)


@pytest.mark.parametrize("mode", MODES)
def test_tap_with_queues(vms, namespace, peers, loops, mode):
    namespace.tap("tap0", "multi_queue")
    card = ("-device", "virtio-net-pci,id=card,addr=5,netdev=n0,mq=on")
    vm, peer = start_tap(vms, peers, netdev="tap,id=n0,ifname=tap0,queues=4", card=card)
    for _ in range((loops + 4) // 5):
        peer.wait_more(vm, 50)
        vm.update(mode)
    peer.wait_more(vm, 50)
    check(vm, peer)


def test_all_modes_in_turn_on_a_tap(vms, namespace, peers, loops):
    namespace.tap("tap0")
    vm, peer = start_tap(vms, peers)
    for i in range(loops):
        vm.update(MODES[i % 3])
        peer.wait_more(vm, 20)
    check(vm, peer)


def scripts(tmp_path):
    """Scripts that note that they ran, and for what."""
    paths = []
    for name in ("up", "down"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\necho $1 >>%s.log\nip link set $1 up || :\n" % path)
        path.chmod(0o755)
        paths.append(path)
    return paths


def runs(path):
    log = str(path) + ".log"
    if not os.path.exists(log):
        return []
    with open(log, encoding="ascii") as f:
        return f.read().split()


@pytest.mark.parametrize("mode", MODES)
def test_scripts_run_where_the_guest_begins_and_ends(vms, namespace, tmp_path, mode):
    up, down = scripts(tmp_path)
    vm = vms("net", extra=("-netdev", "tap,id=n0,ifname=tap7,script=%s,downscript=%s" %
                           (up, down)) + CARD)
    vm.start()
    assert runs(up) == ["tap7"]
    for _ in range(3):
        vm.update(mode)
        assert runs(up) == ["tap7"]
        assert runs(down) == []
    vm.quit()
    assert runs(down) == ["tap7"]


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_update_loses_nothing(vms, server, peers, mode):
    """The new side gets the socket and gives up before it has the guest."""
    vm, peer = start_stream(vms, server, peers)
    fault = ["-debug", "handover=load:fail"]
    for _ in range(3):
        peer.wait_more(vm, 50)
        if mode == "transfer":
            generation, new = vm.spawn_incoming(fault)
            vm.migrate_to(generation)
            assert vm.wait_migrate()["status"] == "failed"
            new.kill()
        elif mode == "graft":
            vm.set_parameters(mode="cpr-graft",
                              cpr_exec_command=vm.graft_command(extra=fault))
            vm.qmp.cmd("migrate")
            assert vm.wait_migrate()["status"] == "failed"
        else:
            with pytest.raises(Failed):
                vm.exec_(command=vm.exec_command(extra=fault))
    peer.wait_more(vm, 50)
    check(vm, peer)


@pytest.mark.parametrize("mode", MODES)
def test_back_ends_that_a_monitor_added_or_removed(vms, server, tmp_path, mode):
    other = Server(str(tmp_path / "other.sock"))
    vm = vms("net", extra=stream(server) + ("-netdev", "stream,id=gone,server=on,addr.type=unix,"
                                            "addr.path=%s" % (tmp_path / "gone.sock")) + CARD)
    vm.start()
    server.accept()
    vm.qmp.cmd("netdev_del", id="gone")
    vm.qmp.cmd("netdev_add", type="stream", id="n1",
               addr={"type": "unix", "path": other.path})
    mine = other.accept()
    for _ in range(2):
        vm.update(mode)
        text = vm.qmp.cmd("human-monitor-command", **{"command-line": "info network"})
        assert "n1: type=stream,unix:%s\r\n" % other.path in text, text
        assert "gone" not in text
        mine.setblocking(False)
        with pytest.raises(BlockingIOError):
            mine.recv(1)
    vm.qmp.cmd("netdev_del", id="n1")
    mine.settimeout(10)
    assert mine.recv(1) == b""
    other.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_card_that_was_plugged_in_goes_along(vms, server, mode):
    vm = vms("net", extra=("-device", "pcie-root-port,id=port,chassis=1,slot=1")).start()
    vm.qmp.cmd("netdev_add", type="stream", id="n0", addr={"type": "unix", "path": server.path})
    vm.qmp.cmd("device_add", driver="virtio-net-pci", id="late", bus="port", netdev="n0",
               mac="52:54:00:00:00:77")
    sock = server.accept()
    for _ in range(2):
        vm.update(mode)
        text = vm.qmp.cmd("human-monitor-command", **{"command-line": "info network"})
        assert "device: late" in text, text
    with pytest.raises(qmp.QmpError, match="'n0' is used by device 'late'"):
        vm.qmp.cmd("netdev_del", id="n0")
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    sock.close()
    vm.check_no_errors()


@pytest.mark.parametrize("mode", MODES)
def test_an_unplugged_cable_stays_unplugged(vms, server, peers, mode):
    vm, peer = start_stream(vms, server, peers)
    peer.wait_more(vm, 20)
    peer.settle(vm)
    vm.qmp.cmd("set_link", {"name": "card", "up": False})
    vm.update(mode)
    vm.request(abi.CONST["ABI_REQUEST_LINK"])
    assert vm.body.link == 0
    vm.qmp.cmd("set_link", {"name": "n0", "up": True})
    vm.request(abi.CONST["ABI_REQUEST_LINK"])
    assert vm.body.link == 1
    peer.quiet = False
    peer.wait_more(vm, 20)
    check(vm, peer)


@pytest.mark.parametrize("mode", MODES)
def test_server_keeps_its_client_and_takes_the_next(vms, tmp_path, peers, mode):
    path = str(tmp_path / "server.sock")
    vm = vms("net", extra=("-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path=" +
                           path) + CARD)
    vm.start()
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    peer = StreamPeer(sock)
    peers.append(peer)
    peer.start()
    peer.wait_more(vm, 20)
    vm.update(mode)
    peer.wait_more(vm, 20)
    check(vm, peer)
    peer.stop()
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    second = StreamPeer(sock)
    second.sent = second.echoed = peer.sent
    peers.append(second)
    second.start()
    second.wait_more(vm, 20)
    vm.update(mode)
    second.wait_more(vm, 20)
    check(vm, second)
    vm.quit()
    assert not os.path.exists(path)


def test_save_and_load_connects_anew(vms, server, peers):
    """What was half read belongs to a connection that is gone, and is not used."""
    vm, peer = start_stream(vms, server, peers)
    for i in range(3):
        peer.wait_more(vm, 20)
        peer.settle(vm)
        peer.sock.send(b"\0\0\0\x7fhalf of a frame")
        time.sleep(0.02)
        state = "file:" + vm.path("state%d" % i)
        vm.save(state)
        peer.stop()
        vm.proc.kill()
        vm.load(state)
        before = peer
        peer = StreamPeer(server.accept())
        peer.sent = peer.echoed = before.sent
        peers.append(peer)
        peer.start()
    peer.wait_more(vm, 20)
    check(vm, peer)


def passt_pids():
    return {int(p) for p in os.listdir("/proc") if p.isdigit() and
            _name(p).startswith("passt")}


def _name(pid):
    try:
        with open("/proc/%s/comm" % pid, encoding="ascii", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def test_passt_lives_through_updates(vms, loops):
    if not shutil.which("passt"):
        pytest.skip("NO PASST: install the package of that name")
    if subprocess.run(["unshare", "-U", "true"], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        pytest.skip("NO RIGHT TO A USER NAMESPACE, which passt wants")
    before = passt_pids()
    netdev = "passt,id=n0,address=192.0.2.2,netmask=255.255.255.0,gateway=192.0.2.1,quiet=on"
    vm = vms("net", extra=("-netdev", netdev) + CARD).start()
    started = passt_pids() - before
    assert len(started) == 1

    def ask():
        heard = vm.body.others
        vm.request(abi.CONST["ABI_REQUEST_ARP"])
        vm.wait_for("the gateway's answer", lambda: vm.body.others > heard)

    ask()
    for i in range(max(3, loops // 3)):
        vm.update(MODES[i % 3])
        ask()
        assert passt_pids() - before == started
    vm.check_no_errors()
    vm.quit()
    end = time.monotonic() + 10
    while passt_pids() - before:
        assert time.monotonic() < end, "passt stays"
        time.sleep(0.05)
