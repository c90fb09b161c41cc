"""The scenes: what traffic each is, who takes part, and what Buckler must come to in it."""

from dataclasses import dataclass, field

from goals import BEST, Goal
from loads import Bodies, H2load, Handshakes, Rate, Wrk

HIGH_QUOTA = {"rate": 1_000_000, "burst": 1_000_000}
LOW_QUOTA = {"rate": 1, "burst": 1}
TRACK = "/v1/tracks/42"

PASSED, REFUSED_BY_RATE, REFUSED_BY_RULE, ENDED = "passed", "refused by rate", "refused by rule", "ended"


@dataclass(frozen=True)
class Scene:
    """One kind of traffic.

    `outcome`: what every answer must be. `needs`: what a peer must be able to do to take part. `flags`: lines of the
    templates that stand only here. `drained`: the origin is the one that takes uploads. `direct`: the load also runs at
    the origin, with no proxy between. `shards`: each proxy once with each of these numbers of threads.
    """

    name: str
    about: str
    load: object
    goals: tuple
    path: str = TRACK
    quota: dict = field(default_factory=lambda: HIGH_QUOTA)
    outcome: str = PASSED
    needs: frozenset = frozenset({"carry"})
    flags: frozenset = frozenset({"clear"})
    drained: bool = False
    direct: bool = False
    shards: tuple = ()
    only: tuple = ()


def bodies(size, mib, connections):
    """A scene for each direction."""
    cpu = Goal("cpu_us", "nginx", at_most=1.00)
    flat = Goal("grown_mib", at_most=16)
    return (
        Scene(f"body-{size}-down", f"answers of {mib} MiB", Bodies(mib, False, connections), (cpu, flat),
              path=f"/bodies/{mib}", direct=True),
        Scene(f"body-{size}-up", f"requests of {mib} MiB", Bodies(mib, True, connections), (cpu, flat),
              path="/uploads", drained=True, direct=True),
    )


TO_NGINX = Goal("cpu_us", "nginx", at_most=0.90)
REFUSAL = (Goal("cpu_us", "nginx", at_most=0.85),)
TWO_SHARDS = (Goal("per_cpu_s", "buckler-1", at_least=0.95, subject="buckler-2"),)
TLS = {"needs": frozenset({"tls"}), "flags": frozenset({"tls"})}

SCENES = {
    scene.name: scene
    for scene in (
        Scene("get", "GET of 1 KiB by a caller far below its limit", Wrk(), (TO_NGINX, Goal("cpu_us", "pump", at_most=1.20)),
              direct=True),
        Scene("get-logged", "the same, with an access log, Buckler's in JSON", Wrk(), (TO_NGINX,), needs=frozenset({"log"}),
              flags=frozenset({"clear", "log", "json"}), direct=True),
        Scene("get-logged-combined", "the same, with an access log, Buckler's in nginx's format", Wrk(), (TO_NGINX,),
              flags=frozenset({"clear", "log", "combined"}), direct=True, only=("buckler", "nginx")),
        Scene("refused-rate", "GET by a caller over its limit of 1/s, answered 429", Wrk(), REFUSAL, quota=LOW_QUOTA,
              outcome=REFUSED_BY_RATE, needs=frozenset({"limit"})),
        Scene("refused-permission", "GET of what a rule forbids, answered 403", Wrk(), REFUSAL, path="/admin/keys",
              outcome=REFUSED_BY_RULE, needs=frozenset({"rules"})),
        Scene("refused-rate-told", "refused-rate, where nginx says as much of it as Buckler", Wrk(), REFUSAL, quota=LOW_QUOTA,
              outcome=REFUSED_BY_RATE, flags=frozenset({"clear", "told"}), only=("buckler", "nginx")),
        Scene("refused-permission-told", "refused-permission, where nginx says as much of it as Buckler", Wrk(), REFUSAL,
              path="/admin/keys", outcome=REFUSED_BY_RULE, flags=frozenset({"clear", "told"}), only=("buckler", "nginx")),
        *bodies("1m", 1, 8),
        *bodies("100m", 100, 4),
        Scene("tls-handshakes", "full TLS 1.3 handshakes, ECDSA P-256, X25519, no resumption", Handshakes(),
              (Goal("per_cpu_s", "nginx", at_least=1.00),), outcome=ENDED, **TLS),
        Scene("tls-get", "GET of 1 KiB over TLS, HTTP/1.1 keep-alive", Wrk(tls=True), (Goal("cpu_us", "nginx", at_most=0.95),), **TLS),
        Scene("tls-h2", "GET of 1 KiB over TLS, HTTP/2", H2load(), (Goal("cpu_us", "haproxy", at_most=1.00),), **TLS),
        Scene("latency", "GET of 1 KiB at half the load that the slowest proxy bears", Rate(),
              tuple(Goal(f"added_{quantile}_us", BEST, at_most=1.05) for quantile in ("p50", "p99", "p999")), direct=True),
        Scene("two-shards", "GET of 1 KiB by 64 callers, with one thread (-1) and with two (-2)", Wrk(callers=64), TWO_SHARDS,
              shards=(1, 2), only=("buckler", "nginx")),
        Scene("two-shards-one-caller", "GET of 1 KiB by one caller, with one thread (-1) and with two (-2)", Wrk(), TWO_SHARDS,
              shards=(1, 2), only=("buckler", "nginx")),
    )
}

# One of each kind of load, for tests/run.
SMOKE = ("get-logged", "get-logged-combined", "refused-permission", "refused-rate-told", "body-1m-up", "tls-handshakes", "tls-h2", "latency", "two-shards")
