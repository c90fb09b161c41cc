"""One path and one host, judged and passed on: `/admin` and `secret.test` are forbidden however they are spelled.

CWE-22, CWE-647; RFC 3986 sections 3.3 and 6.2, RFC 9110 section 4.2.3. A spelling that some worker would take for
/admin must be refused (403 or 400) or reach the worker as what it was judged as.
"""

from model import Table
from outcomes import A, W, answered, passed
from spelling import get, head

CASES = case = Table("rules")

REFUSED = answered(A((400, 403, 404, 421)), worker=0)

case("plain", "high", "rule", get(b"/admin/x"), answered(A(403), worker=0))
case("folder", "high", "rule", get(b"/admin"), answered(A(403), worker=0))
case("query", "high", "rule", get(b"/admin/x?y"), answered(A(403), worker=0))
case("other", "high", "rule", get(b"/public/x"), passed(W(target="/public/x")))
case("in-query", "medium", "RFC 3986 3.4", get(b"/public?/admin/x"), passed(W(target="/public?/admin/x")), "a query is no path")
for name, path in (
    ("double-slash", b"//admin/x"), ("triple-slash", b"///admin///x"), ("dot-segment", b"/./admin/x"),
    ("dot-dot", b"/public/../admin/x"),
    ("dot-dot-top", b"/../admin/x"), ("dot-dot-end", b"/admin/x/.."), ("encoded-letter", b"/%61dmin/x"),
    ("encoded-letters", b"/%61%64%6d%69%6e/x"),
    ("encoded-dot", b"/%2e/admin/x"), ("encoded-dot-dot", b"/public/%2e%2e/admin/x"),
    ("half-encoded-dots", b"/public/.%2E/admin/x"),
    ("encoded-slash", b"/public%2f..%2fadmin/x"), ("encoded-slash-front", b"/%2fadmin/x"),
    ("encoded-slash-behind", b"/admin%2fx"),
    ("backslash", b"/public\\..\\admin/x"), ("encoded-backslash", b"/public%5c..%5cadmin/x"),
    ("backslash-front", b"/\\admin/x"),
    ("parameters", b"/admin;a=b/x"), ("parameter-dot-dot", b"/public/..;/admin/x"), ("parameter-front", b"/;/admin/x"),
    ("nul", b"/admin%00/x"), ("nul-behind", b"/public/%00/../../admin/x"), ("double-encoded", b"/%2561dmin/x"),
    ("double-encoded-dots", b"/public/%252e%252e/admin/x"), ("overlong", b"/public/%c0%ae%c0%ae/admin/x"),
    ("tab-encoded", b"/admin%09/x"),
    ("line-encoded", b"/admin%0d%0a/x"), ("blank-encoded", b"/admin%20/x"), ("fragment-encoded", b"/admin%23/x"),
    ("question-encoded", b"/admin%3f/x"), ("dot-behind", b"/admin./x"), ("many-dot-dot", b"/a/b/c/../../../admin/x"),
    ("dot-dot-empty-segment", b"/public//../../admin/x"), ("fullwidth", "/\uff0fadmin/x".encode()),
    ("percent-u", b"/%u0061dmin/x"),
    ("encoded-upper-lower", b"/%61DMIN/x"),
):
    doubtful = name in ("double-encoded", "double-encoded-dots", "overlong", "tab-encoded", "blank-encoded", "fragment-encoded",
        "question-encoded",
                        "dot-behind", "percent-u", "encoded-upper-lower", "line-encoded", "fullwidth", "parameters")
    other = {
        "double-encoded": ("/%2561dmin/x",), "double-encoded-dots": ("/public/%252e%252e/admin/x",),
        "overlong": ("/public/%c0%ae%c0%ae/admin/x", "/public/%C0%AE%C0%AE/admin/x"),
        "tab-encoded": ("/admin%09/x",), "blank-encoded": ("/admin%20/x",), "fragment-encoded": ("/admin%23/x",),
        "question-encoded": ("/admin%3f/x", "/admin%3F/x"),
        "dot-behind": ("/admin./x",), "encoded-upper-lower": ("/aDMIN/x",),
        "line-encoded": ("/admin%0d%0a/x", "/admin%0D%0A/x"),
        "encoded-upper-lower": ("/aDMIN/x",), "dot-dot-end": ("/admin/",),
        "dot-dot-empty-segment": ("/public/admin/x",), "nul-behind": (),
    }.get(name, ())
    ways = (REFUSED, *((passed(W(target=other)),) if other and name != "dot-dot-end" else ()))
    case(name, "medium" if doubtful else "high", "CWE-22, CWE-647, RFC 3986 6.2",
        head(b"GET " + path + b" HTTP/1.1", b"Host: a.test"), ways,
         "judged as the worker may read it")
case("absolute", "high", "RFC 9112 3.2.2", head(b"GET http://a.test/admin/x HTTP/1.1", b"Host: a.test"), REFUSED)
case("absolute-dot-dot", "high", "RFC 9112 3.2.2", head(b"GET http://a.test/public/../admin/x HTTP/1.1", b"Host: a.test"),
    REFUSED)
for name, path, wanted in (
    ("canonical-dots", b"/a/./b/../c", "/a/c"), ("canonical-slashes", b"/a//b", ("/a/b", "/a//b")),
    ("canonical-letters", b"/%7Euser/%41", ("/~user/A",)),
    ("canonical-kept", b"/a%20b/%C3%A4", ("/a%20b/%C3%A4", "/a%20b/%c3%a4")), ("canonical-trailing", b"/a/b/", "/a/b/"),
    ("canonical-trailing-dot", b"/a/b/.", "/a/b/"),
):
    case(name, "low", "RFC 3986 6.2.2", get(path), passed(W(target=wanted)), "what was judged is what goes on")

HOSTS = ((b"secret.test", "host"), (b"SECRET.test", "host-case"), (b"secret.test:80", "host-port"),
    (b"secret.test:", "host-empty-port"),
         (b"secret.test.", "host-dot"), (b"secret.test.:80", "host-dot-port"))
for host, name in HOSTS:
    case(name, "high", "RFC 9110 4.2.3, RFC 3986 3.2.2", head(b"GET /x HTTP/1.1", b"Host: " + host), REFUSED,
        "the same host in another spelling")
case("host-absolute", "high", "RFC 9112 3.2.2", head(b"GET http://secret.test/x HTTP/1.1", b"Host: a.test"), REFUSED,
    "the target wins, or it is refused")
case("host-absolute-other", "high", "RFC 9112 3.2.2", head(b"GET http://a.test/x HTTP/1.1", b"Host: secret.test"),
     (REFUSED, passed(W(target=("/x", "http://a.test/x"), have={"host": "a.test"}))))
case("host-forwarded", "high", "rule", get(b"/x", b"X-Forwarded-Host: secret.test"), passed(W()),
    "nobody's word but the request's")
