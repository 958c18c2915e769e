"""The rules of the house: layers, purity, symbols, the amalgamation, and sizes.

src/rooms says which rooms there are, in layer order, and which of them are pure; src/shell stands
beside them and uses zk.h like any other program. Everything is checked on what the compilers make
of the sources, in a temporary directory; only the comparisons of zk.c and zkcli.c with src/ look at
generated files of the tree.
"""

import itertools
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
SRC = TOP / "src"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wvla",
          "-Werror", "-pthread"]
SWITCHES = ("ZK_WITH_SERVER", "ZK_WITH_CLIENT", "ZK_WITH_EPOLL")
FUNCTION_LINES, FILE_LINES, COLUMNS = 70, 1500, 100

# What a pure room may ask of the C library: nothing that reads or changes the world outside.
PURE_HEADERS = {"assert.h", "inttypes.h", "limits.h", "stdarg.h", "stdbool.h", "stddef.h",
                "stdint.h", "stdio.h", "stdlib.h", "string.h"}
PURE_SYMBOLS = {"memcpy", "memmove", "memset", "memcmp", "bcmp", "memchr", "strlen", "strcmp",
                "strncmp", "strchr", "strrchr", "strstr", "strspn", "strcspn", "snprintf",
                "vsnprintf", "qsort",
                "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
# base is where memory comes from and where a broken invariant ends; sum asks the processor.
EXTRA_HEADERS = {"base/sum": {"immintrin.h"}}
EXTRA_SYMBOLS = {"base/base": {"malloc", "realloc", "free", "abort", "stderr", "fprintf", "fwrite"},
                 "base/sum": {"__cpu_model"}}


def rooms():
    """[(name, "pure" or "host", "server", "client" or "both")] in layer order."""
    lines = (SRC / "rooms").read_text().splitlines()
    return [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#")]


ROOMS = rooms()
NAMES = [name for name, _, _ in ROOMS]
PURE = [name for name, kind, _ in ROOMS if kind == "pure"]


def sources():
    """The hand-written C of the product; zk.c and zkcli.c are generated."""
    return sorted([*SRC.glob("*/*.[ch]"), TOP / "zk.h", TOP / "zkd.c"])


def includes(path):
    """(system headers, own headers) that a file includes."""
    text = path.read_text()
    return (set(re.findall(r'^\s*#\s*include\s*<([^>]+)>', text, re.M)),
            set(re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M)))


def run(*argv, **kwargs):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **kwargs)
    assert done.returncode == 0, f"{' '.join(map(str, argv))}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def compilers():
    """gcc and clang; clang is installed when that is possible."""
    if not shutil.which("clang"):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            pytest.fail("clang is needed and not installed (apt-get install clang)")
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", "clang",
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    missing = [cc for cc in ("gcc", "clang") if not shutil.which(cc)]
    if missing:
        pytest.fail(f"needed and not installed: {', '.join(missing)}")
    return "gcc", "clang"


@pytest.fixture(scope="session")
def amalgamation(tmp_path_factory):
    """A directory with zk.c and zkcli.c as src/ makes them now, and zk.h."""
    folder = tmp_path_factory.mktemp("amalgamation")
    (folder / "zk.c").write_text(run("sh", "src/amalgamate", cwd=TOP))
    (folder / "zkcli.c").write_text(run("sh", "src/amalgamate", "shell", cwd=TOP))
    shutil.copy(TOP / "zk.h", folder)
    return folder


@pytest.fixture(scope="session")
def objects(tmp_path_factory, compilers):
    """{room: its object file}, from src/, with every internal symbol visible."""
    folder = tmp_path_factory.mktemp("objects")
    (folder / "prelude.h").write_text(run("sh", "src/amalgamate", "prelude", cwd=TOP))

    def compile_room(name):
        out = folder / (name.replace("/", "-") + ".o")
        run(compilers[0], "-std=c11", "-O2", "-fno-pic", "-fno-stack-protector", "-DZK_PRIVATE=",
            "-include", folder / "prelude.h", f"-I{SRC}", f"-I{TOP}", "-c", SRC / f"{name}.c",
            "-o", out)
        return name, out

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(compile_room, NAMES))


def symbols(path, *flags):
    """[(type letter, name)] of an object or archive."""
    lines = run("nm", *flags, path).splitlines()
    return [tuple(line.split()[-2:]) for line in lines if line and not line.endswith(":")]


# --- rooms and layers ---

def test_every_file_belongs_to_a_room():
    files = {str(path.relative_to(SRC).with_suffix("")) for path in SRC.glob("*/*")
             if path.parent.name != "shell"}
    assert files == set(NAMES)
    for name, kind, part in ROOMS:
        assert (SRC / f"{name}.c").exists() and (SRC / f"{name}.h").exists(), name
        assert kind in ("pure", "host") and part in ("server", "client", "both"), name
    kinds = [kind for _, kind, _ in ROOMS]
    assert kinds == sorted(kinds, reverse=True), "a pure room stands below a host room"
    folders = [name.split("/")[0] for name in NAMES]
    assert len(list(itertools.groupby(folders))) == len(set(folders)), "a folder is split"


@pytest.mark.parametrize("name", NAMES)
def test_includes_go_up(name):
    """A header includes rooms above; a body also other rooms of its folder, and zk.h."""
    above = NAMES[:NAMES.index(name)]
    beside = [other for other in NAMES if other.split("/")[0] == name.split("/")[0]]
    parts = {other: part for other, _, part in ROOMS}
    for suffix, allowed in ((".h", above), (".c", above + beside)):
        for header in includes(SRC / (name + suffix))[1] - {"zk.h"}:
            room = header.removesuffix(".h")
            assert room in allowed, f"{name}{suffix} includes {header}"
            assert parts[room] in ("both", parts[name]), f"{name}{suffix} includes {header}"


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_include_no_system(name):
    allowed = PURE_HEADERS | EXTRA_HEADERS.get(name, set())
    for suffix in (".h", ".c"):
        assert includes(SRC / (name + suffix))[0] <= allowed


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_call_nothing_outside(name, objects):
    """Undefined symbols are those of rooms above or beside, or harmless ones of the C library."""
    folder = name.split("/")[0]
    reach = [other for other in NAMES
             if NAMES.index(other) < NAMES.index(name) or other.split("/")[0] == folder]
    allowed = PURE_SYMBOLS | EXTRA_SYMBOLS.get(name, set())
    for other in reach:
        allowed |= {symbol for _, symbol in symbols(objects[other], "-g", "--defined-only")}
    used = {symbol for _, symbol in symbols(objects[name], "-u")}
    outside = used - allowed
    assert not outside


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_have_no_variables(name, objects):
    """Constant tables are in read-only sections; anything writable is a global."""
    assert not [symbol for kind, symbol in symbols(objects[name]) if kind in "dDbBcCsSgG"]


# --- the library ---

@pytest.mark.parametrize("name", ["zk.c", "zkcli.c"])
def test_what_is_generated_is_in_step(name, amalgamation):
    in_step = (TOP / name).read_text() == (amalgamation / name).read_text()
    assert in_step, f"run `make {name}`"


def test_only_zk_symbols_leave_the_library(amalgamation, tmp_path):
    run("cc", "-std=c11", "-O1", "-pthread", "-c", amalgamation / "zk.c", "-o", tmp_path / "zk.o")
    run("ar", "rcs", tmp_path / "libzk.a", tmp_path / "zk.o")
    exported = {name for _, name in symbols(tmp_path / "libzk.a", "-g", "--defined-only")}
    assert exported and not [name for name in exported if not name.startswith("zk_")]


def test_the_library_keeps_no_variables(amalgamation, tmp_path):
    """Two servers in one process are normal."""
    run("cc", "-std=c11", "-O1", "-fno-pic", "-pthread", "-c", amalgamation / "zk.c",
        "-o", tmp_path / "zk.o")
    assert not [name for kind, name in symbols(tmp_path / "zk.o") if kind in "dDbBcC"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("compiler", [0, 1], ids=["gcc", "clang"])
def test_every_combination_compiles_clean(compiler, compilers, amalgamation, tmp_path):
    """All switches without optimising, and what people build, with it: that finds more."""
    cc = compilers[compiler]
    jobs = [["-O2"]]
    for values in itertools.product("01", repeat=len(SWITCHES)):
        jobs.append(["-O0", *(f"-D{name}={value}" for name, value in zip(SWITCHES, values))])

    def build(job):
        flags = jobs[job]
        run(cc, *STRICT, *flags, "-c", amalgamation / "zk.c", "-o", tmp_path / f"{job}.o")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(build, range(len(jobs))))


# --- the programs ---

@pytest.mark.parametrize("program", ["zkd.c", "zkcli.c"])
def test_programs_include_zk_h_only(program):
    assert includes(TOP / program)[1] == {"zk.h"}


def test_the_shell_includes_zk_h_only():
    """Beside its own header: nothing of the rooms."""
    for path in (SRC / "shell").iterdir():
        own = {"zk.h"} if path.suffix == ".h" else {"shell/shell.h"}
        assert includes(path)[1] == own, path


@pytest.mark.parametrize("compiler", [0, 1], ids=["gcc", "clang"])
def test_the_shell_compiles_clean(compiler, compilers, amalgamation, tmp_path):
    """Every part of it stands in the one file: what is missing would be used and not defined."""
    for level in ("-O0", "-O2"):
        run(compilers[compiler], *STRICT, level, "-c", amalgamation / "zkcli.c",
            "-o", tmp_path / "zkcli.o")


def test_the_shell_needs_one_symbol_only(amalgamation, tmp_path):
    """main, and its few variables, are all that a linker sees."""
    run("cc", "-std=c11", "-O1", "-c", amalgamation / "zkcli.c", "-o", tmp_path / "zkcli.o")
    exported = {name for _, name in symbols(tmp_path / "zkcli.o", "-g", "--defined-only")}
    assert exported == {"main", "sh", "tree", "interrupted"}


# --- sizes ---

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text):
    """Comments, literals and directives blanked out; the lines stay where they are."""
    text = TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
                  lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.M)


def functions(text):
    """(first line, lines) of each function, from its return type to its closing brace."""
    depth, start, last, found = 0, None, "", None
    for number, line in enumerate(code_only(text).split("\n"), 1):
        for c in line:
            if c.isspace():
                continue
            if depth == 0 and start is None:
                start = number
            if c == "{":
                if depth == 0 and last == ")":
                    found = start
                depth += 1
            elif c == "}":
                depth -= 1
                if depth == 0 and found:
                    yield found, number - found + 1
                    start = found = None
            if depth == 0 and c == ";":
                start = None
            last = c


def test_the_counter_counts():
    text = ('#define F(x) { \\\n  (x)\nstruct a {\n    int b;\n};\nstatic int t[] = {\n 1 };\n'
            'int f(int a,\n      int b) {\n    char c = \'{\'; /* } */\n    return "}"[a];\n}\n'
            'void g(void) {\n    if (1) {\n    }\n}\n')
    assert list(functions(text)) == [(8, 5), (13, 4)]


def test_functions_are_short():
    for path in sources():
        found = list(functions(path.read_text()))
        assert found or path.suffix == ".h", f"no function found in {path}"
        long = [f"{path.relative_to(TOP)}:{line}: {n} lines" for line, n in found
                if n > FUNCTION_LINES]
        assert not long


def test_files_are_short():
    files = [*sources(), *(TOP / "compat-tests").rglob("*.py")]
    assert not [f"{path}: {n} lines" for path in files
                if (n := path.read_text().count("\n")) > FILE_LINES]


def test_lines_are_short():
    assert not [f"{path.relative_to(TOP)}:{number}" for path in sources()
                for number, line in enumerate(path.read_text().split("\n"), 1)
                if len(line) > COLUMNS]
