"""The decompression of src/store/unpack against Python's, through a shared library."""
import ctypes
import gzip
import random
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

import packing

TOP = Path(__file__).resolve().parents[2]
OK, REFUSED, SHORT, BAD = range(4)


class Slice(ctypes.Structure):
    _fields_ = [("p", ctypes.c_void_p), ("n", ctypes.c_size_t)]


TAKE = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, Slice)


class Sink(ctypes.Structure):
    _fields_ = [("take", TAKE), ("ctx", ctypes.c_void_p)]


@pytest.fixture(scope="module")
def unpack(tmp_path_factory):
    """unpack(kind, raw, limit=None) -> (status, what was handed out)."""
    so = tmp_path_factory.mktemp("unpack") / "unpack.so"
    rooms = ("base/base", "base/sum", "store/unpack")
    subprocess.run(["cc", "-std=c11", "-O2", "-g", "-shared", "-fPIC", f"-I{TOP}/src", "-o", so,
                    *(f"{TOP}/src/{room}.c" for room in rooms)], check=True)
    lib = ctypes.CDLL(str(so))

    def run(kind, raw, limit=None):
        out = []

        def take(_, piece):
            out.append(ctypes.string_at(piece.p, piece.n))
            return limit is None or sum(map(len, out)) < limit
        # in memory of exactly this size, so that a checker notices a read beyond it
        memory = ctypes.create_string_buffer(raw, len(raw)) if raw else None
        sink = Sink(TAKE(take), None)
        status = getattr(lib, "unpack_" + kind)(
            Slice(ctypes.cast(memory, ctypes.c_void_p), len(raw)), ctypes.byref(sink))
        return status, b"".join(out)
    for name in ("unpack_gzip", "unpack_snappy"):
        getattr(lib, name).argtypes = [Slice, ctypes.POINTER(Sink)]
        getattr(lib, name).restype = ctypes.c_int
    return run


def contents():
    rng = random.Random(5)
    yield b""
    yield b"a"
    yield b"abc" * 7
    yield bytes(1 << 20)                        # longest runs, overlapping matches
    yield rng.randbytes(200_000)                # nothing to gain: stored blocks
    words = [rng.randbytes(rng.randrange(3, 40)) for _ in range(500)]
    yield b"".join(rng.choice(words) for _ in range(20_000))
    yield bytes(min(255, int(rng.expovariate(0.1))) for _ in range(150_000))  # codes of 15 bits
    block = rng.randbytes(32_768)               # a match from as far back as there is
    yield block + block + block[1:] + block


STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE,
              zlib.Z_FIXED)


def deflated(data):
    for level in range(10):
        yield gzip.compress(data, level)
    for strategy in STRATEGIES:
        pack = zlib.compressobj(6, zlib.DEFLATED, 31, 9, strategy)
        yield pack.compress(data) + pack.flush()
    pack = zlib.compressobj(6, zlib.DEFLATED, 31)       # many blocks, empty ones between
    parts = [pack.compress(data[at:at + 999]) + pack.flush(zlib.Z_FULL_FLUSH)
             for at in range(0, min(len(data), 100_000), 999)]
    rest = pack.compress(data[len(parts) * 999:]) + pack.flush()
    yield b"".join(parts) + rest


def test_gzip_of_every_kind(unpack):
    for data in contents():
        for raw in deflated(data):
            assert unpack("gzip", raw) == (OK, data)


def test_gzip_header_fields(unpack):
    body = gzip.compress(b"content", mtime=0)[10:]
    head = b"\x1f\x8b\x08"
    extra, name, comment, crc = struct.pack("<H", 3) + b"xyz", b"name\0", b"comment\0", b"\0\0"
    for flags in range(32):
        fields = [b""] * 4
        for bit, text in ((4, extra), (8, name), (16, comment), (2, crc)):
            if flags & bit:
                fields.append(text)
        raw = head + bytes([flags]) + bytes(6) + b"".join(fields) + body
        assert unpack("gzip", raw) == (OK, b"content")
        for cut in range(len(raw)):
            assert unpack("gzip", raw[:cut])[0] in (SHORT, BAD)
    assert unpack("gzip", raw + b"what follows is not read") == (OK, b"content")


def test_damaged_gzip_is_refused(unpack):
    """Every bit of a small file turned over: noticed, unless the content stays what it was."""
    data = b"the quick brown fox jumps over the lazy dog; " * 3
    for raw in (gzip.compress(data, 9, mtime=0), gzip.compress(data, 0, mtime=0)):
        for bit in range(len(raw) * 8):
            bad = bytearray(raw)
            bad[bit // 8] ^= 1 << bit % 8
            status, out = unpack("gzip", bytes(bad))
            assert status in (SHORT, BAD) or out == data


@pytest.mark.parametrize("kind", ["gzip", "snappy"])
def test_garbage_ends(unpack, kind):
    rng = random.Random(6)
    start = {"gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\3", "snappy": packing.SNAPPY_HEAD}[kind]
    for _ in range(3000):
        body = rng.randbytes(rng.randrange(200))
        if kind == "snappy":
            body = struct.pack(">I", len(body)) + body
        assert unpack(kind, start + body)[0] in (OK, SHORT, BAD)


def test_the_consumer_ends_it(unpack):
    bomb = gzip.compress(bytes(64 << 20))
    status, out = unpack("gzip", bomb, limit=1)
    assert status == REFUSED and len(out) < 1 << 20
    status, out = unpack("snappy", packing.snappy(bytes(8 << 20)), limit=1)
    assert status == REFUSED and len(out) < 1 << 20


def test_snappy(unpack):
    for data in contents():
        for block in (32_768, 1_000, 1 << 20):
            assert unpack("snappy", packing.snappy(data, block)) == (OK, data)


def test_damaged_snappy_is_refused(unpack):
    data = b"the quick brown fox jumps over the lazy dog; " * 3
    raw = packing.snappy(data, 60)
    for cut in range(len(raw)):
        status, out = unpack("snappy", raw[:cut])
        # a file that ends after a chunk is whole for all that snappy knows
        assert status in (SHORT, BAD) or data.startswith(out) and len(out) % 60 == 0

    def chunk(body):
        return packing.SNAPPY_HEAD + struct.pack(">I", len(body)) + body
    for body in (b"", b"\x80" * 6, b"\x05\x00a",             # no length, an endless one, too little
                 b"\x01\x04ab",                              # more than announced
                 b"\x04\x01\x00", b"\x04\x00a\x01\x02",      # a copy of nothing, from before
                 b"\xff\xff\xff\xff\x0f\x00a",               # 4 GiB announced by 7 bytes
                 b"\x05\xf0", b"\x05\xf4\x04", b"\x05\x02\x01", b"\x05\x03\x01\0\0"):
        assert unpack("snappy", chunk(body))[0] == BAD, body.hex()
    assert unpack("snappy", packing.SNAPPY_HEAD + b"\xff\xff\xff\xff")[0] == SHORT
    assert unpack("snappy", b"\x82SNAPPX" + bytes(9))[0] == BAD
