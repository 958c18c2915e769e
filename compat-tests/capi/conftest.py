"""Libraries to compile the programs of this folder against: the C client of stock, and ours."""
import os

import pytest

from harness import cache
from libraries import HERE, Library


@pytest.fixture(scope="session")
def stock():
    folder = cache.debian_c_client()
    return Library("stock", [f"-I{folder}/include", f"-I{folder}/include/zookeeper"],
                   lambda form: [f"-L{folder}/lib", f"-lzookeeper_{form}"],
                   {**os.environ, "LD_LIBRARY_PATH": f"{folder}/lib"})


@pytest.fixture(scope="session")
def static_stock(stock):
    """The archive holds more than the shared library shows."""
    folder = cache.debian_c_client()
    return Library("static", stock.headers,
                   lambda form: [folder / "lib" / f"libzookeeper_{form}.a"], stock.env)


@pytest.fixture(scope="session")
def ours():
    folder = cache.c_compat()
    return Library("ours", [f"-I{folder}/include", *cache.SANITIZED],
                   lambda form: [folder / f"libzookeeper_{form}.a"], dict(os.environ))


@pytest.fixture(scope="session")
def relinked(stock, ours):
    """What was compiled with the headers of stock and is linked with ours."""
    return Library("relinked", [*stock.headers, *cache.SANITIZED], ours.libraries, ours.env)


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Compiles a program, once: programs(name, form, library)."""
    folder = tmp_path_factory.mktemp("programs")

    def program(name, form, library):
        out = folder / f"{name}-{form}-{library.name}"
        if not out.exists():
            library.compile(HERE / f"{name}.c", out, form)
        return out
    return program
