"""What the tests need from outside, fetched once and kept out of the repository.

Everything lives in ${ZK_TEST_CACHE:-~/.cache/zk-compat}, each piece in a directory whose name
carries a hash of the files it is made from: a changed pin or driver source builds anew, an
unchanged one costs nothing. A piece is built in a temporary directory and renamed into place, so
that an interrupted build never looks finished and two runs may build at once.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import native

TESTS = Path(__file__).resolve().parent.parent
DRIVERS = TESTS / "drivers"
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


class Unavailable(Exception):
    """Something the tests cannot do without could not be had."""


def root() -> Path:
    home = Path(os.environ.get("HOME", "/tmp"))
    return Path(os.environ.get("ZK_TEST_CACHE") or home / ".cache" / "zk-compat")


def _stamp(sources, settings="") -> str:
    digest = hashlib.sha256(settings.encode())
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _run(what, argv, **kwargs):
    """Run a build step; its output is shown only when it fails."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    except FileNotFoundError:
        raise Unavailable(f"{what}: the program '{argv[0]}' is not installed") from None
    if done.returncode != 0:
        output = done.stdout.decode(errors="replace")
        raise Unavailable(f"{what}: '{argv[0]}' failed with {done.returncode}\n{output}")


def _piece(name, sources, build, settings="") -> Path:
    """The directory of one cached piece, built by build(directory) when it is not there."""
    target = root() / f"{name}-{_stamp(sources, settings)}"
    if target.is_dir():
        return target
    root().mkdir(parents=True, exist_ok=True)
    print(f"preparing {name} ...", file=sys.stderr, flush=True)
    work = Path(tempfile.mkdtemp(prefix=f"tmp-{name}-", dir=root()))
    try:
        build(work)
        try:
            work.rename(target)
        except OSError:
            if not target.is_dir():     # otherwise another run finished the same piece first
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def java_jars() -> Path:
    """Directory of jars: the stock server with its run-time class path, the client, Curator."""
    pom = DRIVERS / "java" / "pom.xml"

    def build(work):
        shutil.copy(pom, work / "pom.xml")
        _run("stock ZooKeeper from Maven Central",
             ["mvn", "-B", COPY_DEPENDENCIES, f"-DoutputDirectory={work}/lib",
              "-DincludeScope=runtime", "-Dmdep.copyPom=false"], cwd=work)
    return _piece("jars", [pom], build) / "lib"


def java_classpath() -> str:
    return f"{java_jars()}/*"


def _debian(work, *names):
    """Unpacks Debian packages into work/root; root's rights are not needed."""
    def download(*options):
        _run(f"Debian's {' '.join(names)}", ["apt-get", *options, "download", *names], cwd=work)
    try:
        download()
    except Unavailable:     # no lists of packages, or old ones: fetch them for this one time
        options = [f"-oDir::State::lists={work}/lists", f"-oDir::Cache={work}/cache"]
        (work / "lists" / "partial").mkdir(parents=True)
        (work / "cache" / "archives" / "partial").mkdir(parents=True)
        _run("Debian's lists of packages", ["apt-get", *options, "update"], cwd=work)
        download(*options)
        for folder in ("lists", "cache"):
            shutil.rmtree(work / folder)
    for package in work.glob("*.deb"):
        _run(f"Debian's {package.name}", ["dpkg-deb", "-x", package, work / "root"])


def _check_3_8_0(work):
    for package in work.glob("libzookeeper-*.deb"):
        if "_3.8.0-" not in package.name:
            raise Unavailable(f"Debian's ZooKeeper: apt has {package.name} rather than 3.8.0")


def debian_classpath() -> str:
    """Class path of the stock server 3.8.0 as Debian packages it. What it stands on comes from
    the jars above, and before its own, whose manifest names those of the machine."""
    def build(work):
        _debian(work, "libzookeeper-java")
        _check_3_8_0(work)
        (work / "lib").mkdir()
        for jar in ("zookeeper.jar", "zookeeper-jute.jar"):
            shutil.copy(work / "root" / "usr" / "share" / "java" / jar, work / "lib" / jar)
        shutil.rmtree(work / "root")
    jars = [jar for jar in sorted(java_jars().glob("*.jar"))
            if not jar.name.startswith("zookeeper-")]
    ours = _piece("debian-3.8.0", [], build) / "lib"
    return os.pathsep.join(str(jar) for jar in [*jars, *sorted(ours.glob("*.jar"))])


def debian_c_client() -> Path:
    """A directory with the stock C client 3.8.0: include/zookeeper and lib, both of its forms,
    with threads (libzookeeper_mt) and without (libzookeeper_st)."""
    def build(work):
        _debian(work, "libzookeeper-mt-dev", "libzookeeper-mt2", "libzookeeper-st-dev",
                "libzookeeper-st2")
        _check_3_8_0(work)
        _gather(work)
    return _piece("debian-c-3.8.0", [], build)


def debian_c_shell() -> Path:
    """Stock's little shell on its C client, as Debian has compiled it."""
    def build(work):
        _debian(work, "zookeeper-bin")
        shutil.copy(work / "root" / "usr" / "lib" / "zookeeper" / "bin" / "cli_mt", work)
        shutil.rmtree(work / "root")
    return _piece("debian-c-shell", [], build) / "cli_mt"


def jansson() -> Path:
    """A directory with the C library for JSON: include and lib/libjansson.a."""
    def build(work):
        _debian(work, "libjansson-dev")
        _gather(work)
    return _piece("jansson", [], build)


def _gather(work):
    """Moves what a compiler needs of work/root to work/include and work/lib."""
    (work / "root" / "usr" / "include").rename(work / "include")
    (work / "lib").mkdir()
    for library in (work / "root" / "usr" / "lib").glob("*/lib*.*"):
        library.rename(work / "lib" / library.name)
    shutil.rmtree(work / "root")


def java_driver() -> Path:
    """Directory of the compiled Java driver classes."""
    sources = list((DRIVERS / "java").glob("*.java"))
    jars = java_classpath()

    def build(work):
        _run("Java driver", ["javac", "-nowarn", "-encoding", "UTF-8", "-cp", jars, "-d", work,
                             *sources])
    return _piece("driver-java", sources + [DRIVERS / "java" / "pom.xml"], build)


def go_driver() -> Path:
    """The Go driver program."""
    folder = DRIVERS / "go"
    sources = [*folder.glob("*.go"), folder / "go.mod", folder / "go.sum"]

    def build(work):
        _run("Go driver", ["go", "build", "-mod=readonly", "-o", f"{work}/driver", "."],
             cwd=folder)
    return _piece("driver-go", sources, build) / "driver"


def c_driver() -> Path:
    """The driver of zk.c itself. ZK_CLIENT_CFLAGS builds it otherwise, e.g. with sanitizers."""
    source = DRIVERS / "c" / "driver.c"
    flags = os.environ.get("ZK_CLIENT_CFLAGS", "-O1 -g")
    top, library = TESTS.parent, jansson()

    def build(work):
        _run("C driver", ["cc", "-std=c11", "-D_GNU_SOURCE", *flags.split(), "-pthread",
                          f"-I{top}", f"-I{library}/include", source,
                          native.library(flags.split()) / "zk.o",
                          library / "lib" / "libjansson.a", "-o", work / "driver"])
    return _piece("driver-c", [source, top / "zk.c", top / "zk.h"], build, flags) / "driver"


# For what runs inside the tests' own programs: what it does wrong shall be seen.
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def c_compat() -> Path:
    """A directory with our form of the stock C client, built with sanitizers: include/zookeeper,
    libzookeeper_mt.a and libzookeeper_st.a, each with zk.c inside. And without sanitizers, to take
    the place of stock's own under programs that exist: shared/libzookeeper_mt.so.2."""
    top = TESTS.parent
    headers = sorted((top / "examples" / "compat").glob("*.h"))
    sources = sorted((top / "examples" / "compat").glob("*.c"))

    def compile_one(source, out, *flags):
        _run("C client", ["cc", "-std=c11", *native.ASAN, *flags, "-pthread", f"-I{top}",
                          "-c", source, "-o", out])

    def build(work):
        (work / "include" / "zookeeper").mkdir(parents=True)
        for header in headers:
            shutil.copy(header, work / "include" / "zookeeper" / header.name)
        shutil.copy(native.library(native.ASAN) / "zk.o", work)
        for form, flags in (("mt", []), ("st", ["-DZOO_SINGLE_THREADED"])):
            for source in sources:
                compile_one(source, work / f"{source.stem}-{form}.o", *flags)
            _run("C client", ["ar", "rcs", work / f"libzookeeper_{form}.a", work / "zk.o",
                              *work.glob(f"*-{form}.o")])
        for out in work.glob("*.o"):
            out.unlink()
        (work / "shared").mkdir()
        _run("C client", ["cc", "-std=c11", "-O1", "-fPIC", "-shared", "-DZK_WITH_SERVER=0",
                          f"-I{top}", "-pthread", *sources, top / "zk.c",
                          "-Wl,-soname,libzookeeper_mt.so.2",
                          "-o", work / "shared" / "libzookeeper_mt.so.2"])
    return _piece("c-compat", [*headers, *sources, top / "zk.c", top / "zk.h"], build,
                  " ".join(native.ASAN))


def prepare():
    java_jars()
    java_driver()
    go_driver()
    c_driver()


if __name__ == "__main__":
    try:
        prepare()
    except Unavailable as problem:
        sys.exit(f"compat-tests: cannot prepare: {problem}")
