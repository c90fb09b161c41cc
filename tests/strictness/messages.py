"""Strict readers of HTTP/1.1 messages: what a proxy sent to its worker, and what it sent to its client.

They accept what RFC 9112 lets a sender generate and nothing else: a message that could be read in two ways is a fault
of its sender, also where a lenient reader would get along. Not here: sockets.
"""

import re

from model import Answer, Request

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-\"$-~]+) HTTP/(1\.[01])")
STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9][0-9])(?: ([\t -~\x80-\xff]*))?")
FIELD_LINE = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]*)?")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(:[0-9]*)?")
MOST_HEAD = 1 << 20


class Incomplete(Exception):
    """More bytes are needed."""


class Fault(Exception):
    """What was sent is not what a strict sender sends."""


def head_lines(data, at):
    """The lines of the head that begins at `at`, and where it ends. Lines end with CRLF."""
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        if len(data) - at > MOST_HEAD:
            raise Fault("a head of more than 1 MiB")
        raise Incomplete
    return bytes(data[at:end]).split(b"\r\n"), end + 4


def read_fields(lines):
    fields = []
    for line in lines:
        found = FIELD_LINE.fullmatch(line)
        if not found:
            raise Fault(f"a field line that no strict sender sends: {line[:80]!r}")
        fields.append((found[1].decode().lower(), found[2].decode("latin-1")))
    return fields


def framing_of(fields):
    """(`length`, n), (`chunked`, 0) or (`none`, 0); a Fault if the fields can be read in two ways."""
    lengths = [value for name, value in fields if name == "content-length"]
    codings = [value for name, value in fields if name == "transfer-encoding"]
    if lengths and codings:
        raise Fault("Content-Length beside Transfer-Encoding")
    if len(codings) > 1 or any(coding.lower() != "chunked" for coding in codings):
        raise Fault(f"Transfer-Encoding {codings}")
    if len(lengths) > 1 or any(not re.fullmatch("[0-9]{1,18}", length) for length in lengths):
        raise Fault(f"Content-Length {lengths}")
    if codings:
        return "chunked", 0
    return ("length", int(lengths[0])) if lengths else ("none", 0)


def read_chunks(data, at, message):
    """Reads a chunked body into `message`; gives where it ends."""
    message.body = b""
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            if len(data) - at > 64 << 10:
                raise Fault("a chunk's size line of more than 64 KiB")
            raise Incomplete
        line = bytes(data[at:line_end])
        found = CHUNK_LINE.fullmatch(line)
        if not found:
            raise Fault(f"a chunk's size line that no strict sender sends: {line[:60]!r}")
        size, at = int(found[1], 16), line_end + 2
        if size == 0:
            break
        message.body += bytes(data[at:at + size])
        if len(data) < at + size + 2:
            raise Incomplete
        if data[at + size:at + size + 2] != b"\r\n":
            raise Fault("no CRLF behind a chunk's data")
        at += size + 2
    if data[at:at + 2] == b"\r\n":
        return at + 2
    lines, end = head_lines(data, at)
    message.trailers = read_fields(lines)
    return end


def read_request_head(data, at):
    """The request whose head begins at `at`, and where the head ends."""
    lines, end = head_lines(data, at)
    found = REQUEST_LINE.fullmatch(lines[0])
    if not found:
        raise Fault(f"a request line that no strict sender sends: {lines[0][:120]!r}")
    request = Request(found[1].decode(), found[2].decode(), head=bytes(data[at:end]), version=found[3].decode())
    request.fields = read_fields(lines[1:])
    request.framing = framing_of(request.fields)
    return request, end


def faults_of(request):
    """What a strict sender would not send, though its framing is clear."""
    hosts = request.values("host")
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        yield f"Host {hosts}"
    if not request.target.startswith(("/", "http://")) and (request.method, request.target) != ("OPTIONS", "*"):
        yield f"a target that is no path: {request.target[:80]!r}"
    options = [option.strip().lower() for value in request.values("connection") for option in value.split(",")]
    for option in options:
        if option not in ("", "close", "keep-alive", "te", "upgrade"):
            yield f"Connection, which still names {option!r}"
    if ("upgrade" in options) != bool(request.values("upgrade")):
        yield "Upgrade without its connection option, or the other way round"
    if request.values("te") and ("te" not in options or request.values("te") != ["trailers"]):
        yield f"TE {request.values('te')} with Connection {options}"


def read_request_body(data, at, request):
    """Reads the body into `request`; gives where it ends."""
    kind, length = request.framing
    if kind == "chunked":
        end = read_chunks(data, at, request)
    else:
        request.body = bytes(data[at:at + length])
        if len(data) < at + length:
            raise Incomplete
        end = at + length
    request.complete = True
    return end


def read_answers(connection, asked):
    """Reads all of `connection.raw` anew: fills in answers, faults, and what is left over."""
    data, at = connection.raw, 0
    connection.answers, connection.faults, connection.left = [], [], b""
    current = None
    try:
        while at < len(data):
            begin, current = at, current or Answer()
            method = asked[len(connection.answers)] if len(connection.answers) < len(asked) else ""
            at = read_answer(data, at, current, method, connection)
            if 100 <= current.status < 200 and current.status != 101:
                current = Answer(interim=[*current.interim, current.status])
                continue
            connection.answers.append(current)
            if current.status == 101 or (method == "CONNECT" and current.status < 300):
                break
            current = None
    except Incomplete:
        if current and current.status and not current.complete:
            connection.answers.append(current)
            at = len(data)
        else:
            at = begin
    except Fault as fault:
        connection.faults.append(str(fault))
        if current and current.status:
            connection.answers.append(current)
    if current and current.interim and not current.status:
        connection.answers.append(current)
    connection.left = bytes(data[at:])


def read_answer(data, at, answer, method, connection):
    """Reads one answer; gives where it ends."""
    lines, at = head_lines(data, at)
    found = STATUS_LINE.fullmatch(lines[0])
    if not found:
        raise Fault(f"a status line that no strict sender sends: {lines[0][:80]!r}")
    answer.version, answer.status = found[1].decode(), int(found[2])
    answer.fields = read_fields(lines[1:])
    kind, length = framing_of(answer.fields)
    bodyless = answer.status < 200 or answer.status in (204, 304)
    if bodyless and answer.status != 304 and (kind == "chunked" or (answer.status < 200 and kind != "none")):
        raise Fault(f"a {answer.status} with {kind} framing")
    if bodyless or method == "HEAD":
        answer.complete, answer.framing = True, "none"
        return at
    answer.framing = kind if kind != "none" else "close"
    if kind == "chunked":
        at = read_chunks(data, at, answer)
    elif kind == "length":
        answer.body = bytes(data[at:at + length])
        at += length
        if len(data) < at:
            raise Incomplete
    else:
        answer.body = bytes(data[at:])
        at = len(data)
        if connection.end != "closed":
            raise Incomplete
    answer.complete = True
    return at
