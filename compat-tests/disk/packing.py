"""A small snappy encoder: raw blocks of literals and copies, in the framing of snappy-java."""
import struct

SNAPPY_HEAD = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
NEAREST = 4     # a match is looked for by its first bytes
FAR = 1 << 16


def _length(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def _literal(raw):
    n = len(raw) - 1
    if n < 60:
        return bytes([n << 2]) + raw
    size = (n.bit_length() + 7) // 8
    return bytes([59 + size << 2]) + n.to_bytes(size, "little") + raw


def _copy(back, n):
    """One of the three kinds of copy, the shortest that fits."""
    if 4 <= n <= 11 and back < 2048:
        return bytes([back >> 8 << 5 | n - 4 << 2 | 1, back & 0xff])
    if back < FAR:
        return bytes([n - 1 << 2 | 2]) + struct.pack("<H", back)
    return bytes([n - 1 << 2 | 3]) + struct.pack("<I", back)


def block(data):
    """One raw block."""
    out, seen, at, plain = [_length(len(data))], {}, 0, 0
    while at < len(data):
        key = data[at:at + NEAREST]
        found = seen.get(key) if len(key) == NEAREST else None
        seen[key] = at
        if found is None:
            at += 1
            continue
        n = NEAREST
        while n < 64 and at + n < len(data) and data[found + n] == data[at + n]:
            n += 1
        if at > plain:
            out.append(_literal(data[plain:at]))
        out.append(_copy(at - found, n))
        at += n
        plain = at
    if at > plain:
        out.append(_literal(data[plain:at]))
    return b"".join(out)


def snappy(data, size=32_768):
    """A whole file; size: content bytes to a chunk."""
    chunks = [block(data[at:at + size]) for at in range(0, len(data), size)]
    return SNAPPY_HEAD + b"".join(struct.pack(">I", len(raw)) + raw for raw in chunks)
