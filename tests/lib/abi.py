# SPDX-License-Identifier: MIT
"""The results area of the small guests, read by the names in abi.h."""

import os
import re
import struct

HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "..", "guest", "abi.h")


def _parse(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    numbers = {}
    for name, value in re.findall(r"#define\s+(ABI_\w+)\s+(\w+)", text):
        numbers[name] = int(value, 0)
    sizes = {"uint64_t": 8}
    layouts = {}
    for name, body in re.findall(r"struct (abi_\w+) \{(.*?)\};", text,
                                 flags=re.S):
        offset = 0
        members = {}
        for kind, member, count in re.findall(
                r"(?:struct )?(\w+)\s+(\w+)(?:\[(\w+)\])?;", body):
            many = 1
            if count:
                many = numbers.get(count) or int(count)
            members[member] = (offset, kind, many if count else None)
            offset += sizes[kind] * many
        sizes[name] = offset
        layouts[name] = members
    return numbers, sizes, layouts


with open(HEADER, encoding="ascii") as _f:
    CONST, SIZES, LAYOUTS = _parse(_f.read())

GPA = CONST["ABI_GPA"]
SIZE = CONST["ABI_SIZE"]
MAGIC = CONST["ABI_MAGIC"]
BODY = CONST["ABI_BODY_OFFSET"]
RING = CONST["ABI_RING_OFFSET"]
RING_ENTRIES = CONST["ABI_RING_ENTRIES"]
READ_ALL = CONST["ABI_REQUEST_READ_ALL"]
WRITE_ALL = CONST["ABI_REQUEST_WRITE_ALL"]
DEBUG_REGS = CONST["ABI_REQUEST_DEBUG_REGS"]
CRAWL = CONST["ABI_REQUEST_CRAWL"]
CURVE = CONST["ABI_CURVE_OFFSET"]
CURVE_ENTRIES = CONST["ABI_CURVE_ENTRIES"]
KINDS = {CONST["ABI_KIND_" + k.upper()]: "abi_" + k
         for k in ("gap", "timer", "fpu", "serial", "smp", "rom", "virtio",
                       "blk", "pci", "net",
                   "ports", "parts")}


class Struct:
    """A structure of abi.h laid over a buffer; members read live values."""

    def __init__(self, buf, offset, name):
        self._buf = buf
        self._offset = offset
        self._members = LAYOUTS[name]

    def __getattr__(self, member):
        if member.startswith("_") or member not in self._members:
            raise AttributeError(member)
        offset, kind, many = self._members[member]
        offset += self._offset
        if kind != "uint64_t":
            return [Struct(self._buf, offset + i * SIZES[kind], kind)
                    for i in range(many)]
        values = struct.unpack_from("<%dQ" % (many or 1), self._buf, offset)
        return list(values) if many else values[0]

    def put(self, member, value):
        struct.pack_into("<Q", self._buf,
                         self._offset + self._members[member][0], value)

    def all(self):
        """All plain members by name, for messages."""
        return {m: getattr(self, m) for m, d in self._members.items()
                if d[1] == "uint64_t"}


class Page:
    """The results area: head, body of the guest's kind, ring of gaps."""

    def __init__(self, buf, offset=GPA):
        self._buf = buf
        self._offset = offset
        self.head = Struct(buf, offset, "abi_head")

    @property
    def ready(self):
        return self.head.magic == MAGIC

    @property
    def body(self):
        return Struct(self._buf, self._offset + BODY, KINDS[self.head.kind])

    def curve(self):
        """Cycles of each stretch of the last crawl, in order."""
        return struct.unpack_from("<%dQ" % CURVE_ENTRIES, self._buf,
                                  self._offset + CURVE)

    def ring(self):
        """The recorded gaps, oldest first, as (tsc_start, tsc_end)."""
        n = self.body.gaps
        words = struct.unpack_from("<%dQ" % (RING_ENTRIES * 2), self._buf,
                                   self._offset + RING)
        pairs = list(zip(words[::2], words[1::2]))
        if n <= RING_ENTRIES:
            return pairs[:n]
        cut = n % RING_ENTRIES
        return pairs[cut:] + pairs[:cut]
