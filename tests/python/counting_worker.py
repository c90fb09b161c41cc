"""A worker that writes each request that it has read into a file before it answers, so that what it was asked outlives
it however it ends. HTTP/1.1, kept connections, an answer to everything.

    counting_worker.py --log FILE [--name NAME] [--host 127.0.0.1] [--port 0] [--delay 0.02] [--silent PREFIX]

Prints {"port": N} once it listens. It answers after `delay` seconds, and never what begins with `silent`.
"""

import argparse
import asyncio
import json
import os

from origin import read_request, sized


async def serve(options, log, reader, writer):
    try:
        while True:
            request = await read_request(reader)
            # One write of one line: it is there as a whole or not at all, and stays if this process is killed.
            os.write(log, f"{request.method} {request.target}\n".encode())
            if options.silent and request.target.startswith(options.silent):
                await reader.read()
                return
            await asyncio.sleep(options.delay)
            writer.write(sized(options.name.encode(), f"x-worker: {options.name}"))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--name", default="real")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.02)
    parser.add_argument("--silent", default="")
    options = parser.parse_args()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    server = await asyncio.start_server(
        lambda reader, writer: serve(options, log, reader, writer), options.host, options.port, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
