"""What a grpcio client sees of the server in grpc_echo.py, directly or through Buckler: one JSON object of results.

    grpc_check.py 127.0.0.1:PORT [--only NAME] [--ca FILE --name NAME] [--metadata KEY=VALUE]...
"""

import argparse
import asyncio
import hashlib
import json
import pathlib
import sys
import uuid

import grpc

from cases import Cases, eventually, expect
from grpc_echo import MOST_BYTES, SERVICE

CONCURRENT = 100  # calls open at once over one connection: no more than proxies commonly allow (RFC 9113 6.5.2)
STARTED = 200  # calls started at once: grpcio keeps those waiting that the connection does not allow yet
cases = Cases()


class Service:
    """The methods of grpc_echo.py over one channel, with the metadata that every call carries."""

    def __init__(self, channel, metadata):
        self.always = metadata
        for name, kind in {
            "Unary": channel.unary_unary, "Metadata": channel.unary_unary, "Status": channel.unary_unary,
            "Remaining": channel.unary_unary, "Seen": channel.unary_unary, "Collect": channel.stream_unary,
            "Count": channel.unary_stream, "Chat": channel.stream_stream,
        }.items():
            setattr(self, name.lower(), self.method(kind(f"/{SERVICE}/{name}")))

    def method(self, call):
        def with_metadata(*arguments, metadata=(), **options):
            return call(*arguments, metadata=(*self.always, *metadata), **options)
        return with_metadata

    async def noted(self, call_id):
        return json.loads(await self.seen(call_id.encode()))


def fresh_id():
    return uuid.uuid4().hex


async def failure(call):
    """The error that a call ends with, as code, message and the trailing metadata that the server chose."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        # grpcio puts its own trailers there too when a channel fails; only those of grpc_echo.py are compared.
        own = {k: v if isinstance(v, str) else v.hex() for k, v in error.trailing_metadata() if k.startswith(("why", "after"))}
        return {"code": error.code().name, "message": error.details(), "trailers": own}
    raise AssertionError("the call succeeded")


@cases
async def unary(service):
    saw = [(await service.unary(message)).decode() for message in (b"hello", b"", "grüße".encode())]
    expect("answers", saw, ["hello", "", "grüße"])
    return saw


@cases
async def client_streaming(service):
    async def messages():
        for i in range(100):
            yield b"m" * i
            if i % 25 == 0:
                await asyncio.sleep(0.01)
    saw = json.loads(await service.collect(messages()))
    expect("collected", saw, {"messages": 100, "bytes": 4950})
    expect("of nothing", json.loads(await service.collect(iter(()))), {"messages": 0, "bytes": 0})
    return saw


@cases
async def server_streaming(service):
    wanted = json.dumps({"messages": 500, "size": 100}).encode()
    saw = [message async for message in service.count(wanted)]
    expect("messages", [int(message.split()[0]) for message in saw], list(range(500)))
    expect("none", [message async for message in service.count(b'{"messages": 0}')], [])
    return hashlib.sha256(b"".join(saw)).hexdigest()


@cases
async def bidirectional_streaming_in_turns(service):
    call = service.chat()
    saw = []
    for i in range(50):
        await call.write(b"%d" % i)
        saw.append((await call.read()).decode())
    await call.done_writing()
    expect("the end", await call.read(), grpc.aio.EOF)
    expect("status", (await call.code()).name, "OK")
    expect("answers", saw, [f"re: {i}" for i in range(50)])
    return saw


@cases
async def bidirectional_streaming_at_once(service):
    async def messages():
        for i in range(2000):
            yield b"%d" % i
    saw = [message async for message in service.chat(messages())]
    expect("answers", saw, [b"re: %d" % i for i in range(2000)])
    return len(saw)


@cases
async def the_server_ends_a_stream_first(service):
    call = service.chat()
    await call.write(b"hello")
    first = (await call.read()).decode()
    await call.write(b"leave")
    expect("the end", await call.read(), grpc.aio.EOF)
    code = (await call.code()).name
    expect("status", code, "OK")
    return [first, code]


@cases
async def metadata_both_ways(service):
    sent = (("plain", "value"), ("twice", "1"), ("twice", "2"), ("some-bin", bytes(range(256))), ("empty", ""), ("odd", "a,b;c=\"d\" ~"))
    call = service.metadata(b"", metadata=sent)
    first = [[k, v if isinstance(v, str) else v.hex()] for k, v in await call.initial_metadata()]
    arrived = json.loads(await call)
    last = [[k, v if isinstance(v, str) else v.hex()] for k, v in await call.trailing_metadata()]
    own = {"plain", "twice", "some-bin", "empty", "odd"}
    saw = {
        "arrived": sorted(pair for pair in arrived if pair[0] in own),
        "first": sorted(pair for pair in first if pair[0] in {"first", "first-bin", "twice"}),
        "last": sorted(pair for pair in last if pair[0] in {"last", "last-bin"}),
    }
    expect("arrived", saw["arrived"], sorted([k, v if isinstance(v, str) else v.hex()] for k, v in sent))
    expect("first", saw["first"], [["first", "early"], ["first-bin", "00ff10"], ["twice", "1"], ["twice", "2"]])
    expect("last", saw["last"], [["last", "late"], ["last-bin", bytes(range(256)).hex()]])
    return saw


@cases
async def every_status_code(service):
    saw = []
    for code in range(1, 17):
        message = f"code {code}: 100% größer, \"yes\"\nnext line €"
        wanted = json.dumps({"code": code, "message": message}).encode()
        error = await failure(service.status(wanted))
        expect(f"status {code}", error["message"], message)
        expect(f"trailers of {code}", error["trailers"], {"why": "asked", "why-bin": "0102"})
        saw.append(error)
    expect("codes", len({error["code"] for error in saw}), 16)
    return saw


@cases
async def status_after_messages(service):
    call = service.count(json.dumps({"messages": 3, "abort": True}).encode())
    messages = []

    async def read():
        async for message in call:
            messages.append(message.decode())
    error = await failure(read())
    expect("messages", messages, ["0 ", "1 ", "2 "])
    expect("error", error, {"code": "ABORTED", "message": "after the messages", "trailers": {"after": "3"}})
    return error


@cases
async def unknown_method(service):
    saw = await failure(service.unknown(b""))
    expect("code", saw["code"], "UNIMPLEMENTED")
    return saw


@cases
async def the_deadline_reaches_the_server(service):
    left = json.loads(await service.remaining(b"", timeout=20))
    assert 15 < left <= 20.1, f"the server sees {left} s of 20 s left"
    saw = json.loads(await service.remaining(b""))
    assert saw is None or saw > 1e6, f"the server sees a deadline of {saw} s where there is none"
    return "about 20 s"


@cases
async def deadline_exceeded(service):
    call_id = fresh_id()
    saw = await failure(service.unary(b"", metadata=(("id", call_id), ("wait", "30")), timeout=0.3))
    expect("code", saw["code"], "DEADLINE_EXCEEDED")

    async def cancelled():
        return (await service.noted(call_id)).get("cancelled")
    await eventually("the server sees that the client gave up", cancelled)
    return saw["code"]


@cases
async def the_server_sees_a_cancellation(service):
    async def noted(call_id, key, wanted):
        async def look():
            return (await service.noted(call_id)).get(key) == wanted
        await eventually(f"the server sees {key}: {wanted}", look)

    chat, unary, stream = fresh_id(), fresh_id(), fresh_id()
    calls = [
        service.chat(metadata=(("id", chat),)),
        service.unary(b"", metadata=(("id", unary), ("wait", "30"))),
        service.count(b'{"messages": 2, "pause": 30}', metadata=(("id", stream),)),
    ]
    await calls[0].write(b"hello")
    expect("chat", await calls[0].read(), b"re: hello")
    expect("stream", await calls[2].read(), b"0 ")
    await noted(chat, "open", True)
    await noted(unary, "calls", 1)
    for call in calls:
        call.cancel()
    await noted(chat, "open", False)
    await noted(unary, "cancelled", True)
    await noted(stream, "cancelled", True)
    return [(await call.code()).name for call in calls]


@cases
async def large_messages(service):
    message = bytes(range(256)) * (5 << 12)  # 5 MiB
    there = hashlib.sha256(message).hexdigest()
    expect("5 MiB there and back", hashlib.sha256(await service.unary(message)).hexdigest(), there)
    grown = await service.unary(b"", metadata=(("size", str(32 << 20)),))
    expect("32 MiB back", len(grown), 32 << 20)
    return there


@cases
async def compressed_messages(service):
    message = b"again and again " * 65536
    saw = await service.unary(message, compression=grpc.Compression.Gzip)
    expect("answer", saw == message, True)
    return len(saw)


@cases
async def many_calls_at_once(service):
    async def one(i):
        call = service.chat()
        await call.write(b"%d" % i)
        expect("answer", await call.read(), b"re: %d" % i)
        all_open.count += 1
        if all_open.count == CONCURRENT:
            all_open.set()
        await all_open.wait()
        await call.write(b"bye")
        expect("second answer", await call.read(), b"re: bye")
        await call.done_writing()
        expect("the end", await call.read(), grpc.aio.EOF)
        return (await call.code()).name
    all_open = asyncio.Event()
    all_open.count = 0
    codes = await asyncio.gather(*(one(i) for i in range(CONCURRENT)))
    expect("status", set(codes), {"OK"})
    return len(codes)


@cases
async def more_calls_than_one_connection_allows(service):
    async def one(i):
        expect("answer", await service.unary(b"%d" % i, metadata=(("wait", "0.05"),)), b"%d" % i)
        expect("messages", [m async for m in service.chat(iter([b"a", b"b"]))], [b"re: a", b"re: b"])
    await asyncio.gather(*(one(i) for i in range(STARTED)))
    return STARTED


@cases
async def many_calls_in_a_row(service):
    for i in range(500):
        expect("answer", await service.unary(b"%d" % i), b"%d" % i)
    return 500


@cases
async def a_reader_that_waits_holds_the_server_back(service):
    call_id = fresh_id()
    wanted = json.dumps({"messages": 1024, "size": 64 << 10}).encode()
    call = service.count(wanted, metadata=(("id", call_id),))
    expect("the first", (await call.read())[:2], b"0 ")
    written = -1
    while written != (now := (await service.noted(call_id)).get("written", 0)):
        written = now
        await asyncio.sleep(0.3)
    assert written < 896, f"the server wrote {written} of 1024 messages of 64 KiB though nobody read them"
    messages = 1
    while await call.read() is not grpc.aio.EOF:
        messages += 1
    expect("messages in the end", messages, 1024)
    return messages


def channel_of(options):
    """The channel that `arguments` describe; it takes big messages and does nothing twice by itself."""
    limits = [("grpc.max_receive_message_length", MOST_BYTES), ("grpc.max_send_message_length", MOST_BYTES),
              ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    if not options.ca:
        return grpc.aio.insecure_channel(options.address, options=limits)

    def read(name):
        return pathlib.Path(name).read_bytes() if name else None
    credentials = grpc.ssl_channel_credentials(read(options.ca), read(options.key), read(options.certificate))
    limits.append(("grpc.ssl_target_name_override", options.name))
    return grpc.aio.secure_channel(options.address, credentials, options=limits)


def arguments(parser):
    """Adds what says where a channel leads and what its calls carry."""
    parser.add_argument("address")
    parser.add_argument("--ca", help="speak TLS and trust these certificates")
    parser.add_argument("--name", default="localhost", help="the name that the certificate must have")
    parser.add_argument("--certificate", help="the client's own, with its --key")
    parser.add_argument("--key")
    parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE")


def metadata_of(options):
    return tuple(tuple(pair.split("=", 1)) for pair in options.metadata)


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    async with channel_of(options) as channel:
        service = Service(channel, metadata_of(options))
        service.unknown = service.method(channel.unary_unary(f"/{SERVICE}/Unknown"))
        passed = await cases.run(service, options.only)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    asyncio.run(main())
