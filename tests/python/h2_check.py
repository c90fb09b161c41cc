"""HTTP/2 (RFC 9113) as PyPI's `h2` sees it, through Buckler to the worker in origin.py: one JSON object of results.

    h2_check.py 127.0.0.1:PORT [--only NAME] [--ca FILE] [--drain PID]

With --drain the last case sends TERM to that process and sees how it takes leave. Cases of raw frames that break the
rules are not here: these are what a well-behaved client may do, and what it must be able to rely on.
"""

import argparse
import asyncio
import json
import os
import signal
import struct
import sys
import uuid

from h2.settings import SettingCodes

from cases import Cases, eventually, expect
from h2_client import connected, frame, trusting
from origin import pattern

DEFAULT_WINDOW = 65_535  # RFC 9113 6.9.2
DEFAULT_FRAME = 16_384  # RFC 9113 6.5.2
PRIORITY, SETTINGS, PUSH_PROMISE, GOAWAY, PRIORITY_UPDATE = 0x2, 0x4, 0x5, 0x7, 0x10  # types of frames
cases = Cases()


class Server:
    def __init__(self, address, tls, pid):
        self.host, port = address.rsplit(":", 1)
        self.port, self.tls, self.pid = int(port), tls, pid

    async def held(self, name):
        async with connected(self) as client:
            return json.loads((await client.get(f"/held/{name}")).body)

    async def release(self, name):
        async with connected(self) as client:
            expect("release", (await client.get(f"/release/{name}")).status, 200)


def fresh_name():
    return uuid.uuid4().hex


def expect_whole(stream, length):
    expect("status", stream.status, 200)
    expect("reset", stream.reset, None)
    assert bytes(stream.body) == pattern(length), f"{len(stream.body)} bytes came, not the {length} that were sent"


@cases
async def requests_one_after_another(server):
    """5.1.1: streams of one connection, a thousand of them."""
    async with connected(server) as client:
        for _ in range(1000):
            expect_whole(await client.get("/bytes/100"), 100)
        return len(client.streams)


@cases
async def requests_side_by_side(server):
    """5.1.2: as many at once as the server allows, each with its own answer."""
    async with connected(server) as client:
        most = min(client.h2.remote_settings.max_concurrent_streams, 100)
        streams = [await client.begin("GET", f"/bytes/{i * 1000}") for i in range(most)]
        for i, stream in enumerate(streams):
            expect_whole(await client.end_of(stream), i * 1000)
        return most >= 100  # 6.5.2 recommends no less


@cases
async def a_stream_too_many_harms_nobody(server):
    """5.1.2: beyond SETTINGS_MAX_CONCURRENT_STREAMS a stream is refused, and the others go on."""
    async with connected(server) as client:
        most = client.h2.remote_settings.max_concurrent_streams
        assert most <= 10_000, f"the server allows {most} streams at once"
        name = fresh_name()
        streams = [await client.begin("GET", f"/hold/{name}") for _ in range(most)]
        client.h2.remote_settings.update({SettingCodes.MAX_CONCURRENT_STREAMS: most + 10})
        client.h2.remote_settings.acknowledge()
        over = await client.end_of(await client.begin("GET", "/bytes/1"))
        assert over.reset in (1, 7), f"the stream too many ended with {over.reset}, not PROTOCOL_ERROR or REFUSED_STREAM"
        await server.release(name)
        for stream in streams:
            expect("status", (await client.end_of(stream)).status, 200)
        expect_whole(await client.get("/bytes/1"), 1)
        return over.reset


@cases
async def a_body_up(server):
    """6.9: a body larger than any first window, with the server's credit."""
    async with connected(server) as client:
        stream = await client.begin("POST", "/echo", end=False)
        await client.send(stream, pattern(3 << 20))
        expect_whole(await client.end_of(stream), 3 << 20)
        return len(stream.body)


@cases
async def a_body_up_without_a_byte(server):
    """8.1: an empty DATA frame with END_STREAM ends a request."""
    async with connected(server) as client:
        stream = await client.begin("POST", "/any", end=False)
        await client.send(stream, b"")
        seen = json.loads((await client.end_of(stream)).body)
        expect("body", seen["body_bytes"], 0)
        return seen["method"]


@cases
async def a_body_down(server):
    """6.9: 8 MiB, credit given at once."""
    async with connected(server) as client:
        expect_whole(await client.get("/bytes/8388608"), 8 << 20)
        return 8 << 20


@cases
async def an_exhausted_window_is_respected_and_resumed(server):
    """6.9.1: nothing beyond the window; after WINDOW_UPDATE the rest."""
    async with connected(server, credit=False) as client:
        stream = await client.begin("GET", "/bytes/200000")
        await client.until("the window's worth", lambda: len(stream.body) >= DEFAULT_WINDOW)
        await client.pong(b"exhaust!")
        expect("bytes", len(stream.body), DEFAULT_WINDOW)
        client.h2.increment_flow_control_window(1, stream.number)
        client.h2.increment_flow_control_window(1)
        await client.flush()
        await client.until("one more", lambda: len(stream.body) > DEFAULT_WINDOW)
        expect("bytes", len(stream.body), DEFAULT_WINDOW + 1)
        client.h2.increment_flow_control_window(200_000, stream.number)
        client.h2.increment_flow_control_window(200_000)
        await client.flush()
        expect_whole(await client.end_of(stream), 200_000)
        return DEFAULT_WINDOW


@cases
async def a_stream_without_window_stops_no_other(server):
    """6.9.1: the windows of streams are their own."""
    async with connected(server, {SettingCodes.INITIAL_WINDOW_SIZE: 1000}, credit=False) as client:
        stuck = await client.begin("GET", "/bytes/5000")
        await client.until("its window's worth", lambda: len(stuck.body) >= 1000)
        expect_whole(await client.get("/bytes/900"), 900)
        expect("bytes of the stuck one", len(stuck.body), 1000)
        client.h2.increment_flow_control_window(4000, stuck.number)
        await client.flush()
        expect_whole(await client.end_of(stuck), 5000)
        return True


@cases
async def the_connections_window_holds_all_streams(server):
    """6.9: both windows count."""
    async with connected(server, {SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20}, credit=False) as client:
        first = await client.begin("GET", "/bytes/60000")
        await client.end_of(first)
        second = await client.begin("GET", "/bytes/60000")
        await client.until("the rest of the window", lambda: len(second.body) >= DEFAULT_WINDOW - 60_000)
        await client.pong(b"together")
        expect("bytes", len(second.body), DEFAULT_WINDOW - 60_000)
        client.h2.increment_flow_control_window(1 << 20)
        await client.flush()
        expect_whole(await client.end_of(second), 60_000)
        return True


@cases
async def a_window_of_ten_bytes(server):
    """6.9.2: the first window is what SETTINGS says, however small."""
    async with connected(server, {SettingCodes.INITIAL_WINDOW_SIZE: 10}) as client:
        stream = await client.begin("GET", "/bytes/100")
        while not stream.ended.is_set():
            have = len(stream.body)
            client.h2.increment_flow_control_window(10, stream.number)
            await client.flush()
            await client.until("more", lambda: len(stream.body) > have or stream.ended.is_set())
        expect_whole(stream, 100)
        return True


@cases
async def settings_change_open_windows(server):
    """6.9.2: a new SETTINGS_INITIAL_WINDOW_SIZE changes the windows of open streams, below zero too."""
    async with connected(server, {SettingCodes.INITIAL_WINDOW_SIZE: 1000}, credit=False) as client:
        stream = await client.begin("GET", "/bytes/5000")
        await client.until("its window's worth", lambda: len(stream.body) >= 1000)
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})  # now the window is -900
        await client.flush()
        await client.pong(b"settings")
        client.h2.increment_flow_control_window(900, stream.number)  # and now it is 0
        await client.flush()
        await client.pong(b"nothing!")
        expect("bytes", len(stream.body), 1000)
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10_000})
        await client.flush()
        expect_whole(await client.end_of(stream), 5000)
        return True


@cases
async def frames_are_as_large_as_asked_for(server):
    """4.2: no frame above SETTINGS_MAX_FRAME_SIZE, which `h2` checks; a larger one may be allowed."""
    for size in (DEFAULT_FRAME, 1 << 20):
        async with connected(server, {SettingCodes.MAX_FRAME_SIZE: size}) as client:
            expect_whole(await client.get("/bytes/1000000"), 1_000_000)
    return True


@cases
async def no_dynamic_table(server):
    """RFC 7541 4.2: a client that keeps no table gets headers that need none."""
    for size in (0, 65_536):
        async with connected(server, {SettingCodes.HEADER_TABLE_SIZE: size}) as client:
            for _ in range(3):
                stream = await client.get("/headers/3")
                expect("field", len(stream.header("x-2")), 1000)
    return True


@cases
async def large_headers_up(server):
    """6.10: a head of several CONTINUATION frames."""
    async with connected(server) as client:
        fields = [(f"x-{i}", "v" * 1000) for i in range(25)]
        stream = await client.get("/any", fields)
        expect("status", stream.status, 200)
        seen = dict(json.loads(stream.body)["fields"])
        expect("fields", [seen.get(name) for name, _ in fields], ["v" * 1000] * 25)
        return 25


@cases
async def large_headers_down(server):
    """6.10 the other way."""
    async with connected(server) as client:
        stream = await client.get("/headers/40")
        expect("fields", len([1 for name, _ in stream.headers if name.startswith("x-") and name[2:].isdigit()]), 40)
        expect("cookies", [value for name, value in stream.headers if name == "set-cookie"], ["a=1", "b=2"])
        return 40


@cases
async def headers_too_large_are_refused_alone(server):
    """10.5.1: 431 or a reset for this request; the connection goes on."""
    async with connected(server) as client:
        over = await client.begin("GET", "/any", [(f"x-{i}", "v" * 1000) for i in range(100)])
        await client.end_of(over)
        assert over.status == 431 or over.reset is not None, f"100 KB of header fields: {over.status}"
        expect_whole(await client.get("/bytes/10"), 10)
        return over.status


@cases
async def a_refusal_is_in_the_form_that_is_asked_for(server):
    """RFC 9110, 12.5.1: also what is refused before anything else is looked at."""
    async with connected(server) as client:
        for method, path, status in [("TRACE", "/any", 405), ("GET", "/" + "a" * 9000, 414)]:
            for accept, kind in [("text/plain", "text/plain; charset=utf-8"), ("*/*", "application/problem+json")]:
                stream = await client.end_of(await client.begin(method, path, [("accept", accept)]))
                expect(f"{method} for {accept}", (stream.status, stream.header("content-type")), (status, kind))
        return True


@cases
async def trailers_up(server):
    """8.1: a request's trailer section reaches an HTTP/1.1 worker as one."""
    async with connected(server) as client:
        stream = await client.begin("POST", "/any", [("trailer", "x-sum")], end=False)
        await client.send(stream, b"with trailers", end=False)
        client.h2.send_headers(stream.number, [("x-sum", "13")], end_stream=True)
        await client.flush()
        seen = json.loads((await client.end_of(stream)).body)
        expect("body", seen["body_bytes"], 13)
        expect("trailers", seen["trailers"], [["x-sum", "13"]])
        return seen["trailers"]


@cases
async def trailers_down(server):
    """8.1: and an answer's trailers reach the client."""
    async with connected(server) as client:
        stream = await client.get("/chunked", [("te", "trailers")])
        expect("body", bytes(stream.body), b"onetwothree")
        expect("trailers", stream.trailers, [("x-sum", "11")])
        return True


@cases
async def cookies_are_one_field_again(server):
    """8.2.3: cookie-pairs in several fields are joined for HTTP/1.1."""
    async with connected(server) as client:
        stream = await client.get("/any", [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")])
        cookies = [value for name, value in json.loads(stream.body)["fields"] if name == "cookie"]
        expect("cookies", cookies, ["a=1; b=2; c=3"])
        return cookies


@cases
async def the_authority_becomes_the_host(server):
    """8.3.1: :authority becomes Host, and nothing of HTTP/2 leaks into the request."""
    async with connected(server) as client:
        seen = json.loads((await client.get("/any?x=1%2F&y", [("te", "trailers")])).body)
        hosts = [value for name, value in seen["fields"] if name == "host"]
        expect("host", hosts, ["localhost"])
        expect("target", seen["target"], "/any?x=1%2F&y")
        expect("pseudo fields", [name for name, _ in seen["fields"] if name.startswith(":")], [])
        return hosts


@cases
async def answers_without_a_body(server):
    """8.1: HEAD, 204 and 304 end with the head, and HEAD keeps its length."""
    async with connected(server) as client:
        head = await client.end_of(await client.begin("HEAD", "/bytes/1234"))
        expect("HEAD", (head.status, head.header("content-length"), bytes(head.body)), (200, "1234", b""))
        for status in (204, 304):
            stream = await client.get(f"/status/{status}")
            expect("status", (stream.status, bytes(stream.body)), (status, b""))
        return True


@cases
async def statuses_pass(server):
    async with connected(server) as client:
        saw = [(await client.get(f"/status/{status}")).status for status in (200, 301, 404, 418, 451, 500, 599)]
        expect("statuses", saw, [200, 301, 404, 418, 451, 500, 599])
        return saw


@cases
async def informational_answers_are_not_the_answer(server):
    """8.1: 103 comes before the answer or not at all."""
    async with connected(server) as client:
        stream = await client.get("/hints")
        expect("answer", (stream.status, bytes(stream.body)), (200, b"after the hints"))
        return [one[":status"] for one in stream.informational] in ([], ["103"])


@cases
async def pings_are_answered_in_between(server):
    """6.7: PING is answered while streams wait."""
    async with connected(server) as client:
        name = fresh_name()
        stream = await client.begin("GET", f"/hold/{name}")
        for i in range(5):
            await client.pong(struct.pack(">Q", i))
        await server.release(name)
        expect("status", (await client.end_of(stream)).status, 200)
        return len(client.pongs)


@cases
async def priority_in_every_form_changes_nothing(server):
    """5.3 and RFC 9218: priorities old and new are accepted and may be ignored."""
    async with connected(server) as client:
        weighed = {"priority_weight": 1, "priority_depends_on": 0, "priority_exclusive": True}
        expect_whole(await client.get("/bytes/10", priority=weighed), 10)
        expect_whole(await client.get("/bytes/10", [("priority", "u=1, i")]), 10)
        idle = frame(PRIORITY, 0, 201, struct.pack(">IB", 0, 9))
        update = frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=0")
        await client.raw(idle + update)
        expect_whole(await client.get("/bytes/10"), 10)
        return True


@cases
async def what_is_unknown_is_ignored(server):
    """4.1, 5.5, 6.5.2: frame types, flags and settings that the server does not know."""
    async with connected(server) as client:
        await client.raw(frame(0xfa, 0xff, 0, b"what is this?") + frame(SETTINGS, 0, 0, struct.pack(">HI", 0xfafa, 1)))
        expect_whole(await client.get("/bytes/10"), 10)
        return True


@cases
async def the_server_pushes_nothing(server):
    """8.4: push is off, on both sides."""
    async with connected(server, {SettingCodes.ENABLE_PUSH: 1}) as client:
        expect_whole(await client.get("/bytes/10"), 10)
        expect("streams", list(client.streams), [1])
        return client.h2.remote_settings.get(SettingCodes.ENABLE_PUSH, 0) == 0 or "its setting is 1"


@cases
async def a_push_of_the_client_is_refused(server):
    """8.4: a client cannot push; PUSH_PROMISE is a connection error."""
    async with connected(server) as client:
        stream = await client.begin("POST", "/echo", end=False)
        await client.raw(frame(PUSH_PROMISE, 0x4, stream.number, struct.pack(">I", 2) + b"\x82"))
        await client.until("the end of the connection", lambda: client.goaway or client.closed.is_set())
        assert client.goaway, "the connection ended without GOAWAY"
        expect("error", client.goaway[0], 1)
        return [client.goaway[0], stream.status]


@cases
async def a_stream_given_up_ends_at_the_worker(server):
    """5.4.2: RST_STREAM frees the worker, and the connection goes on."""
    async with connected(server) as client:
        name = fresh_name()
        stream = await client.begin("GET", f"/hold/{name}")

        async def waiting():
            return (await server.held(name))["waiting"] == 1

        async def gone():
            return (await server.held(name))["gone"] == 1
        await eventually("the worker has the request", waiting)
        client.h2.reset_stream(stream.number, 8)
        await client.flush()
        await eventually("the worker sees that nobody waits", gone)
        expect_whole(await client.get("/bytes/10"), 10)
        return True


@cases
async def an_answer_cut_off_is_a_reset(server):
    """8.1.1: what the worker cut off does not look complete."""
    async with connected(server) as client:
        stream = await client.get("/cut/off")
        assert stream.reset is not None or stream.status == 502, f"{stream.status}, {len(stream.body)} bytes, as if whole"
        expect_whole(await client.get("/bytes/10"), 10)
        return True


@cases
async def an_answer_before_the_end_of_the_request(server):
    """8.1: the worker answers while the body still comes; the client has the whole answer."""
    async with connected(server) as client:
        stream = await client.begin("POST", "/early/answer", end=False)
        await client.send(stream, b"b" * 10_000, end=False)
        await client.until("the answer", lambda: bytes(stream.body) == b"enough" or stream.ended.is_set())
        expect("answer", (stream.status, bytes(stream.body)), (200, b"enough"))
        if not stream.ended.is_set():
            client.h2.end_stream(stream.number)
            await client.flush()
        expect_whole(await client.get("/bytes/10"), 10)
        return stream.reset in (None, 0)


@cases
async def a_client_says_goodbye(server):
    """6.8: GOAWAY of the client, with a stream under way: it is served, then the connection ends."""
    async with connected(server) as client:
        name = fresh_name()
        stream = await client.begin("GET", f"/hold/{name}")
        await client.raw(frame(GOAWAY, 0, 0, bytes(8)))
        await server.release(name)
        expect("status", (await client.end_of(stream)).status, 200)
        await client.until("the end of the connection", client.closed.is_set)
        return True


@cases
async def a_drain_ends_with_goaway(server):
    """6.8: TERM is told by GOAWAY without an error; what is under way is served; then the connection ends."""
    if not server.pid:
        return None
    name = fresh_name()
    async with connected(server) as releasing, connected(server) as client:
        stream = await client.begin("GET", f"/hold/{name}")
        await client.pong(b"on its w")
        await releasing.begin("POST", f"/release/{name}", end=False)
        await releasing.pong(b"prepared")
        os.kill(server.pid, signal.SIGTERM)
        await client.until("GOAWAY", lambda: client.goaway or client.closed.is_set())
        assert client.goaway, "the connection ended without GOAWAY"
        expect("error", client.goaway[0], 0)
        assert client.goaway[1] >= stream.number, f"GOAWAY names {client.goaway[1]} as the last stream"
        await releasing.send(releasing.streams[1], b"now")
        expect("status", (await client.end_of(stream)).status, 200)
        expect("body", bytes(stream.body), b"released")
        await client.until("the end of the connection", client.closed.is_set)
        return True


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--only", default="")
    parser.add_argument("--ca", help="speak TLS and trust these certificates")
    parser.add_argument("--drain", type=int, metavar="PID")
    options = parser.parse_args()
    server = Server(options.address, trusting(options.ca) if options.ca else None, options.drain)
    sys.exit(0 if await cases.run(server, options.only) else 1)


if __name__ == "__main__":
    asyncio.run(main())
