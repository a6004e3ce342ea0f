# SPDX-License-Identifier: MIT
"""The display's memory and mode stay, and screendump shows them."""

import os
import struct
import zlib

import pytest

import backends
from qmp import QmpError

MODES = ("transfer", "exec", "graft")
VRAM = "/memfd:0000:00:01.0/bochs-display-vram"
VRAM_BYTES = 4 << 20


def start(vms):
    vm = vms("parts", mem="32M", extra=[
        "-device", "bochs-display,id=vga,vgamem=4M"]).start()
    assert vm.body.display == 0xb0c5, vm.body.all()
    assert vm.body.vram_64k == VRAM_BYTES >> 16
    assert vm.body.edid == 0xffffff00
    return vm


def mode_word(width, height, bits=32, virtual=0):
    return width | height << 16 | bits << 32 | virtual << 40


def draw(vm, *args):
    word = mode_word(*args)
    vm.body.put("draw", word)
    vm.wait_for("drawing", lambda: vm.body.drawn == word)
    return word


def pixel(word, index):
    """What the guest writes at 32-bit word @index."""
    v = (index * 2654435761 + word) & 0xffffffff
    return bytes((v >> 16 & 0xff, v >> 8 & 0xff, v & 0xff))


def expected(word):
    width, height = word & 0xffff, word >> 16 & 0xffff
    stride = max(width, word >> 40)
    return b"".join(pixel(word, y * stride + x)
                    for y in range(height) for x in range(width))


def read_ppm(path):
    with open(path, "rb") as f:
        data = f.read()
    magic, size, depth, rest = data.split(b"\n", 3)
    assert (magic, depth) == (b"P6", b"255")
    return tuple(map(int, size.split())), rest


def read_png(path):
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, size, packed = 8, None, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        assert struct.unpack(">I", data[at + 8 + n:at + 12 + n])[0] == \
            zlib.crc32(kind + body)
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            packed += body
        at += 12 + n
    rows = zlib.decompress(packed)
    step = 1 + 3 * size[0]
    return size, b"".join(rows[y * step + 1:(y + 1) * step]
                          for y in range(size[1]))


def test_screendump_shows_what_the_guest_drew(vms):
    vm = start(vms)
    word = draw(vm, 320, 200, 32, 400)
    path = vm.path("picture")
    vm.qmp.cmd("screendump", filename=path)
    assert read_ppm(path) == ((320, 200), expected(word))
    vm.qmp.cmd("screendump", filename=path, format="png", device="vga",
               head=0)
    assert read_png(path) == ((320, 200), expected(word))
    out = vm.qmp.cmd("human-monitor-command", **{
        "command-line": "screendump %s -f ppm vga" % path})
    assert out == ""
    assert read_ppm(path)[1] == expected(word)


@pytest.mark.parametrize("mode", MODES)
def test_memory_and_mode_go_along(vms, mode):
    vm = start(vms)
    word = draw(vm, 640, 400)
    memory = backends.ram_id(vm, VRAM)
    for _ in range(3):
        vm.update(mode)
        checks = vm.body.checks
        vm.wait_for("a look at the drawing", lambda: vm.body.checks > checks + 3)
        vm.check_no_errors()
        assert backends.ram_id(vm, VRAM) == memory
    path = vm.path("picture")
    vm.qmp.cmd("screendump", filename=path, format="png")
    assert read_png(path) == ((640, 400), expected(word))
    # Another drawing, in the image that has it now.
    word = draw(vm, 100, 100)
    vm.qmp.cmd("screendump", filename=path)
    assert read_ppm(path) == ((100, 100), expected(word))


def test_memory_goes_with_a_state_file(vms):
    vm = start(vms)
    word = draw(vm, 320, 200)
    state = "file:" + vm.path("vm.state")
    assert vm.save(state)["status"] == "completed"
    vm.quit()
    vm.load(state)
    vm.running()
    vm.check_no_errors()
    path = vm.path("picture")
    vm.qmp.cmd("screendump", filename=path)
    assert read_ppm(path) == ((320, 200), expected(word))


def test_modes_that_cannot_be_are_refused_with_the_reason(vms):
    vm = start(vms)
    path = vm.path("picture")

    def refused(text, **args):
        with pytest.raises(QmpError) as e:
            vm.qmp.cmd("screendump", filename=args.pop("path", path), **args)
        assert text in e.value.desc, e.value.desc
        assert not os.path.exists(path)

    refused("has not turned the display on")
    for mode, text in (((1024, 1025), "more than the display's 4194304 bytes"),
                       ((640, 400, 24), "24 bits per pixel"),
                       ((640, 400, 7), "7 bits per pixel"),
                       ((0, 0), "0 by 0 pixels"),
                       ((65535, 65535), "more than the display's"),
                       ((64, 64, 32, 65535), "more than the display's")):
        draw(vm, *mode)
        refused(text)
    draw(vm, 64, 64)
    refused("Device 'none' not found", device="none")
    refused("together with 'device'", head=0)
    refused("has one head", device="vga", head=1)
    refused("No such file", path=vm.path("none/picture"))
    vm.qmp.cmd("screendump", filename=path)
    vm.running()
    vm.check_no_errors()


def test_without_a_display_there_is_no_picture(vms):
    vm = vms("parts", mem="32M").start()
    with pytest.raises(QmpError) as e:
        vm.qmp.cmd("screendump", filename=vm.path("x"))
    assert "There is no console to take a screendump from" in e.value.desc
