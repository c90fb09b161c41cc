"""Makes the same gRPC call several times over one channel and prints how each ended: a JSON list.

    grpc_call.py 127.0.0.1:PORT [--method Unary|Chat|…] [--times 3] [--timeout SECONDS] [--metadata KEY=VALUE]...

For calls that Buckler refuses: code, message, and the metadata that came with them.
"""

import argparse
import asyncio
import json

import grpc

from grpc_check import arguments, channel_of, metadata_of
from grpc_echo import SERVICE


async def one(channel, options):
    path = f"/{SERVICE}/{options.method}"
    extra = {"metadata": metadata_of(options), "timeout": options.timeout}
    try:
        if options.method == "Chat":
            call = channel.stream_stream(path)(iter([b"hello"]), **extra)
            messages = [message.decode() async for message in call]
        else:
            call = channel.unary_unary(path)(b"hello", **extra)
            messages = [(await call).decode()]
        return {"code": "OK", "messages": messages}
    except grpc.aio.AioRpcError as error:
        found = {k: v for k, v in (*error.initial_metadata(), *error.trailing_metadata()) if isinstance(v, str)}
        return {"code": error.code().name, "message": error.details(), "metadata": found}


async def told(channel, options):
    """The same, until the answer was read: a stream that is refused while the library still writes to it now and then ends
    with the library's own INTERNAL, without anything of the answer. Each refusal of Buckler's has a request id."""
    for _ in range(5):
        end = await one(channel, options)
        if end["code"] != "INTERNAL" or "x-request-id" in end["metadata"]:
            break
    return end


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--method", default="Unary")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=10)
    options = parser.parse_args()
    async with channel_of(options) as channel:
        print(json.dumps([await told(channel, options) for _ in range(options.times)]))


if __name__ == "__main__":
    asyncio.run(main())
