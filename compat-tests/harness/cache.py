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

TESTS = Path(__file__).resolve().parent.parent
DRIVERS = TESTS / "drivers"
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


class Unavailable(Exception):
    """Something the tests cannot do without could not be had."""


def root() -> Path:
    home = Path(os.environ.get("HOME", "/tmp"))
    return Path(os.environ.get("ZK_TEST_CACHE") or home / ".cache" / "zk-compat")


def _stamp(sources) -> str:
    digest = hashlib.sha256()
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


def _piece(name, sources, build) -> Path:
    """The directory of one cached piece, built by build(directory) when it is not there."""
    target = root() / f"{name}-{_stamp(sources)}"
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


def debian_classpath() -> str:
    """Class path of the stock server 3.8.0 as Debian packages it. What it stands on comes from
    the jars above, and before its own, whose manifest names those of the machine."""
    name = "libzookeeper-java"

    def build(work):
        try:
            _run(f"Debian's {name}", ["apt-get", "download", name], cwd=work)
        except Unavailable:     # no lists of packages, or old ones: fetch them for this one time
            options = [f"-oDir::State::lists={work}/lists", f"-oDir::Cache={work}/cache"]
            (work / "lists" / "partial").mkdir(parents=True)
            (work / "cache" / "archives" / "partial").mkdir(parents=True)
            _run("Debian's lists of packages", ["apt-get", *options, "update"], cwd=work)
            _run(f"Debian's {name}", ["apt-get", *options, "download", name], cwd=work)
        found = list(work.glob(f"{name}_3.8.0-*.deb"))
        if not found:
            raise Unavailable(f"Debian's {name}: apt has another version than 3.8.0")
        _run(f"Debian's {name}", ["dpkg-deb", "-x", found[0], work / "root"])
        (work / "lib").mkdir()
        for jar in ("zookeeper.jar", "zookeeper-jute.jar"):
            shutil.copy(work / "root" / "usr" / "share" / "java" / jar, work / "lib" / jar)
        for folder in ("root", "lists", "cache"):
            shutil.rmtree(work / folder, ignore_errors=True)
    jars = [jar for jar in sorted(java_jars().glob("*.jar"))
            if not jar.name.startswith("zookeeper-")]
    ours = _piece("debian-3.8.0", [], build) / "lib"
    return os.pathsep.join(str(jar) for jar in [*jars, *sorted(ours.glob("*.jar"))])


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


def prepare():
    java_jars()
    java_driver()
    go_driver()


if __name__ == "__main__":
    try:
        prepare()
    except Unavailable as problem:
        sys.exit(f"compat-tests: cannot prepare: {problem}")
