"""Nothing of the C client of stock is missing in ours: names, values, sizes, bytes.

What there is, is read from Debian's library and headers; the programs here are made from that.
"""
import re
import subprocess

import pytest

from harness import cache, native
from libraries import FORMS, HERE, PROGRAMS, run

# Whoever comes first builds the library.
pytestmark = pytest.mark.timeout(400)

# What the shared library of stock exports (Makefile.am, EXPORT_SYMBOLS).
EXPORTED = re.compile(r"zoo_|zookeeper_|zhandle|Z|format_log_message|log_message|logLevel"
                      r"|deallocate_|allocate_|zerror|is_unrecoverable")
HEADERS = ["zookeeper/zookeeper.h", "zookeeper/zookeeper_log.h", "zookeeper/proto.h",
           "zookeeper/recordio.h", "zookeeper/zookeeper.jute.h", "zookeeper/zookeeper_version.h"]
# Exported, but in no header of stock.
UNDECLARED = """
int zoo_lock_auth(zhandle_t *zh);
int zoo_unlock_auth(zhandle_t *zh);
"""
NEWER = {"ConnectRequest", "ConnectResponse"}   # 3.9 added a member
TYPES = ["clientid_t", "zcert_t", "zsock_t", "zoo_op_t", "zoo_op_result_t", "struct buffer",
         "struct iarchive", "struct oarchive", "ZooLogLevel", "ZooWatcherType"]


def nm(*argv):
    lines = subprocess.run(["nm", *map(str, argv)], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.splitlines()
    return {line.split()[-1].split("@")[0]: line.split()[-2] for line in lines if " " in line}


def exported(form):
    """{symbol: its letter}"""
    library = cache.debian_c_client() / "lib" / f"libzookeeper_{form}.so.2"
    found = {name: kind for name, kind in nm("-D", "--defined-only", library).items()
             if EXPORTED.match(name)}
    assert len(found) > 170
    return found


def header(name):
    text = (cache.debian_c_client() / "include" / "zookeeper" / name).read_text()
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)


def records():
    """{record: [(type, member)]}, vectors too."""
    found = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\};", header("zookeeper.jute.h"), re.S):
        members = [re.sub(r"\s+", " ", one).strip() for one in body.split(";")]
        found[name] = [re.fullmatch(r"(.*?) ?(\w+)", one).groups() for one in members if one]
    assert len(found) > 60
    return found


def program(lines, *more):
    return "\n".join([*(f"#include <{name}>" for name in HEADERS), "#include <stdio.h>",
                      "#include <string.h>", *more, "int main(void) {", *lines, "return 0;", "}"])


@pytest.fixture
def said(tmp_path):
    """What a program that is made here says on each of some libraries."""
    def make(text, *libraries, flags=()):
        source = tmp_path / "made.c"
        source.write_text(text)
        return [run(library.compile(source, tmp_path / library.name, "mt", *flags), library)
                for library in libraries]
    return make


@pytest.mark.parametrize("form", FORMS)
def test_every_symbol_is_there(ours, tmp_path, form):
    """Declared by our headers and defined by our library."""
    lines = [f'printf("%d", (void *)&{name} != (void *)0);' for name in sorted(exported(form))]
    source = tmp_path / "all.c"
    source.write_text(program(lines))
    ours.compile(source, tmp_path / "all", form, "-Wno-address")


def test_every_symbol_is_used(stock, tmp_path):
    """By a program whose output is compared with that of stock."""
    used = {}
    for name, form in [*PROGRAMS, ("reconnect", "mt"), ("reconnect", "st")]:
        used |= nm("-u", stock.compile(HERE / f"{name}.c", tmp_path / "one.o", form, "-c"))
    for number, text in enumerate([records_program(), values_program()]):
        source = tmp_path / f"{number}.c"
        source.write_text(text)
        used |= nm("-u", stock.compile(source, tmp_path / "one.o", "mt", "-c"))
    assert sorted(set(exported("mt")) - set(used)) == []


def test_what_needs_other_libraries(tmp_path):
    """Encryption and SASL are declared under the switches of stock, and politely refused."""
    others = {"openssl/ossl_typ.h": "typedef struct ssl SSL; typedef struct ssl_ctx SSL_CTX;\n",
              "sasl/sasl.h": "typedef struct callback sasl_callback_t;\n"}
    for name, text in others.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "all.c").write_text(program([
        "zoo_sasl_params_t sasl = {0};", "zoo_sasl_password_t password = {0};",
        'return zookeeper_init_ssl("h:1", "ca,cert,key,pw", 0, 1000, 0, 0, 0) || errno != ENOSYS'
        ' || zookeeper_init_sasl("h:1", 0, 1000, 0, 0, 0, 0, &sasl) || errno != ENOSYS'
        ' || zoo_sasl_make_basic_callbacks("u", "r", "f") || errno != ENOSYS'
        ' || zoo_sasl_make_password_callbacks("u", "r", &password) || errno != ENOSYS;'],
        "#include <errno.h>"))
    top = cache.TESTS.parent
    (tmp_path / "zookeeper").symlink_to(top / "examples" / "compat")
    sources = (top / "examples" / "compat").glob("*.c")
    subprocess.run(["cc", "-std=gnu11", "-DHAVE_OPENSSL_H", "-DHAVE_CYRUS_SASL_H", f"-I{tmp_path}",
                    f"-I{top}", tmp_path / "all.c", *sources, native.library() / "zk.o",
                    "-o", tmp_path / "all", "-pthread"], check=True)
    assert subprocess.run([tmp_path / "all"]).returncode == 0


# --- values and sizes ---

def values_program():
    words = set(re.findall(r"^\s*(Z\w+)\s*=", header("zookeeper.h"), re.M))
    words |= set(re.findall(r"\b(Z(?:OO_LOG_LEVEL|WATCHTYPE)_\w+)\s*=", header("zookeeper.h")))
    for name in ("zookeeper.h", "proto.h"):
        words |= set(re.findall(r"^#define (ZOO_\w+)[ \t]+[-\d\"]", header(name), re.M))
    objects = {name for name, kind in exported("mt").items() if kind == "R"}
    assert len(words) > 60 and len(objects) >= 30
    lines = [f'SHOW({name});' for name in sorted(words | objects)]
    lines += [f'puts("{name} " NUMBER); printf("%d\\n", (int)sizeof({name}));' for name in
              [*TYPES, *(f"struct {name}" for name in records() if name not in NEWER)]]
    for vector in ("OPEN_ACL_UNSAFE", "READ_ACL_UNSAFE", "CREATOR_ALL_ACL"):
        lines.append(f'printf("%d %d %s %s\\n", ZOO_{vector}.count, ZOO_{vector}.data->perms,'
                     f' ZOO_{vector}.data->id.scheme, ZOO_{vector}.data->id.id);')
    for one in ("ANYONE_ID_UNSAFE", "AUTH_IDS"):
        lines.append(f'puts(ZOO_{one}.scheme); puts(ZOO_{one}.id);')
    lines.append('for (int i = -130; i < 40; i++) printf("%d %s\\n", i, zerror(i));')
    return program(lines, "extern const int ZOO_SSL_CONNECTING_STATE;", """
#define NUMBER "size"
static inline void show_text(const char *name, const char *v) { printf("%s %s\\n", name, v); }
static inline void show_number(const char *name, int v) { printf("%s %d\\n", name, v); }
#define SHOW(x) _Generic((x), char *: show_text, default: show_number)(#x, (x))
""")


def test_values_and_sizes(stock, ours, said):
    theirs, own = said(values_program(), stock, ours)
    assert own == theirs
    assert "ZOO_CONNECTED_STATE 3" in own and "ZOO_CONFIG_NODE /zookeeper/config" in own


# --- records ---

def fill(members, at, numbers, known):
    """Statements that fill a record; every third buffer is null."""
    lines = []
    for kind, name in members:
        number = next(numbers)
        kind = kind.replace(" ", "")
        if kind in ("int32_t", "int64_t"):
            lines.append(f"{at}{name} = {number * (1 if kind == 'int32_t' else 0x100000001)};")
        elif kind == "char*":
            lines += [f'{at}{name} = strdup("text {number}");']
        elif kind == "structbuffer":
            lines += [f'{at}{name} = (struct buffer){{{number % 5}, strdup("bytes")}};'] \
                if number % 3 else [f"{at}{name}.len = -1;"]
        elif kind.endswith("_vector"):
            lines += fill_vector(kind.removeprefix("struct"), f"{at}{name}", numbers, known)
        else:
            lines += fill(known[kind.removeprefix("struct")], f"{at}{name}.", numbers, known)
    return lines


def fill_vector(name, at, numbers, known):
    element = name.removesuffix("_vector")
    lines = [f"allocate_{name}(&{at}, 2);"]
    for index in range(2):
        lines += fill(known.get(element, [("char *", "")]), f"{at}.data[{index}]"
                      + ("." if element in known else ""), numbers, known)
    return lines


def records_program():
    known = {name: members for name, members in records().items() if name not in NEWER}
    numbers = iter(range(1, 10000))
    lines = []
    for name, members in known.items():
        filled = fill_vector(name, "v", numbers, known) if name.endswith("_vector") else \
            fill(members, "v.", numbers, known)
        lines += ["{", f"struct {name} v;", "memset(&v, 0, sizeof v);", *filled,
                  f"ROUND({name});", "}"]
    for name in NEWER:      # freed only: their bytes differ from one release to the next
        lines += ["{", f"struct {name} v = {{.passwd = {{2, strdup(\"x\")}}}};",
                  f"deallocate_{name}(&v);", 'printf("%d\\n", v.passwd.buff == NULL);', "}"]
    lines += ['char *text = strdup("x");', "deallocate_String(&text);",
              'struct buffer bytes = {1, strdup("y")};', "deallocate_Buffer(&bytes);",
              'printf("%d %d %llx\\n", text == NULL, bytes.buff == NULL,'
              ' (unsigned long long)zoo_htonll(0x0102030405060708));',
              "struct String_vector none;", "int rc = allocate_String_vector(&none, 0);",
              'printf("%d %d\\n", rc, none.data == NULL);']
    return program(lines, """
/* Bytes, and the same bytes again from the record that they were read into. */
#define ROUND(X)                                                          \\
    struct oarchive *out = create_buffer_oarchive();                      \\
    printf(#X " %d", serialize_##X(out, "tag", &v));                      \\
    show(out);                                                            \\
    struct iarchive *in = create_buffer_iarchive(get_buffer(out), get_buffer_len(out)); \\
    struct X again;                                                       \\
    printf(" %d", deserialize_##X(in, "tag", &again));                    \\
    PREFIXES(X)                                                           \\
    struct oarchive *back = create_buffer_oarchive();                     \\
    printf(" %d", serialize_##X(back, "tag", &again));                    \\
    show(back);                                                           \\
    printf("\\n");                                                        \\
    deallocate_##X(&v);                                                   \\
    deallocate_##X(&again);                                               \\
    close_buffer_oarchive(&out, 1);                                       \\
    close_buffer_oarchive(&back, 1);                                      \\
    close_buffer_iarchive(&in);
static void show(struct oarchive *a) {
    printf(" ");
    for (int i = 0; i < get_buffer_len(a); i++) printf("%02x", get_buffer(a)[i] & 255);
}
#ifdef EVERY_PREFIX
/* What ends too early is refused, and leaves nothing behind. */
#define PREFIXES(X)                                                       \\
    for (int i = 0; i < get_buffer_len(out); i++) {                       \\
        char *few = malloc((size_t)i + 1);                                \\
        struct X part;                                                    \\
        memcpy(few, get_buffer(out), (size_t)i);                          \\
        struct iarchive *short_one = create_buffer_iarchive(few, i);      \\
        if (!deserialize_##X(short_one, "tag", &part)) printf("not refused");\\
        close_buffer_iarchive(&short_one);                                \\
        free(few);                                                        \\
    }
#else
#define PREFIXES(X)
#endif
""")


def test_records(static_stock, ours, said):
    theirs, own = said(records_program(), static_stock, ours)
    assert own == theirs
    assert len(own) > 60 and all(line.split()[1] == "0" for line in own[:60])


def test_records_that_end_too_early(ours, said):
    whole, = said(records_program(), ours)
    again, = said(records_program(), ours, flags=["-DEVERY_PREFIX"])
    assert again == whole
