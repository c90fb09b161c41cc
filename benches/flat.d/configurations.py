"""The configurations of `flat` and `flood`: one service with everything on, and then one thing of which there are many."""

import hashlib

# A file that Buckler reads has at most 8 MiB: larger sets are written in parts, which `include` joins.
CALLERS_A_FILE = 20_000
SERVICES_A_FILE = 100
# Far above what a machine can ask, so that nobody is refused.
HIGH = "rate: 1000000/s, burst: 1000000"


def address(number):
    """The number-th of many loopback addresses: 127.16.0.1 and on."""
    number += 1
    return f"127.{16 + number // 65536}.{number // 256 % 256}.{number % 256}"


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


def head(admin, threads=1, max_keys=None, include=()):
    """What every configuration begins with."""
    lines = [f"threads: {threads}", f"admin: {{ listen: 127.0.0.1:{admin} }}", 'access_log: { format: "off" }']
    if include:
        lines.append("include: [" + ", ".join(f'"{name}"' for name in include) + "]")
    lines += ["callers:", "  trusted_proxies: [127.0.0.0/8]", "  api_key: { unknown: anonymous }"]
    if max_keys:
        lines.append(f"  ledger: {{ max_keys: {max_keys} }}")
    return lines


def known(count):
    """So many callers with a key each: `key-0` and on."""
    return [f'    caller-{n}: {{ api_keys: ["sha256:{digest(f"key-{n}")}"] }}' for n in range(count)]


def service(name, listen, workers, rules=(), agreements=(), quota=HIGH):
    """A service with all that a request can be asked for."""
    lines = [f"  {name}:", f"    listen: {listen}", "    workers:", "      addresses:"]
    lines += [f"        - {worker}" for worker in workers]
    lines += ["    capacity: { concurrent: 10000 }", "    permissions:", "      default: allow", "      rules:"]
    lines += [f"        - {rule}" for rule in (*rules, "{ deny: { methods: [DELETE] } }")]
    lines += ["    limits:", f"      default: {{ {quota}, concurrent: 1000 }}", f"      total: {{ {HIGH} }}"]
    if agreements:
        lines.append("      agreements:")
        lines += [f"        - {agreement}" for agreement in agreements]
    return lines


def agreements(numbers):
    """One with each of these callers."""
    return [f'{{ caller: caller-{n}, {HIGH}, owner: "team {n % 97}" }}' for n in numbers]


def rules(count):
    """So many rules that fit no request of the load, of every kind in turn: by path, by caller and method, by host."""
    kinds = (
        lambda n: f'{{ deny: {{ paths: ["/v1/private-{n}/**"] }}, reason: "not public" }}',
        lambda n: f'{{ deny: {{ callers: ["address:10.0.{n // 256}.{n % 256}"], methods: [GET, POST] }} }}',
        lambda n: f'{{ deny: {{ hosts: ["host-{n}.example.test"], paths: ["/**"] }} }}',
        lambda n: f'{{ deny: {{ paths: ["/v1/tracks/{n + 100}"], methods: [GET] }}, mode: shadow }}',
    )
    return [kinds[n % len(kinds)](n) for n in range(count)]


def large(folder, name, admin, listen_port, worker, services, agreed, threads, mark=""):
    """Writes a configuration with many services and agreements, in several files; gives the first one's path.

    Each of the `agreed` callers has an agreement with one service. `mark` makes another text of the same size."""
    parts = []

    def write(file, lines):
        (folder / file).write_text("\n".join(lines) + "\n")
        parts.append(file)

    callers = known(agreed)
    for at in range(0, agreed, CALLERS_A_FILE):
        write(f"{name}-callers-{at}.yaml", ["callers:", "  known:", *callers[at:at + CALLERS_A_FILE]])
    each = -(-agreed // services)
    for at in range(0, services, SERVICES_A_FILE):
        lines = ["services:"]
        for n in range(at, min(at + SERVICES_A_FILE, services)):
            its = agreements(range(n * each, min((n + 1) * each, agreed)))
            lines += service(f"service-{n}", f"{address(n)}:{listen_port}", [worker], rules(3), its)
        write(f"{name}-services-{at}.yaml", lines)
    path = folder / f"{name}.yaml"
    path.write_text("\n".join([*head(admin, threads, include=parts), f"# {mark}"]) + "\n")
    return path
