# SPDX-License-Identifier: MIT
"""Judge of what the serial guest prints."""


class Lines:
    """Takes bytes in pieces; first: number of the first line, None = any."""

    def __init__(self, first=0):
        self.next = first
        self.count = 0
        self.echoes = []
        self.wrong = []
        self._rest = b""
        self._ragged = first is None

    def feed(self, data):
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._ragged and not line.startswith((b"L ", b"E ")):
                # The reader came in the middle of a line.
                self._ragged = False
                continue
            self._ragged = False
            self._take(line)

    def _take(self, line):
        if line.startswith(b"E "):
            self.echoes.append(line[2:])
            return
        if len(line) != 10 or not line.startswith(b"L ") or \
                not line[2:].isdigit():
            self.wrong.append(line)
            return
        number = int(line[2:])
        if self.next is not None and number != self.next:
            self.wrong.append((self.next, line))
        self.next = number + 1
        self.count += 1

    def check(self):
        """Nothing lost, nothing doubled, nothing broken."""
        assert not self.wrong, "wrong lines: %s" % self.wrong[:10]
        assert self.count
