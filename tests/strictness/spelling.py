"""Requests spelled out as bytes, for the tables. What a case is about stands in the table; what is usual, here."""

HOST = b"Host: a.test\r\n"
AFTER = b"GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n"
HELLO_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def head(line, *fields):
    """A head of this request line and these field lines; each ends with CRLF."""
    return b"".join(part + b"\r\n" for part in (line, *fields, b""))


def get(target=b"/x", *fields, method=b"GET"):
    return head(method + b" " + target + b" HTTP/1.1", b"Host: a.test", *fields)


def post(fields, body, target=b"/x", method=b"POST"):
    """A request with these field lines, as they are, and this body, as it is."""
    fields = fields if isinstance(fields, (tuple, list)) else (fields,)
    return head(method + b" " + target + b" HTTP/1.1", b"Host: a.test", *fields) + body


def chunked(body, target=b"/x"):
    """A POST whose chunked body is these bytes."""
    return post(b"Transfer-Encoding: chunked", body, target)


def answer(status=b"200 OK", *fields, body=b""):
    """An answer of a worker: status line, field lines, body, as they are."""
    return head(b"HTTP/1.1 " + status, *fields) + body
