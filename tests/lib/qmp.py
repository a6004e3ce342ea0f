# SPDX-License-Identifier: MIT
"""A small QMP client for tests: commands, errors, a queue of events."""

import collections
import json
import socket
import time


class QmpError(Exception):
    """The server answered with an error."""

    def __init__(self, error):
        super().__init__("%s: %s" % (error.get("class"), error.get("desc")))
        self.cls = error.get("class")
        self.desc = error.get("desc")


class QmpClosed(Exception):
    """The server closed the connection."""


class Qmp:
    """One connection. Members: greeting, events (deque of all events)."""

    def __init__(self, path, timeout=20.0, negotiate=True, alive=None,
                 sock=None):
        self.path = path
        self.timeout = timeout
        self.events = collections.deque()
        self._buf = b""
        self.sock = sock or self._connect(timeout, alive)
        self.greeting = self.receive()
        if negotiate:
            self.cmd("qmp_capabilities")

    @classmethod
    def over(cls, sock):
        """A client on a socket that is already connected."""
        return cls("", sock=sock)

    def _connect(self, timeout, alive):
        end = time.monotonic() + timeout
        while True:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(self.timeout)
            try:
                s.connect(self.path)
                return s
            except (FileNotFoundError, ConnectionRefusedError,
                    BlockingIOError):
                s.close()
                if alive is not None and not alive():
                    raise
                if time.monotonic() > end:
                    raise
                time.sleep(0.002)

    def close(self):
        self.sock.close()

    def send_raw(self, data):
        if isinstance(data, str):
            data = data.encode()
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise QmpClosed(self.path) from e

    def receive(self, timeout=None):
        """The next message, event or reply. TimeoutError if none comes."""
        end = time.monotonic() + (timeout or self.timeout)
        while b"\n" not in self._buf:
            self.sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError as e:
                raise QmpClosed(self.path) from e
            if not data:
                raise QmpClosed(self.path)
            self._buf += data
        line, self._buf = self._buf.split(b"\n", 1)
        assert line.endswith(b"\r"), "line does not end with CR LF: %r" % line
        return json.loads(line)

    def reply(self, timeout=None):
        """The next reply; events that come first are queued."""
        while True:
            message = self.receive(timeout)
            if "event" not in message:
                return message
            self.events.append(message)

    def raw(self, text, timeout=None):
        """Sends text as it is; returns the whole reply object."""
        self.send_raw(text)
        return self.reply(timeout)

    def cmd(self, name, arguments=None, timeout=None, **members):
        """Runs a command; returns its value, raises QmpError."""
        request = {"execute": name}
        arguments = dict(arguments or {})
        arguments.update({k.replace("_", "-"): v for k, v in members.items()})
        if arguments:
            request["arguments"] = arguments
        answer = self.raw(json.dumps(request) + "\n", timeout)
        if "error" in answer:
            raise QmpError(answer["error"])
        return answer["return"]

    def drain_events(self, seconds=0.0):
        """Collects what has arrived (or arrives within seconds)."""
        end = time.monotonic() + seconds
        while True:
            try:
                message = self.receive(max(end - time.monotonic(), 0.001))
            except (TimeoutError, socket.timeout):
                return
            assert "event" in message, message
            self.events.append(message)

    def wait_event(self, name, timeout=10.0, **data):
        """Removes and returns the first event of that name and data."""
        end = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name and \
                        data.items() <= event.get("data", {}).items():
                    self.events.remove(event)
                    return event
            self.events.append(self.receive(
                max(end - time.monotonic(), 0.001)))

    def wait_eof(self, timeout=20.0):
        """Reads until the server closes; events are kept."""
        end = time.monotonic() + timeout
        try:
            while True:
                message = self.receive(max(end - time.monotonic(), 0.001))
                if "event" in message:
                    self.events.append(message)
        except QmpClosed:
            return

    def take_events(self):
        """The names of the events since the last call, and forgets them."""
        names = self.event_names()
        self.events.clear()
        return names

    def event_names(self):
        """Events so far; a MIGRATION event with its status."""
        names = []
        for event in self.events:
            name = event["event"]
            if name == "MIGRATION":
                name += " " + event["data"]["status"]
            names.append(name)
        return names
