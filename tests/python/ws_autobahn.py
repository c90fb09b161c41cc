"""WebSocket connections of PyPI's `autobahn` (on asyncio), as ws_server.py and ws_check.py use them. ws_websockets.py is
its twin: the same names, the same behaviour, by another library."""

import asyncio

from autobahn.asyncio.websocket import (
    WebSocketClientFactory, WebSocketClientProtocol, WebSocketServerFactory, WebSocketServerProtocol)
from autobahn.websocket.compress import (
    PerMessageDeflateOffer, PerMessageDeflateOfferAccept, PerMessageDeflateResponse, PerMessageDeflateResponseAccept)
from autobahn.websocket.protocol import ConnectionDeny

from ws_websockets import LONGEST_MESSAGE, Closed, Refused, reset

END = object()


class Told:
    """What the protocol class is told, kept for whoever waits for it."""

    def __init__(self):
        super().__init__()
        self.opened = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.messages = asyncio.Queue()
        self.pongs = {}
        self.fragments = []
        self.received = 0

    def data_received(self, data):
        self.received += len(data)
        super().data_received(data)

    def onOpen(self):
        self.opened.set_result(None)

    def onMessageBegin(self, is_binary):
        self.fragments = []
        super().onMessageBegin(is_binary)

    def onMessageFrame(self, payload):
        self.fragments.append(b"".join(payload))
        super().onMessageFrame(payload)

    def onMessage(self, payload, is_binary):
        as_sent = (lambda octets: bytes(octets)) if is_binary else (lambda octets: octets.decode())
        self.messages.put_nowait((as_sent(payload), [as_sent(fragment) for fragment in self.fragments]))

    def onPong(self, payload):
        if waiting := self.pongs.pop(payload, None):
            waiting.set_result(None)

    def onClose(self, clean, code, reason):
        self.messages.put_nowait(END)
        if not self.ended.done():
            self.ended.set_result((self.remoteCloseCode or (1005 if clean else 1006), self.remoteCloseReason or ""))
        if not self.opened.done():
            self.opened.set_exception(self.refused())

    def refused(self):
        # The status is in no field: autobahn only writes it into the reason it gives.
        words = (self.wasNotCleanReason or "").replace("[", " ").replace("]", " ").split()
        return Refused(next((int(word) for word in words if word.isdigit()), 0))


class Client(Told, WebSocketClientProtocol):
    pass


class Server(Told, WebSocketServerProtocol):
    def onConnect(self, request):
        if status := self.factory.refusal(request.path):
            raise ConnectionDeny(status, f"refused with {status}")
        chosen = next((one for one in self.factory.known if one in request.protocols), None)
        return chosen, dict(self.factory.response_headers)

    def onOpen(self):
        super().onOpen()
        self.task = asyncio.ensure_future(self.factory.handler(Connection(self)))


class Connection:
    """One open WebSocket, of a client or of a server."""

    def __init__(self, inner):
        self.inner = inner
        self.path = getattr(inner, "http_request_uri", None)
        fields = getattr(inner, "http_headers", None) or {}
        self.request_headers = self.response_headers = list(fields.items())
        self.subprotocol = inner.websocket_protocol_in_use

    @property
    def received_bytes(self):
        return self.inner.received

    def still_open(self):
        if self.inner.state != self.inner.STATE_OPEN:
            raise Closed

    async def send(self, message):
        self.still_open()
        binary = isinstance(message, bytes)
        self.inner.sendMessage(message if binary else message.encode(), isBinary=binary)
        # autobahn queues without an end; the loop needs its turn to write and to read.
        await asyncio.sleep(0)

    async def send_invalid_text(self, octets):
        self.still_open()
        self.inner.sendMessage(octets, isBinary=False)

    async def send_fragments(self, fragments):
        self.still_open()
        binary = isinstance(fragments[0], bytes)
        self.inner.beginMessage(isBinary=binary)
        for fragment in fragments:
            self.inner.sendMessageFrame(fragment if binary else fragment.encode())
            await asyncio.sleep(0)
        self.inner.endMessage()

    async def receive(self):
        return (await self.next_message())[0]

    async def receive_fragments(self):
        return (await self.next_message())[1]

    async def next_message(self):
        found = await self.inner.messages.get()
        if found is END:
            self.inner.messages.put_nowait(END)
            raise Closed
        return found

    async def ping(self, payload):
        """Sends a ping and waits for the pong with its payload."""
        self.still_open()
        self.inner.pongs[payload] = asyncio.get_running_loop().create_future()
        waiting = self.inner.pongs[payload]
        self.inner.sendPing(payload)
        await waiting

    async def close(self, code=1000, reason=""):
        self.inner.sendClose(code, reason)
        await self.closed()

    async def closed(self):
        """Waits for the end; returns the code and the reason that came, 1006 if none did."""
        return await asyncio.shield(self.inner.ended)

    def abort(self):
        """Vanishes: a RST, no closing handshake."""
        reset(self.inner.transport)


OPTIONS = {"maxMessagePayloadSize": LONGEST_MESSAGE, "openHandshakeTimeout": 20, "closeHandshakeTimeout": 5,
           "autoPingInterval": 0, "failByDrop": False}


async def connect(url, headers=(), subprotocols=None, deflate=False, tls=None):
    """Opens a WebSocket; raises Refused if the server does not want it."""
    loop = asyncio.get_running_loop()
    factory = WebSocketClientFactory(url, headers=dict(headers), protocols=subprotocols, loop=loop)
    factory.protocol = Client
    factory.setProtocolOptions(**OPTIONS, serverConnectionDropTimeout=5)
    if deflate:
        factory.setProtocolOptions(
            perMessageCompressionOffers=[PerMessageDeflateOffer()],
            perMessageCompressionAccept=lambda response: PerMessageDeflateResponseAccept(response)
            if isinstance(response, PerMessageDeflateResponse) else None)
    more = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
    _, inner = await loop.create_connection(factory, factory.host, factory.port, **more)
    await asyncio.wait_for(asyncio.shield(inner.opened), 20)
    return Connection(inner)


async def serve(handler, refusal, port, subprotocols, response_headers):
    """Serves WebSockets on 127.0.0.1 and returns the port. `refusal(path)` gives a status for what is not to be opened."""
    loop = asyncio.get_running_loop()
    factory = WebSocketServerFactory(protocols=subprotocols, loop=loop)
    factory.externalPort = None  # the port in Host may be Buckler's
    factory.protocol = Server
    factory.handler, factory.refusal, factory.response_headers = handler, refusal, response_headers
    factory.known = subprotocols

    def accept(offers):
        return next((PerMessageDeflateOfferAccept(one) for one in offers if isinstance(one, PerMessageDeflateOffer)), None)
    factory.setProtocolOptions(**OPTIONS, perMessageCompressionAccept=accept)
    server = await loop.create_server(factory, "127.0.0.1", port)
    return server.sockets[0].getsockname()[1]
