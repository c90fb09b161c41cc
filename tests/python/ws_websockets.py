"""WebSocket connections of PyPI's `websockets`, as ws_server.py and ws_check.py use them. ws_autobahn.py is its twin:
the same names, the same behaviour, by another library."""

import asyncio
import socket
import struct

import websockets
from websockets.asyncio.client import ClientConnection, connect as websockets_connect
from websockets.asyncio.server import ServerConnection, serve as websockets_serve
from websockets.http11 import Response
from websockets.datastructures import Headers

LONGEST_MESSAGE = 65 << 20


class Refused(Exception):
    """The upgrade was answered with something else than 101."""

    def __init__(self, status, body=None):
        super().__init__(f"refused with {status}")
        self.status, self.body = status, body


class Closed(Exception):
    """The connection is closed."""


class Counting:
    """Counts the bytes that came over the wire."""

    received = 0

    def data_received(self, data):
        self.received += len(data)
        super().data_received(data)


class CountingClient(Counting, ClientConnection):
    pass


class CountingServer(Counting, ServerConnection):
    pass


class Connection:
    """One open WebSocket, of a client or of a server."""

    def __init__(self, inner):
        self.inner = inner
        self.path = inner.request.path
        self.request_headers = [(k.lower(), v) for k, v in inner.request.headers.raw_items()]
        self.response_headers = [(k.lower(), v) for k, v in inner.response.headers.raw_items()]
        self.subprotocol = inner.subprotocol

    @property
    def received_bytes(self):
        return self.inner.received

    async def send(self, message):
        await self.closing(self.inner.send(message))

    async def send_invalid_text(self, octets):
        await self.closing(self.inner.send(octets, text=True))

    async def send_fragments(self, fragments):
        await self.closing(self.inner.send(fragments))

    async def receive(self):
        return await self.closing(self.inner.recv())

    async def receive_fragments(self):
        async def fragments():
            return [fragment async for fragment in self.inner.recv_streaming()]
        return await self.closing(fragments())

    async def ping(self, payload):
        """Sends a ping and waits for the pong with its payload."""
        await (await self.closing(self.inner.ping(payload)))

    async def close(self, code=1000, reason=""):
        await self.inner.close(code, reason)

    async def closed(self):
        """Waits for the end; returns the code and the reason that came, 1006 if none did."""
        await self.inner.wait_closed()
        return self.inner.close_code, self.inner.close_reason

    def abort(self):
        """Vanishes: a RST, no closing handshake."""
        reset(self.inner.transport)

    @staticmethod
    async def closing(action):
        try:
            return await action
        except websockets.ConnectionClosed as closed:
            raise Closed from closed


def reset(transport):
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def connect(url, headers=(), subprotocols=None, deflate=False, tls=None):
    """Opens a WebSocket; raises Refused if the server does not want it."""
    more = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
    try:
        inner = await websockets_connect(
            url, additional_headers=list(headers), subprotocols=subprotocols, proxy=None, open_timeout=20,
            compression="deflate" if deflate else None, max_size=LONGEST_MESSAGE, ping_interval=None,
            create_connection=CountingClient, close_timeout=5, **more)
    except websockets.InvalidStatus as refused:
        raise Refused(refused.response.status_code, refused.response.body.decode()) from refused
    return Connection(inner)


async def serve(handler, refusal, port, subprotocols, response_headers):
    """Serves WebSockets on 127.0.0.1 and returns the port. `refusal(path)` gives a status for what is not to be opened."""
    def decide(connection, request):
        status = refusal(request.path)
        if status:
            body = f"refused with {status}".encode()
            fields = Headers({"Content-Length": str(len(body)), "Content-Type": "text/plain", "Connection": "close"})
            return Response(status, "Refused", fields, body)
        return None

    def add_headers(connection, request, response):
        for name, value in response_headers:
            response.headers[name] = value

    async def handle(inner):
        await handler(Connection(inner))

    server = await websockets_serve(
        handle, "127.0.0.1", port, process_request=decide, process_response=add_headers, subprotocols=subprotocols,
        # A client that offers only unknown subprotocols is served without one.
        select_subprotocol=lambda _, offered: next((one for one in subprotocols if one in offered), None),
        max_size=LONGEST_MESSAGE, ping_interval=None, create_connection=CountingServer, close_timeout=5)
    return server.sockets[0].getsockname()[1]
