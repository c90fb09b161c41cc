"""The peers of `flat`'s scene `workers`: what the same number of workers costs others, each with a kept connection to every one.

Each has an origin of its own, since one process may hold no more than one program's ten thousand connections.
"""

import pathlib
import re

import configurations
import programs

HERE = pathlib.Path(__file__).resolve().parent
# The longest word of a command line is 128 KiB: so many addresses go into one.
ADDRESSES_A_WORD = 1_000


def workers(count, port):
    """So many workers: one origin by as many addresses."""
    return [f"{configurations.address(n)}:{port}" for n in range(count)]


def pump(bench):
    """benches/pump.rs: the floor. It knows nothing but bytes, and has to do what any proxy must that goes to another worker each time."""

    class Pump(bench):
        def start(self, flat, name, variant, stack):
            origin = flat.start_origin(f"{name}-{variant.size}-origin", stack)
            addresses = workers(variant.workers, origin.port)
            parts = [addresses[at:at + ADDRESSES_A_WORD] for at in range(0, len(addresses), ADDRESSES_A_WORD)]
            said = [word for part in parts for word in ("--workers", ",".join(part))]
            return begun(flat, f"{name}-{variant.size}", self, stack, [flat.paths["pump"], "--listen", self.listen, "--by-turns", *said])

    return Pump


def nginx(bench):
    """nginx with a server for each worker and room for as many kept connections."""

    class Nginx(bench):
        def start(self, flat, name, variant, stack):
            name = f"{name}-{variant.size}"
            origin = flat.start_origin(f"{name}-origin", stack)
            servers = " ".join(f"server {worker};" for worker in workers(variant.workers, origin.port))
            # With one worker each client needs a connection to it.
            values = {"name": name, "folder": flat.folder, "port": self.port, "servers": servers, "keepalive": max(variant.workers, 64)}
            config = flat.folder / f"{name}.conf"
            text = (HERE / "nginx.conf").read_text()
            config.write_text(re.sub(r"@(\w+)@", lambda found: str(values[found[1]]), text))
            return begun(flat, name, self, stack, [flat.paths["nginx"], "-e", "stderr", "-c", str(config)])

    return Nginx


def begun(flat, name, bench, stack, command):
    server = programs.Server(name, bench.port, flat.folder)
    stack.callback(server.stop)
    server.start(command)
    return server


PEERS = {"pump": pump, "nginx": nginx}
