"""Tables in MATLAB files, its format 5 (MathWorks, "MAT-File Format").

SciPy's reader takes memory by what a file claims, and a damaged one ends the process.
"""

import struct
import zlib
from collections.abc import Iterator

_COMPRESSED, _MATRIX = 15, 14  # kinds of elements
_NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_STRUCT, _TEXT = 2, 4  # classes of matrices
Value = str | int | float
_Parts = Iterator[tuple[int, memoryview]]


def read_table(data: bytes, variable: str, most: int) -> list[dict[str, Value]]:
    """Read a struct array.

    Args:
      data: the file.
      variable: its name.
      most: bytes that compressed parts may inflate to, all together.

    Returns:
      For each of its rows the fields that hold one number or a text.

    Raises:
      ValueError: there is no such table, it is damaged, or the file inflates to more than `most`.
    """
    order = ">" if data[126:128] == b"MI" else "<"
    try:
        for kind, content in _elements(memoryview(data)[128:], order):
            if kind == _COMPRESSED:
                inflated = zlib.decompressobj().decompress(content, most + 1)
                most -= len(inflated)
                if most < 0:
                    raise ValueError("it inflates to more than such a file has")
                kind, content = next(_elements(memoryview(inflated), order))
            if kind == _MATRIX:
                matrix, name, parts = _open(content, order)
                if name == variable and matrix == _STRUCT:
                    return list(_rows(parts, order))
    except (struct.error, zlib.error, StopIteration, RuntimeError) as error:  # RuntimeError: in a generator
        raise ValueError(f"it is damaged: {error}") from None
    raise ValueError(f"it has no table {variable}")


def _elements(data: memoryview, order: str) -> _Parts:
    """Yield kind and content of each element; those of up to four bytes stand in their header."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:
            yield kind & 0xFFFF, data[at + 4 : at + 4 + (kind >> 16)]
            at += 8
        else:
            yield kind, data[at + 8 : at + 8 + size]
            at += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)


def _open(content: memoryview, order: str) -> tuple[int, str, _Parts]:
    """Return a matrix's class and name, and what follows its sides and name."""
    parts = _elements(content, order)
    flags = struct.unpack_from(f"{order}I", next(parts)[1])[0]
    next(parts)  # its sides
    return flags & 0xFF, bytes(next(parts)[1]).decode("ascii", "replace"), parts


def _rows(parts: _Parts, order: str) -> Iterator[dict[str, Value]]:
    """Yield a struct's rows: first are its fields' names in equal parts, then the values by rows."""
    length = struct.unpack_from(f"{order}i", next(parts)[1])[0]
    names = bytes(next(parts)[1])
    if length < 1 or not names:
        raise ValueError("its table has no fields")
    fields = [
        names[at : at + length].partition(b"\0")[0].decode("ascii", "replace")
        for at in range(0, len(names), length)
    ]
    row: dict[str, Value] = {}
    for number, (_, content) in enumerate(parts, 1):
        value = _value(content, order) if content else None
        if value is not None:
            row[fields[(number - 1) % len(fields)]] = value
        if number % len(fields) == 0:
            yield row
            row = {}


def _value(content: memoryview, order: str) -> Value | None:
    """Return the one number or the text of a matrix; None for any other."""
    matrix, _, parts = _open(content, order)
    kind, raw = next(parts, (0, content[:0]))
    if matrix == _TEXT:
        wide = "utf-16-be" if order == ">" else "utf-16-le"
        return bytes(raw).decode(wide if kind in (4, 17) else "utf-8", "replace")
    if kind in _NUMBERS and len(raw) == struct.calcsize(_NUMBERS[kind]):
        number: int | float = struct.unpack(order + _NUMBERS[kind], raw)[0]
        return number
    return None
