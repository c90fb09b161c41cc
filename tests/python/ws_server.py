"""A WebSocket server for the tests, by PyPI's `websockets` or by `autobahn`.

    ws_server.py websockets|autobahn [--port 0]

Prints {"port": N} once it listens. The path says what it does (see ROUTES); `/refuse/403` is answered with that status.
`/seen?id=X` tells how the connection that was opened with `?id=X` ended, as the server saw it.
"""

import argparse
import asyncio
import collections
import importlib
import json
import logging
import urllib.parse

from ws_websockets import Closed

SUBPROTOCOLS = ["chat.v1", "chat.v0"]
RESPONSE_HEADERS = [("Set-Cookie", "seat=12; Path=/"), ("X-Made-By", "the server")]
seen = collections.defaultdict(dict)


async def echo(connection, query):
    while True:
        await connection.send(await connection.receive())


async def echo_fragments(connection, query):
    """Answers with the same fragments, after telling their sizes."""
    while True:
        fragments = await connection.receive_fragments()
        await connection.send(json.dumps([len(fragment) for fragment in fragments]))
        await connection.send_fragments(fragments)


async def greet(connection, query):
    """Speaks first."""
    for i in range(3):
        await connection.send(f"hello {i}")
    await echo(connection, query)


async def close(connection, query):
    """Sends `messages` messages and closes with `code` and `reason`."""
    for i in range(int(query.get("messages", 0))):
        await connection.send(f"message {i}")
    await connection.close(int(query["code"]), query.get("reason", ""))


async def push(connection, query):
    """Sends so many messages while it echoes what comes."""
    async def send():
        for i in range(int(query["messages"])):
            await connection.send(f"push {i}")
    sending = asyncio.create_task(send())
    try:
        await echo(connection, query)
    finally:
        await asyncio.gather(sending, return_exceptions=True)


async def ping(connection, query):
    """Pings the client, and tells when the pong is there."""
    await connection.ping(b"are you there?")
    await connection.send("it is")
    await echo(connection, query)


async def vanish(connection, query):
    """Says a word and is gone, without a closing handshake, when the client has said one too."""
    await connection.send("bye")
    await connection.receive()
    connection.abort()


async def headers(connection, query):
    await connection.send(json.dumps(connection.request_headers))
    await echo(connection, query)


async def digest(connection, query):
    """Tells how many bytes came over the wire for the next message, then sends it back."""
    before = connection.received_bytes
    message = await connection.receive()
    await connection.send(str(connection.received_bytes - before))
    await connection.send(message)
    await echo(connection, query)


async def tell(connection, query):
    await connection.send(json.dumps(seen[query["id"]]))
    await echo(connection, query)


ROUTES = {"/echo": echo, "/fragments": echo_fragments, "/greet": greet, "/close": close, "/push": push, "/ping": ping,
          "/vanish": vanish, "/headers": headers, "/digest": digest, "/seen": tell}


def refusal(path):
    """The status for a path that is not to be opened."""
    path = path.split("?")[0]
    if path.startswith("/refuse/"):
        return int(path.removeprefix("/refuse/"))
    return None if path in ROUTES else 404


async def handle(connection):
    url = urllib.parse.urlsplit(connection.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    note = seen[query["id"]] if "id" in query and url.path != "/seen" else {}
    note["open"] = True
    try:
        await ROUTES[url.path](connection, query)
    except Closed:
        pass
    code, reason = await connection.closed()
    note.update(open=False, code=code, reason=reason)


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", choices=["websockets", "autobahn"])
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # connections that break on purpose are no news
    library = importlib.import_module(f"ws_{options.library}")
    port = await library.serve(handle, refusal, options.port, SUBPROTOCOLS, RESPONSE_HEADERS)
    print(json.dumps({"port": port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
