"""An HTTP/2 client on PyPI's `h2`: the library keeps the protocol's state and judges what the server sends, this file
moves the bytes and keeps what came. It gives credit for data only as a case tells it to."""

import asyncio
import contextlib
import ssl
import struct

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine
from h2.settings import SettingCodes

PATIENCE = 20  # seconds

# h2 takes a GOAWAY for the end of the connection. It is not: streams up to the last that it names go on (RFC 9113 6.8).
H2ConnectionStateMachine._transitions[ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY] = (
    None, ConnectionState.CLIENT_OPEN)


def frame(kind, flags, stream, payload):
    """A frame as bytes, for what the library would not send."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Stream:
    """One request and what has come for it."""

    def __init__(self, number):
        self.number = number
        self.status = None
        self.headers = []
        self.informational = []
        self.body = bytearray()
        self.trailers = None
        self.reset = None
        self.ended = asyncio.Event()

    def header(self, name):
        return next((value for key, value in self.headers if key == name), None)


class Client:
    """One connection."""

    def __init__(self, reader, writer, credit):
        self.reader, self.writer, self.credit = reader, writer, credit
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.streams = {}
        self.pongs = []
        self.goaway = None
        self.violation = None
        self.settled = asyncio.Event()
        self.changed = asyncio.Condition()
        self.closed = asyncio.Event()

    async def start(self, settings):
        self.h2.local_settings = h2.settings.Settings(
            client=True, initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: 256 << 10, **settings})
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.initiate_connection()
        await self.flush()
        self.task = asyncio.create_task(self.read())
        await asyncio.wait_for(self.settled.wait(), PATIENCE)

    async def flush(self):
        self.writer.write(self.h2.data_to_send())
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def read(self):
        try:
            while data := await self.reader.read(64 << 10):
                for event in self.h2.receive_data(data):
                    self.take(event)
                await self.flush()
                await self.tell()
        except h2.exceptions.ProtocolError as error:
            self.violation = f"{type(error).__name__}: {error}"
            await self.flush()
        except OSError:
            pass
        finally:
            self.closed.set()
            self.settled.set()
            for stream in self.streams.values():
                stream.ended.set()
            await self.tell()

    async def tell(self):
        async with self.changed:
            self.changed.notify_all()

    def take(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        match event:
            case h2.events.RemoteSettingsChanged():
                self.settled.set()
            case h2.events.InformationalResponseReceived():
                stream.informational.append(dict(event.headers))
            case h2.events.ResponseReceived():
                stream.headers = list(event.headers)
                stream.status = int(stream.header(":status"))
            case h2.events.DataReceived():
                stream.body += event.data
                if self.credit and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                stream.trailers = list(event.headers)
            case h2.events.StreamEnded():
                stream.ended.set()
            case h2.events.StreamReset():
                stream.reset = event.error_code
                stream.ended.set()
            case h2.events.PingAckReceived():
                self.pongs.append(event.ping_data)
            case h2.events.ConnectionTerminated():
                self.goaway = (int(event.error_code), event.last_stream_id)

    async def until(self, what, condition):
        """Waits until the condition on this client holds."""
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(condition), PATIENCE)
            except asyncio.TimeoutError:
                raise AssertionError(f"waited {PATIENCE} s in vain: {what}") from None

    async def begin(self, method, path, headers=(), end=True, priority=None):
        """Sends a request's head; `end` if that is all."""
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(number)
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
        self.h2.send_headers(number, [*pseudo, *headers], end_stream=end, **(priority or {}))
        await self.flush()
        return stream

    async def send(self, stream, body, end=True):
        """Sends a body as the server's windows allow."""
        body = memoryview(body)
        while body:
            await self.until("room in the server's window", lambda: self.room(stream) or stream.ended.is_set())
            if stream.ended.is_set():
                return
            piece = body[:min(self.room(stream), self.h2.max_outbound_frame_size)]
            self.h2.send_data(stream.number, bytes(piece))
            body = body[len(piece):]
            await self.flush()
        if end:
            self.h2.end_stream(stream.number)
            await self.flush()

    def room(self, stream):
        return 0 if self.closed.is_set() else self.h2.local_flow_control_window(stream.number)

    async def raw(self, octets):
        """Sends bytes past the library."""
        self.writer.write(octets)
        await self.flush()

    async def end_of(self, stream):
        """Waits for the end of an answer and returns the stream."""
        await asyncio.wait_for(stream.ended.wait(), PATIENCE)
        assert not self.violation, f"the server broke the protocol: {self.violation}"
        return stream

    async def get(self, path, headers=(), **more):
        """A whole GET."""
        return await self.end_of(await self.begin("GET", path, headers, **more))

    async def pong(self, payload):
        """Sends a PING and waits for its answer: then everything sent before has been seen."""
        self.h2.ping(payload)
        await self.flush()
        await self.until("the answer to a PING", lambda: payload in self.pongs or self.closed.is_set())
        assert payload in self.pongs, "the connection ended instead of answering a PING"


@contextlib.asynccontextmanager
async def connected(server, settings=None, credit=True):
    """A connection to `server`; its end says whether the server kept to the protocol."""
    tls = {"ssl": server.tls, "server_hostname": "localhost"} if server.tls else {}
    reader, writer = await asyncio.open_connection(server.host, server.port, **tls)
    client = Client(reader, writer, credit)
    try:
        await client.start(settings or {})
        yield client
        assert not client.violation, f"the server broke the protocol: {client.violation}"
    finally:
        client.task.cancel()
        writer.close()


def trusting(ca):
    """TLS that trusts these certificates and speaks HTTP/2."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    return context
