"""The checksums and codings of src/base/sum against Python's own, through a shared library."""

import base64
import ctypes
import hashlib
import random
import subprocess
import zlib
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


class Buf(ctypes.Structure):
    _fields_ = [("p", ctypes.POINTER(ctypes.c_char)), ("head", ctypes.c_size_t),
                ("n", ctypes.c_size_t), ("cap", ctypes.c_size_t)]


@pytest.fixture(scope="module")
def lib(tmp_path_factory):
    so = tmp_path_factory.mktemp("sum") / "sum.so"
    sources = [TOP / "src/base/sum.c", TOP / "src/base/base.c"]
    subprocess.run(["cc", "-std=c11", "-O2", "-shared", "-fPIC", f"-I{TOP}/src", "-o", so,
                    *sources], check=True)
    lib = ctypes.CDLL(str(so))
    for name in ("sum_adler32", "sum_crc32", "sum_crc32_portable"):
        getattr(lib, name).argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t]
        getattr(lib, name).restype = ctypes.c_uint32
    lib.sum_base64_decode.restype = ctypes.c_bool
    return lib


def samples():
    rng = random.Random(1)
    for n in [*range(300), 1024, 5535, 5536, 5537, 5552, 11072, 65536, 100003]:
        yield rng.randbytes(n)
        yield b"\xff" * n


@pytest.mark.parametrize("name,reference,start", [
    ("sum_adler32", zlib.adler32, 1), ("sum_crc32", zlib.crc32, 0),
    ("sum_crc32_portable", zlib.crc32, 0)])
def test_checksums_are_zlibs(lib, name, reference, start):
    streaming, expected = start, start
    for data in samples():
        assert getattr(lib, name)(start, data, len(data)) == reference(data), len(data)
        streaming = getattr(lib, name)(streaming, data, len(data))
        expected = reference(data, expected)
        assert streaming == expected, len(data)


def test_sha1(lib):
    for n in [*range(200), 1000, 4096]:
        data, out = bytes(i * 7 & 255 for i in range(n)), ctypes.create_string_buffer(20)
        lib.sum_sha1(data, ctypes.c_size_t(n), out)
        assert out.raw == hashlib.sha1(data).digest(), n


def decode(lib, text):
    out = Buf()
    ok = lib.sum_base64_decode(ctypes.byref(out), text, ctypes.c_size_t(len(text)))
    return ctypes.string_at(out.p, out.n) if ok and out.n else (b"" if ok else None)


def test_base64(lib):
    for n in range(70):
        data, out = bytes(i * 37 + n & 255 for i in range(n)), Buf()
        lib.sum_base64_encode(ctypes.byref(out), data, ctypes.c_size_t(n))
        text = ctypes.string_at(out.p, out.n) if n else b""
        assert text == base64.b64encode(data)
        assert decode(lib, text) == data
        assert decode(lib, text.rstrip(b"=")) == data
    for bad in (b"A", b"AAAAA", b"AA=A", b"A===", b"AB C", b"=", b"====", b"A\xc3\xa9="):
        assert decode(lib, bad) is None, bad


@pytest.mark.parametrize("session,passwd", [
    (0x100002107df0000, "d3c8b30a644513fe692fbdd64dce93bf"),
    (0x1000014db090000, "1d264acfe67921f6c356ce5b9f6b3424"),
    (0x1000014db090001, "304744cf86c5003bb899358773f448f1")])
def test_session_password(lib, session, passwd):
    out = ctypes.create_string_buffer(16)
    lib.sum_session_passwd(ctypes.c_int64(session), out)
    assert out.raw.hex() == passwd
