# SPDX-License-Identifier: MIT
"""Takes a state file apart by its own description, as public tools for the format do."""

import ctypes
import io
import json
import struct

MAGIC = 0x5145564d
SIZES = {"bool": 1, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
         "int8": 1, "int16": 2, "int32": 4, "int64": 8}


def description(data):
    """The JSON at the end: behind the last NUL, its length and mark before it."""
    at = data.index(b"{", data.rindex(b"\0"))
    mark, size = struct.unpack(">BI", data[at - 5:at])
    assert mark == 6 and at + size == len(data)
    return json.loads(data[at:].decode("ascii"))


class Reader:
    """Reads a whole stream; `sections` has (idstr, instance) -> fields.

    `places` has (idstr, instance, field) -> (offset, bytes) of their own fields.
    """

    def __init__(self, data):
        self.desc = description(data)
        self.devices = {(d["name"], d["instance_id"]): d
                        for d in self.desc["devices"]}
        assert len(self.devices) == len(self.desc["devices"])
        assert self.desc["page_size"] == 4096
        self.f = io.BytesIO(data)
        self.sections = {}
        self.places = {}
        self.ram = {}
        self.order = []
        assert self.number(4) == MAGIC
        assert self.number(4) == 3
        while self.section():
            pass
        assert set(self.sections) == set(self.devices)

    def take(self, n):
        data = self.f.read(n)
        assert len(data) == n, "the stream ends at %d" % self.f.tell()
        return data

    def number(self, n, signed=False):
        return int.from_bytes(self.take(n), "big", signed=signed)

    def string(self):
        return self.take(self.number(1)).decode("ascii")

    def section(self):
        """One section; false at the end mark."""
        kind = self.number(1)
        if kind == 0:
            return False
        if kind == 7:
            self.config = self.fields(self.desc["configuration"])
        elif kind in (1, 4):
            self.id = self.number(4)
            key = self.string(), self.number(4)
            version = self.number(4)
            self.order.append(key)
            if key == ("ram", 0):
                assert version == 4
                self.ram_part()
            else:
                assert version == self.devices[key]["version"]
                self.sections[key] = self.fields(self.devices[key], key)
        elif kind in (2, 3):
            self.id = self.number(4)
            self.ram_part()
        elif kind == 8:
            assert (self.number(2), self.number(2)) == (0x0b, 0)
        elif kind == 0x7e:
            assert self.number(4) == self.id
        else:
            raise AssertionError("section type %d" % kind)
        return True

    def ram_part(self):
        while True:
            word = self.number(8)
            flags, left = word & 4095, word & ~4095
            if flags & 4:
                while left:
                    name = self.string()
                    self.ram[name] = self.number(8)
                    left -= self.ram[name]
            if flags & 0xa:
                if not flags & 0x20:
                    assert self.string() in self.ram
                self.take(1 if flags & 2 else 4096)
            if flags & 0x10:
                return

    def fields(self, owner, key=None):
        found = {}
        for field in owner["fields"]:
            if key and "array_len" not in field:
                self.places[key + (field["name"],)] = (self.f.tell(),
                                                       field["size"])
            values = [self.value(field)
                      for _ in range(field.get("array_len", 1))]
            assert field["name"] not in found
            found[field["name"]] = values if "array_len" in field \
                else values[0]
        for sub in owner.get("subsections", ()):
            assert self.number(1) == 5
            assert self.string() == sub["vmsd_name"]
            assert self.number(4) == sub["version"]
            found[sub["vmsd_name"]] = self.fields(sub)
        return found

    def value(self, field):
        kind, size = field["type"], field["size"]
        start = self.f.tell()
        if kind == "struct":
            found = self.fields(field["struct"])
        elif kind == "buffer":
            found = self.take(size)
        else:
            assert SIZES[kind] == size
            found = self.number(size, kind.startswith("int"))
            assert kind != "bool" or found in (0, 1)
        assert self.f.tell() - start == size
        return found


def xxh3(data):
    return _xxh3(data, len(data))


try:
    _xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    _xxh3.restype = ctypes.c_uint64
    _xxh3.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
except OSError:
    _xxh3 = None


def change(data, changes):
    """The stream with numbers replaced, and a checksum that is right.

    changes: (idstr, instance, field) -> function of the old value.
    """
    reader = Reader(data)
    data = bytearray(data)

    def put(place, value):
        offset, size = reader.places[place]
        data[offset:offset + size] = value.to_bytes(size, "big")

    for place, function in changes.items():
        old = reader.sections[place[:2]][place[2]]
        put(place, function(old) % (1 << 8 * reader.places[place][1]))
    check = "baton-checksum", 0
    length = reader.sections[check]["length"]
    put(check + ("xxh3",), xxh3(bytes(data[:length])))
    return bytes(data)
