"""A worker for the HTTP/2 cases: HTTP/1.1, one path for each behaviour (see `answer`).

    origin.py [--port 0]

Prints {"port": N} once it listens. `/hold/X` is answered when `/release/X` is asked for; `/held/X` says whether somebody
waits there, and whether the connection of one who waited was closed.
"""

import argparse
import asyncio
import collections
import functools
import json

LONGEST_HEAD = 256 << 10
PIECE = 16 << 10
held = collections.defaultdict(lambda: {"waiting": 0, "gone": 0, "release": asyncio.Event()})


class Request:
    def __init__(self, head):
        line, *fields = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.fields = [[name.lower(), value.strip()] for name, _, value in (field.partition(":") for field in fields)]
        self.body = b""
        self.trailers = []

    def field(self, name):
        return next((value for key, value in self.fields if key == name), None)

    def described(self):
        return {"method": self.method, "target": self.target, "fields": self.fields, "body_bytes": len(self.body),
                "trailers": self.trailers}


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    request = Request(head)
    if request.target.startswith("/early"):
        return request
    if length := request.field("content-length"):
        request.body = await reader.readexactly(int(length))
    elif request.field("transfer-encoding"):
        await read_chunks(reader, request)
    return request


async def read_chunks(reader, request):
    pieces = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    request.body = b"".join(pieces)
    while (line := (await reader.readuntil(b"\r\n"))[:-2]) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        request.trailers.append([name.lower(), value.strip()])


def head(status, *fields):
    return "\r\n".join([f"HTTP/1.1 {status} Fine", *fields, "", ""]).encode()


def sized(body, *fields, status=200):
    return head(status, f"content-length: {len(body)}", *fields) + body


@functools.lru_cache
def pattern(length):
    """A body in which a piece that is missing or doubled shows."""
    return b"".join(b"%07d\n" % i for i in range(length // 8 + 1))[:length]


async def hold(name, reader, writer):
    """Waits for the release; notices when the client's side ends before."""
    place = held[name]
    place["waiting"] += 1
    gone = asyncio.create_task(reader.read(1))
    released = asyncio.create_task(place["release"].wait())
    done, _ = await asyncio.wait({gone, released}, return_when=asyncio.FIRST_COMPLETED)
    place["waiting"] -= 1
    for task in (gone, released):
        if task not in done:
            task.cancel()
    if gone in done:
        place["gone"] += 1
        raise ConnectionError("the client's side ended")
    await asyncio.gather(gone, return_exceptions=True)
    return sized(b"released")


async def answer(request, reader, writer):
    """Writes the answer; returns whether the connection stays open."""
    path = request.target.split("?")[0]
    what, _, value = path[1:].partition("/")
    body = b"" if request.method == "HEAD" else None
    if what == "bytes":
        length = int(value)
        writer.write(head(200, f"content-length: {length}"))
        whole = pattern(length) if body is None else b""
        for start in range(0, len(whole), PIECE):
            writer.write(whole[start:start + PIECE])
            await writer.drain()
    elif what == "echo":
        writer.write(sized(request.body, "content-type: application/octet-stream"))
    elif what == "chunked":
        writer.write(head(200, "transfer-encoding: chunked", "trailer: x-sum"))
        for piece in (b"one", b"two", b"three"):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\nx-sum: 11\r\n\r\n")
    elif what == "headers":
        fields = [f"x-{i}: {'v' * 1000}" for i in range(int(value))]
        writer.write(sized(b"many", *fields, "set-cookie: a=1", "set-cookie: b=2"))
    elif what == "status":
        with_body = int(value) >= 200 and value not in ("204", "304")
        writer.write(sized(b"body", status=value) if with_body else head(value))
    elif what == "hints":
        writer.write(head(103, "link: </style.css>; rel=preload") + sized(b"after the hints"))
    elif what == "cut":
        writer.write(head(200, "content-length: 1000") + b"c" * 100)
        await writer.drain()
        return False
    elif what == "early":
        writer.write(sized(b"enough", "connection: close"))
        writer.write_eof()
        # What is unread at a close would reset the connection, and the answer with it.
        await asyncio.wait_for(reader.read(-1), 10)
        return False
    elif what == "hold":
        writer.write(await hold(value, reader, writer))
    elif what == "release":
        held[value]["release"].set()
        writer.write(sized(b"released"))
    elif what == "held":
        place = held[value]
        writer.write(sized(json.dumps({"waiting": place["waiting"], "gone": place["gone"]}).encode()))
    else:
        writer.write(sized(json.dumps(request.described()).encode(), "content-type: application/json"))
    await writer.drain()
    return True


async def serve(reader, writer):
    try:
        while await answer(await read_request(reader), reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = await asyncio.start_server(serve, "127.0.0.1", options.port, limit=LONGEST_HEAD, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
