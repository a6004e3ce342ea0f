# SPDX-License-Identifier: MIT
"""Network back ends and cards: what they do without an update, and bad input."""

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import time

import pytest

import qmp
from net_peer import GUEST, HOST, Namespace, Server, StreamPeer, TapPeer, frame
from refusal import reason
from vm import BATON, guest_path

CARD = ("-device", "virtio-net-pci,id=card,addr=5,netdev=n0")


@pytest.fixture
def server(tmp_path):
    s = Server(str(tmp_path / "net.sock"))
    yield s
    s.close()


def stream(server):
    return ("-netdev", "stream,id=n0,addr.type=unix,addr.path=" + server.path)


@pytest.fixture
def peers():
    started = []
    yield started
    for p in started:
        p.stop()


def refused(*args, **kwargs):
    """What the program says when it does not start."""
    r = subprocess.run([BATON, "-m", "64", "-nodefaults", "-kernel", guest_path("net")] +
                       list(args), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=60, check=False, **kwargs)
    assert r.returncode == 1, r
    assert r.stderr.count("\n") == 1, r.stderr
    return r.stderr


BAD_NETDEVS = (
    ("user,id=n0", "not supported: no network stack is built in; passt"),
    ("bridge,id=n0", "not supported: make a tap"),
    ("hubport,id=n0", "there are no hubs"),
    ("nothing,id=n0", "does not accept value 'nothing'; known are tap, stream and passt"),
    ("tap", "'id' is missing"),
    ("tap,id=n0,vhost=on", "vhost-net is not there"),
    ("tap,id=n0,helper=/bin/true", "put the tap into the bridge"),
    ("tap,id=n0,fd=77", "descriptor 77: Bad file descriptor"),
    ("tap,id=n0,fd=0", "descriptor 0 is no tap"),
    ("tap,id=n0,fd=net7", "'net7' is no number"),
    ("tap,id=n0,fds=77:78", "descriptor 77: Bad file descriptor"),
    ("tap,id=n0,ifname=lo", "cannot open tap 'lo'"),
    ("tap,id=n0,ifname=far-too-long-a-name", "'ifname': it is longer than 15 characters"),
    ("tap,id=n0,queues=17", "a number from 1 to 16 is expected"),
    ("stream,id=n0,addr.type=unix,addr.path=/nonexistent/a",
     "connect to '/nonexistent/a': No such file"),
    ("stream,id=n0,addr.type=inet,addr.host=127.0.0.1,addr.port=1",
     "connect to '127.0.0.1:1': Connection refused"),
    ("stream,id=n0,addr.type=fd,addr.str=0", "descriptor 0 is not a connected socket"),
    ("stream,id=n0,addr.type=unix,addr.path=" + 120 * "x",
     "'addr.path': it is longer than 107 characters"),
    ("stream,id=n0,server=on,addr.type=unix,addr.path=/nonexistent/a",
     "bind socket to /nonexistent/a: No such file"),
    ("passt,id=n0,path=/nonexistent/passt", "cannot run '/nonexistent/passt': No such file"),
    ("{\"type\":\"tap\"", "JSON parse error, the text ends too early"),
)


@pytest.mark.parametrize("option,says", BAD_NETDEVS)
def test_bad_netdevs_are_refused_with_a_sentence(option, says):
    why = reason(refused("-netdev", option), "-netdev " + option)
    assert says in why, why


def test_ids_are_taken_once(server):
    text = refused(*stream(server), *stream(server))
    assert "Duplicate ID 'n0'" in text
    text = refused(*stream(server), *CARD, "-device", "virtio-net-pci,id=c2,netdev=n0")
    assert "'n0' is used by device 'card'" in text
    assert "netdev 'n9'" in refused("-device", "virtio-net-pci,netdev=n9")


@pytest.mark.parametrize("option", ("-nic", "-net"))
def test_nic_and_net_are_refused(option):
    assert "only 'none'" in refused(option, "user")


def test_a_tap_without_rights_is_refused():
    if not shutil.which("setpriv"):
        pytest.skip("NO setpriv")
    r = subprocess.run(["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", BATON,
                        "-m", "64", "-nodefaults", "-kernel", guest_path("net"), "-netdev",
                        "tap,id=n0,ifname=tapx"], capture_output=True, text=True, check=False)
    assert r.returncode == 1
    assert "tapx': Operation not permitted" in r.stderr, r.stderr


def test_a_script_that_fails_is_told(tmp_path):
    space = Namespace()
    try:
        if space.why:
            pytest.skip("NO RIGHT TO A NETWORK NAMESPACE: " + space.why)
        script = tmp_path / "up"
        script.write_text("#!/bin/sh\necho no such bridge >&2\nexit 3\n")
        script.chmod(0o755)
        text = refused("-netdev", "tap,id=n0,ifname=tap0,script=%s" % script)
        assert "network script" in text and "status 3: no such bridge" in text, text
    finally:
        space.close()


def test_a_tap_of_others_by_descriptor(vms, peers):
    space = Namespace()
    try:
        if space.why:
            pytest.skip("NO RIGHT TO A NETWORK NAMESPACE: " + space.why)
        space.tap("tap0")
        fd = os.open("/dev/net/tun", os.O_RDWR)
        # TUNSETIFF: a tap without packet information, with headers.
        fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"tap0", 0x5002))
        vm = vms("net", extra=("-netdev", "tap,id=n0,fd=%d" % fd) + CARD)
        vm.start(pass_fds=(fd,))
        os.close(fd)
        peer = TapPeer("tap0")
        peers.append(peer)
        peer.start()
        peer.wait_more(vm, 50)
        for mode in ("exec", "graft", "transfer"):
            vm.update(mode)
            peer.wait_more(vm, 50)
        peer.settle(vm)
        vm.check_no_errors()
    finally:
        space.close()


def test_the_driver_asks_for_its_own_frames_only(vms, server):
    vm = vms("net", append="filter=1", extra=stream(server) + CARD).start()
    assert vm.body.ack == 0
    sock = server.accept()
    for to, passes in ((GUEST, 1), (HOST, 0), (b"\xff" * 6, 1), (b"\x33\x33" + 4 * b"\1", 0),
                       (GUEST, 1)):
        before = vm.body.rx_frames
        data = frame(before, 60, to)
        sock.sendall(len(data).to_bytes(4, "big") + data)
        time.sleep(0.2)
        assert vm.body.rx_frames - before == passes, to
    vm.check_no_errors()
    text = vm.qmp.cmd("human-monitor-command", **{"command-line": "info network"})
    assert "device: card" in text and ",disconnected" not in text, text


def test_events_tell_of_a_streams_peer(vms, server):
    vm = vms("net", extra=("-netdev", "stream,id=n0,reconnect-ms=20,addr.type=unix,addr.path=" +
                           server.path) + CARD).start()
    for _ in range(3):
        sock = server.accept()
        sock.close()
        assert vm.qmp.wait_event("NETDEV_STREAM_DISCONNECTED")["data"] == {"netdev-id": "n0"}
        event = vm.qmp.wait_event("NETDEV_STREAM_CONNECTED")
        assert event["data"]["netdev-id"] == "n0"


def test_netdev_add_with_a_named_descriptor(vms):
    vm = vms("net").start()
    ours, theirs = socket.socketpair()
    request = {"execute": "getfd", "arguments": {"fdname": "net7"}}
    socket.send_fds(vm.qmp.sock, [json.dumps(request).encode()], [theirs.fileno()])
    assert vm.qmp.reply() == {"return": {}}
    theirs.close()
    with pytest.raises(qmp.QmpError, match="net8"):
        vm.qmp.cmd("netdev_add", type="stream", id="n0", addr={"type": "fd", "str": "net8"})
    vm.qmp.cmd("netdev_add", type="stream", id="n0", addr={"type": "fd", "str": "net7"})
    with pytest.raises(qmp.QmpError, match="Duplicate ID 'n0'"):
        vm.qmp.cmd("netdev_add", type="stream", id="n0", addr={"type": "fd", "str": "net7"})
    vm.qmp.cmd("netdev_del", id="n0")
    with pytest.raises(qmp.QmpError, match="Device 'n0' not found"):
        vm.qmp.cmd("netdev_del", id="n0")
    ours.settimeout(10)
    assert ours.recv(1) == b""


def test_a_card_in_use_keeps_its_back_end(vms, server):
    vm = vms("net", extra=stream(server) + CARD).start()
    with pytest.raises(qmp.QmpError, match="'n0' is used by device 'card'"):
        vm.qmp.cmd("netdev_del", id="n0")
    for name in ("n9", "", "card "):
        with pytest.raises(qmp.QmpError, match="not found"):
            vm.qmp.cmd("set_link", {"name": name, "up": True})


def test_a_peer_of_which_a_length_is_nonsense_is_dropped_or_ignored(vms, server, peers):
    vm = vms("net", extra=("-netdev", "stream,id=n0,reconnect-ms=20,addr.type=unix,addr.path=" +
                           server.path) + CARD).start()
    # Longer than any frame: whatever follows means nothing.
    for nonsense in (b"\xff" * 100, b"GET / HTTP/1.0\r\n\r\n", b"\0\1\x10\1"):
        sock = server.accept()
        sock.settimeout(10)
        sock.sendall(nonsense)
        while True:
            data = sock.recv(4096)  # frames the guest sends by itself come first
            if not data:
                break
        sock.close()
    # Shorter than any: the frame behind it arrives.
    for nonsense in (bytes(4) * 1000, (13).to_bytes(4, "big") + bytes(13)):
        sock = server.accept()
        before = vm.body.rx_frames
        data = frame(before, 60)
        sock.sendall(nonsense + len(data).to_bytes(4, "big") + data)
        vm.wait_for("the frame behind it", lambda b=before: vm.body.rx_frames == b + 1)
        sock.close()
    peer = StreamPeer(server.accept())
    peers.append(peer)
    peer.start()
    peer.wait_more(vm, 50)
    peer.settle(vm)
    vm.check_no_errors()
