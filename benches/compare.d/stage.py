"""What stands on loopback while a comparison runs: the origins, the proxies, their ports, files and configurations."""

import hashlib
import pathlib
import re
import tempfile

import certificates
import checks
import loads
import peers
import programs
import scenes
from peers import ORIGIN, PEERS, WEIGHTS

HERE = pathlib.Path(__file__).resolve().parent
BODIES_MIB = (1, 100)


class Stage:
    """Starts what a scene needs. All of it ends with `stack`, or with the one given to `proxy`."""

    def __init__(self, options, paths, stack):
        self.options = options
        self.paths = paths
        self.stack = stack
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="buckler-compare-")))
        # nginx reads as another user, if it is started by root.
        self.folder.chmod(0o755)
        self.ca = None
        self.origins = {}

    def origin(self, drained):
        """nginx with answers and large files, or the one that takes uploads; started when it is first wanted."""
        if drained not in self.origins:
            ports = dict(zip(WEIGHTS, programs.free_ports(len(WEIGHTS))))
            server = programs.Server("drain" if drained else "origin", ports["worker1"], self.folder)
            if drained:
                listen = ",".join(f"127.0.0.1:{port}" for port in ports.values())
                command = [self.paths["load"], "drain", "--listen", listen]
            else:
                self.make_bodies()
                command = self.configured(ORIGIN, "origin", {"clear"}, {**ports, "folder": self.folder, "answer": "x" * peers.ANSWER_BYTES})
            self.stack.callback(server.stop)
            server.start(programs.pinned(self.options.pin_load, command))
            self.origins[drained] = server, ports
        return self.origins[drained]

    def make_bodies(self):
        """The files of the scenes with large bodies: as long as they say, without a block on the disk."""
        (self.folder / "bodies").mkdir()
        for mib in BODIES_MIB:
            with (self.folder / "bodies" / str(mib)).open("wb") as file:
                file.truncate(mib * loads.MIB)

    def proxy(self, peer, name, scene, threads, stack, quota=None):
        """A proxy with the configuration of a scene, once its port answers."""
        _, workers = self.origin(scene.drained)
        port, admin = programs.free_ports(2)
        callers = scene.load.callers if isinstance(scene.load, loads.Wrk) else 1
        values = {
            **workers, **(quota or scene.quota), "name": name, "port": port, "admin": admin, "folder": self.folder, "threads": threads,
            "key_sha256": sha256(loads.KEY), "others": others(callers), "access_log": self.access_log(peer, name),
            "refusal": 403 if scene.outcome == scenes.REFUSED_BY_RULE else 429,
        }
        if "tls" in scene.flags:
            self.authority()
        command = self.configured(peer, name, scene.flags, values)
        server = programs.Server(name, port, self.folder)
        stack.callback(server.stop)
        server.start(programs.pinned(self.options.pin_proxy, command))
        return server

    def configured(self, peer, name, flags, values):
        """The command of a peer, with its configuration written."""
        config = self.folder / f"{name}-{peer.template}"
        if peer.template:
            config.write_text(peers.filled_in((HERE / peer.template).read_text(), flags, values))
        return peers.command(peer, self.paths[peer.program or peer.name], config, {"port": 0, "threads": 1, "refusal": 0, **values})

    def access_log(self, peer, name):
        """Where a proxy's access log goes; HAProxy writes none but to its standard output, which Server keeps."""
        return self.folder / (f"{name}.log" if peer is PEERS["haproxy"] else f"{name}-access.log")

    def authority(self):
        """The CA of the proxies' certificate, made when it is first wanted."""
        if not self.ca:
            self.ca = str(certificates.make(self.paths["openssl"], self.folder))
        return self.ca

    def door(self, server, scene):
        """Where this proxy is asked in this scene."""
        return checks.Door(server.name, server.port, loads.KEY, self.authority() if "tls" in scene.flags else "")


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def others(callers):
    """The further callers of a scene, as lines of Buckler's configuration; their keys are those of report.lua."""
    lines = (f'other-{i}: {{ api_keys: ["sha256:{sha256(f"{loads.KEY}-{i}")}"] }}' for i in range(1, callers))
    return "\n    ".join(lines)
