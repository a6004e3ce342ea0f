# SPDX-License-Identifier: MIT
"""A client as QEMU's library is one: asynchronous, string ids, requests that overlap."""

import asyncio
import json

LIMIT = 10 << 20


class Client:
    """Sends without waiting; hands replies to who asked, events to a queue."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.pending = {}
        self.events = asyncio.Queue()
        self.count = 0
        self.task = None

    @classmethod
    async def connect(cls, path):
        self = cls(*await asyncio.open_unix_connection(path, limit=LIMIT))
        greeting = await self.receive()
        assert isinstance(greeting["QMP"]["version"], dict)
        assert isinstance(greeting["QMP"]["capabilities"], list)
        self.task = asyncio.create_task(self.read())
        caps = ["oob"] if "oob" in greeting["QMP"]["capabilities"] else []
        assert await self.execute("qmp_capabilities",
                                  {"enable": caps}) == {}
        return self

    async def receive(self):
        line = await self.reader.readline()
        if not line:
            return None
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    async def read(self):
        while True:
            message = await self.receive()
            if message is None:
                for future in self.pending.values():
                    future.cancel()
                return
            if "event" in message:
                assert isinstance(message["timestamp"]["seconds"], int)
                await self.events.put(message)
                continue
            # The library closes the connection on an error without an id.
            assert message["id"] in self.pending, message
            self.pending.pop(message["id"]).set_result(message)

    def send(self, command, arguments=None):
        """The reply, some time."""
        self.count += 1
        name = "__qmp#%05d" % self.count
        request = {"execute": command, "id": name}
        if arguments is not None:
            request["arguments"] = arguments
        future = asyncio.get_running_loop().create_future()
        self.pending[name] = future
        self.writer.write(json.dumps(request).encode() + b"\n")
        return future

    async def execute(self, command, arguments=None):
        answer = await asyncio.wait_for(self.send(command, arguments), 20)
        if "error" in answer:
            assert set(answer["error"]) == {"class", "desc"}
            raise RuntimeError(answer["error"]["desc"])
        return answer["return"]

    async def close(self):
        self.writer.close()
        await self.task


def with_client(vm, use):
    async def run():
        client = await Client.connect(vm.qmp_path(0))
        await use(client)
        await client.close()
    vm.qmp.close()
    asyncio.run(run())


def test_an_asynchronous_client_works(vms):
    vm = vms("gap", append="pattern=4M").start()

    async def use(client):
        assert (await client.execute("query-status"))["running"]
        assert await client.execute("stop") == {}
        event = await asyncio.wait_for(client.events.get(), 20)
        assert event["event"] == "STOP"
        assert await client.execute("cont") == {}
        event = await asyncio.wait_for(client.events.get(), 20)
        assert event["event"] == "RESUME"
        try:
            await client.execute("object-del", {"id": "nn"})
            raise AssertionError("an object that is none was removed")
        except RuntimeError as e:
            assert str(e) == "object 'nn' not found"

    with_client(vm, use)
    vm.proc.connect(vm.qmp_path(0))
    vm.running()


def test_overlapping_requests_are_answered_in_order(vms):
    vm = vms("gap", append="pattern=4M").start()

    async def use(client):
        waiting = [client.send("query-migrate-parameters" if i % 3 else
                               "nonsense") for i in range(1000)]
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 60)
        ids = [a["id"] for a in answers]
        assert ids == ["__qmp#%05d" % i for i in range(2, 1002)]
        assert all(("return" in a) == bool(i % 3)
                   for i, a in enumerate(answers))

    with_client(vm, use)
