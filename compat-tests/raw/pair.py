"""How the raw-frame tests configure and start their servers."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import servers  # noqa: E402

# Extended types (TTL nodes) and the super user are on, as a server that uses them all would be;
# 60 connections an address are too few for the tests that open many.
CONFIG = {"tickTime": 2000, "4lw.commands.whitelist": "*", "extendedTypesEnabled": "true",
          "maxClientCnxns": 0, "admin.enableServer": "false",
          "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="}

KINDS = ("stock", "zkd")


class Missing(Exception):
    """There is no zkd to test."""


def make_server(kind, workdir, config=None, props=None):
    if kind == "zkd" and servers.zkd_program() is None:
        raise Missing("zkd is not built")
    merged = dict(CONFIG)
    merged.update(config or {})
    return servers.make(kind, workdir, config=merged, props=props).start()
