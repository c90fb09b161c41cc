"""What a WebSocket client sees of ws_server.py, directly or through Buckler: one JSON object of results.

    ws_check.py websockets|autobahn ws://127.0.0.1:PORT [--only NAME] [--ca FILE]
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import logging
import ssl
import sys
import uuid

from cases import Cases, eventually, expect
from ws_websockets import Closed, Refused

cases = Cases()


class Server:
    """Where the server is, and by which library to speak to it."""

    def __init__(self, library, url, tls):
        self.library, self.url, self.tls = library, url, tls

    async def open(self, path, **options):
        return await self.library.connect(self.url + path, tls=self.tls, **options)

    async def noted(self, call_id):
        connection = await self.open(f"/seen?id={call_id}")
        note = json.loads(await connection.receive())
        await connection.close()
        return note

    async def noted_end(self, call_id):
        """How the server saw the end of the connection that was opened with this id."""
        async def ended():
            note = await self.noted(call_id)
            return note if note.get("open") is False else None
        note = await eventually("the server sees the end", ended)
        return [note["code"], note["reason"]]


def fresh_id():
    return uuid.uuid4().hex


def digest(message):
    return hashlib.sha256(message if isinstance(message, bytes) else message.encode()).hexdigest()


async def echoed(connection, message):
    await connection.send(message)
    back = await connection.receive()
    assert back == message, f"{len(message)} sent, {len(back)} of type {type(back).__name__} came back, not the same"


async def all_messages(connection):
    """What comes until the end."""
    messages = []
    try:
        while True:
            messages.append(await connection.receive())
    except Closed:
        return messages


@cases
async def text(server):
    connection = await server.open("/echo")
    for message in ("hello", "", "grüße, 世界 🎉", "a\x00b\r\nc"):
        await echoed(connection, message)
    await connection.close()
    return list(await connection.closed())


@cases
async def binary(server):
    connection = await server.open("/echo")
    for message in (b"", bytes(range(256)), b"\x00" * 1000, b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"):
        await echoed(connection, message)
    await connection.close()
    return list(await connection.closed())


@cases
async def lengths_around_the_borders_of_the_frame_header(server):
    connection = await server.open("/echo")
    for length in (1, 125, 126, 127, 65535, 65536, 65537, 1 << 20):
        await echoed(connection, b"b" * length)
        await echoed(connection, "t" * length)
    await connection.close()
    return list(await connection.closed())


@cases
async def fragments_stay_fragments(server):
    connection = await server.open("/fragments")
    saw = []
    for fragments in (["one", "two", "three"], [b"1", b"22" * 40000, b"333"], ["x"] * 200):
        await connection.send_fragments(fragments)
        # websockets ends a message that it is given in pieces by an empty frame: the two libraries differ there.
        sizes = json.loads(await connection.receive())
        expect("fragments there", [size for size in sizes if size], [len(fragment) for fragment in fragments])
        back = await connection.receive_fragments()
        expect("fragments back", [fragment for fragment in back if fragment], fragments)
        saw.append([sizes, [len(fragment) for fragment in back]])
    await connection.close()
    return saw


@cases
async def ping_and_pong(server):
    connection = await server.open("/ping")
    expect("what the server says of its ping", await connection.receive(), "it is")
    for payload in (b"", b"x", b"\x00\xff" * 62):
        await asyncio.wait_for(connection.ping(payload), 10)
    await echoed(connection, "still here")
    await connection.close()
    return list(await connection.closed())


@cases
async def close_codes_of_the_client(server):
    saw = []
    for code, reason in ((1000, ""), (1000, "done"), (3000, "registered"), (4000, "größer"), (4999, "r" * 123)):
        call_id = fresh_id()
        connection = await server.open(f"/echo?id={call_id}")
        await echoed(connection, "hello")
        await connection.close(code, reason)
        at_server = await server.noted_end(call_id)
        expect("at the server", at_server, [code, reason])
        saw.append([at_server, list(await connection.closed())])
    return saw


@cases
async def close_codes_of_the_server(server):
    saw = []
    for code, reason in ((1000, ""), (1000, "done"), (3001, "later"), (4123, "why%20not"), (4999, "r" * 123)):
        call_id = fresh_id()
        connection = await server.open(f"/close?id={call_id}&code={code}&reason={reason}&messages=5")
        expect("messages before", await all_messages(connection), [f"message {i}" for i in range(5)])
        at_client = list(await connection.closed())
        expect("at the client", at_client, [code, reason.replace("%20", " ")])
        saw.append([at_client, await server.noted_end(call_id)])
    return saw


@cases
async def wrong_text_ends_with_1007(server):
    connection = await server.open("/echo")
    await connection.send_invalid_text(b"good \xc3\x28 bad")
    expect("nothing back", await all_messages(connection), [])
    code, _ = await connection.closed()
    expect("code", code, 1007)
    return code


@cases
async def a_message_of_64_mib(server):
    connection = await server.open("/digest")
    message = bytes(range(256)) * (1 << 18)
    await connection.send(message)
    on_the_wire = int(await connection.receive())
    assert len(message) <= on_the_wire <= len(message) + 4096, f"{on_the_wire} bytes on the wire"
    back = await connection.receive()
    expect("the same", digest(back), digest(message))
    await connection.close()
    return [len(back), list(await connection.closed())]


@cases
async def deflate_is_negotiated_and_used(server):
    connection = await server.open("/digest", deflate=True)
    extensions = dict(connection.response_headers).get("sec-websocket-extensions", "")
    assert "permessage-deflate" in extensions, f"the server chose {extensions!r}"
    before = connection.received_bytes
    message = "again and again " * 65536
    await connection.send(message)
    there = int(await connection.receive())
    expect("the same", digest(await connection.receive()), digest(message))
    back = connection.received_bytes - before
    assert there < 100_000 and back < 100_000, f"{there} bytes there, {back} back, for a MiB that compresses well"
    for i in range(100):
        await echoed(connection, f"small {i} " * 10)
    await connection.close()
    return [extensions, list(await connection.closed())]


@cases
async def without_deflate_nothing_is_compressed(server):
    connection = await server.open("/digest")
    extensions = dict(connection.response_headers).get("sec-websocket-extensions", "")
    expect("extensions", extensions, "")
    await connection.send("a" * 100_000)
    assert int(await connection.receive()) > 100_000
    await connection.close()
    return extensions


@cases
async def subprotocols(server):
    saw = []
    for offered, wanted in ((["chat.v2", "chat.v1"], "chat.v1"), (["chat.v0"], "chat.v0"), (None, None)):
        connection = await server.open("/echo", subprotocols=offered)
        expect("chosen", connection.subprotocol, wanted)
        await echoed(connection, "hello")
        await connection.close()
        saw.append(connection.subprotocol)
    return saw


@cases
async def headers_both_ways(server):
    sent = [("Origin", "https://app.example.test"), ("Cookie", "a=1; b=2"), ("X-Custom", "value, with \"quotes\"")]
    connection = await server.open("/headers", headers=sent)
    arrived = dict(json.loads(await connection.receive()))
    answered = dict(connection.response_headers)
    await connection.close()
    for name, value in sent:
        expect(name, arrived.get(name.lower()), value)
    expect("set-cookie", answered.get("set-cookie"), "seat=12; Path=/")
    expect("x-made-by", answered.get("x-made-by"), "the server")
    names = ("upgrade", "connection", "sec-websocket-version", "sec-websocket-accept")
    expect("version", arrived["sec-websocket-version"], "13")
    expect("upgrade", arrived["upgrade"].lower(), "websocket")
    expect("connection", arrived["connection"].lower(), "upgrade")
    return {name: arrived.get(name, "").lower() for name in names}


@cases
async def many_small_messages_both_ways_at_once(server):
    many = 5000
    connection = await server.open(f"/push?messages={many}")

    async def send():
        for i in range(many):
            await connection.send(f"own {i}")
    sending = asyncio.create_task(send())
    own, pushed = [], []
    for _ in range(2 * many):
        message = await connection.receive()
        (own if message.startswith("own") else pushed).append(message)
    await sending
    expect("echoes in order", own == [f"own {i}" for i in range(many)], True)
    expect("pushes in order", pushed == [f"push {i}" for i in range(many)], True)
    await connection.close()
    return [len(own), len(pushed), list(await connection.closed())]


@cases
async def many_connections_at_once(server):
    connections = await asyncio.gather(*(server.open("/echo") for _ in range(100)))
    for _ in range(3):
        await asyncio.gather(*(echoed(connection, "hello") for connection in connections))
    await asyncio.gather(*(connection.close() for connection in connections))
    return [list(await connection.closed()) for connection in connections].count([1000, ""])


@cases
async def the_server_speaks_first(server):
    connection = await server.open("/greet")
    saw = [await connection.receive() for _ in range(3)]
    expect("greeting", saw, ["hello 0", "hello 1", "hello 2"])
    await echoed(connection, "hello")
    await connection.close()
    return saw


@cases
async def a_client_that_vanishes_is_noticed(server):
    call_id = fresh_id()
    connection = await server.open(f"/echo?id={call_id}")
    await echoed(connection, "hello")
    connection.abort()
    saw = (await server.noted_end(call_id))[0]
    expect("code at the server", saw, 1006)
    return saw


@cases
async def a_server_that_vanishes_is_noticed(server):
    connection = await server.open("/vanish")
    expect("last word", await connection.receive(), "bye")
    await connection.send("bye")
    expect("nothing more", await all_messages(connection), [])
    code, _ = await connection.closed()
    expect("code", code, 1006)
    return code


@cases
async def a_refused_upgrade_is_the_servers_answer(server):
    saw = []
    for path, status in (("/refuse/403", 403), ("/refuse/401", 401), ("/refuse/503", 503), ("/nowhere", 404)):
        try:
            await server.open(path)
        except Refused as refused:
            expect(path, refused.status, status)
            saw.append([refused.status, refused.body])
        else:
            raise AssertionError(f"{path} was opened")
    return saw


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", choices=["websockets", "autobahn"])
    parser.add_argument("url")
    parser.add_argument("--only", default="")
    parser.add_argument("--ca", help="trust these certificates, for wss://")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # connections that break on purpose are no news
    library = importlib.import_module(f"ws_{options.library}")
    tls = ssl.create_default_context(cafile=options.ca) if options.ca else None
    passed = await cases.run(Server(library, options.url, tls), options.only)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    asyncio.run(main())
