"""zkd on a disk that misbehaves, by means of ../disk/interpose.c."""
import os
import subprocess

from . import cache
from .servers import ZkdServer

SOURCE = cache.TESTS / "disk" / "interpose.c"


def build(folder):
    """The library to attach."""
    out = folder / "interpose.so"
    subprocess.run(["cc", "-std=c11", "-O1", "-shared", "-fPIC", SOURCE, "-o", out, "-ldl"],
                   check=True)
    return out


def over(group, folder):
    """From its start on, an ensemble of zkd has weather. folder: for the library."""
    library = build(folder)
    for sid, server in group.servers.items():
        group.servers[sid] = Weather(server.workdir, config=server.config, props=server.props,
                                     log_level="INFO").attach(library)


class Weather(ZkdServer):
    """zkd on a disk whose behaviour a test can change while it runs."""

    def attach(self, library):
        self.library = library
        self.rules, self.events_path = self.workdir / "rules", self.workdir / "events"
        self.fair()
        return self

    def _spawn_logged(self, argv, **kwargs):
        env = {**os.environ, "LD_PRELOAD": str(self.library), "INTERPOSE_RULES": str(self.rules),
               "INTERPOSE_LOG": str(self.events_path),
               # a zkd with sanitizers finds the library in front of them
               "ASAN_OPTIONS": "verify_asan_link_order=0"}
        return super()._spawn_logged(argv, env=env, **kwargs)

    def fair(self):
        self.set()

    def set(self, *rules):
        """rules: (call, part of the path, errno, delay ms, calls to spare, calls to hit)"""
        text = "".join(" ".join(map(str, rule)) + "\n" for rule in rules)
        fresh = self.rules.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.rules)

    def events(self):
        """[(ns, call, phase, path or fd, offset, size, result, bytes)]"""
        out = []
        for line in self.events_path.read_text().splitlines():
            ns, call, phase, what, off, size, result, *sent = line.split(" ")
            out.append((int(ns), call, phase, what, int(off), int(size), int(result),
                        bytes.fromhex(sent[0]) if sent else b""))
        return out
