"""A gRPC server of grpcio for the tests: messages are plain bytes, so no .proto file and no generated code is needed.

    grpc_echo.py [--address 127.0.0.1:0 | unix:PATH]

Prints {"port": N} once it listens. `/test.Echo/Seen` tells what the server saw of a call, by the call's `id` metadata:
that is how a client learns whether a cancellation or a deadline arrived.
"""

import argparse
import asyncio
import collections
import json

import grpc

SERVICE = "test.Echo"
MOST_BYTES = 64 << 20
seen = collections.defaultdict(dict)


def call_id(context):
    return dict(context.invocation_metadata()).get("id", "")


def number(context, key, otherwise):
    return float(dict(context.invocation_metadata()).get(key, otherwise))


async def unary(request, context):
    """Answers with the request; metadata say how: `wait` seconds first, `size` bytes instead."""
    note = seen[call_id(context)]
    note["calls"] = note.get("calls", 0) + 1
    wait = number(context, "wait", 0)
    try:
        await asyncio.sleep(wait)
    except asyncio.CancelledError:
        note["cancelled"] = True
        raise
    size = int(number(context, "size", -1))
    return request if size < 0 else b"s" * size


async def metadata(request, context):
    """Answers with the metadata that came, and sends some of its own before and after the message."""
    await context.send_initial_metadata((("first", "early"), ("first-bin", b"\x00\xff\x10"), ("twice", "1"), ("twice", "2")))
    context.set_trailing_metadata((("last", "late"), ("last-bin", bytes(range(256)))))
    return json.dumps([[k, v if isinstance(v, str) else v.hex()] for k, v in context.invocation_metadata()]).encode()


async def status(request, context):
    """Ends with the status code and the message that the request names."""
    wanted = json.loads(request)
    code = next(code for code in grpc.StatusCode if code.value[0] == wanted["code"])
    await context.abort(code, wanted["message"], (("why", "asked"), ("why-bin", b"\x01\x02")))


async def remaining(request, context):
    return json.dumps(context.time_remaining()).encode()


async def collect(requests, context):
    """Client streaming: reads all, then tells how many messages and bytes those were."""
    messages = octets = 0
    async for message in requests:
        messages += 1
        octets += len(message)
    return json.dumps({"messages": messages, "bytes": octets}).encode()


async def count(request, context):
    """Server streaming: `messages` messages of `size` bytes, `pause` seconds apart, then, if asked for, ABORTED."""
    wanted = json.loads(request)
    note = seen[call_id(context)]
    try:
        for i in range(wanted["messages"]):
            head = b"%d " % i
            await context.write(head + b"c" * max(0, wanted.get("size", 0) - len(head)))
            note["written"] = i + 1
            await asyncio.sleep(wanted.get("pause", 0))
    except asyncio.CancelledError:
        note["cancelled"] = True
        raise
    if wanted.get("abort"):
        await context.abort(grpc.StatusCode.ABORTED, "after the messages", (("after", str(wanted["messages"])),))


async def chat(requests, context):
    """Bidirectional: answers each message at once. `leave` ends the call in the middle, with OK and unread messages."""
    note = seen[call_id(context)]
    note["open"] = True
    try:
        async for message in requests:
            if message == b"leave":
                return
            await context.write(b"re: " + message)
    finally:
        note["open"] = False


async def tell(request, context):
    return json.dumps(seen[request.decode()]).encode()


def handlers():
    plain = {"request_deserializer": None, "response_serializer": None}
    return grpc.method_handlers_generic_handler(SERVICE, {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, **plain),
        "Metadata": grpc.unary_unary_rpc_method_handler(metadata, **plain),
        "Status": grpc.unary_unary_rpc_method_handler(status, **plain),
        "Remaining": grpc.unary_unary_rpc_method_handler(remaining, **plain),
        "Collect": grpc.stream_unary_rpc_method_handler(collect, **plain),
        "Count": grpc.unary_stream_rpc_method_handler(count, **plain),
        "Chat": grpc.stream_stream_rpc_method_handler(chat, **plain),
        "Seen": grpc.unary_unary_rpc_method_handler(tell, **plain),
    })


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="127.0.0.1:0")
    options = parser.parse_args()
    limits = [("grpc.max_receive_message_length", MOST_BYTES), ("grpc.max_send_message_length", MOST_BYTES)]
    server = grpc.aio.server(options=limits + [("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port(options.address)
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
