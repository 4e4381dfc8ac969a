"""Pickles read as data: nothing that a file names is imported, made or called.

`pickletools` says which instructions a pickle holds. The machine below follows those that build plain data
and hands every name to a table of the reader's own functions. A name that is not in the table ends the
reading where it is met or, where the reader allows it, stands for an object that is passed over: whatever the
file makes of it is the same dead value, and what it would have been made with is thrown away. The standard
unpickler with a restricted `find_class` would still make objects, set their attributes, and allocate as much
memory as a file asks for.

A few bytes of a pickle can stand for a value that is endless when it is written out, for its parts may be the
same thing again and again. So an instruction costs time and memory for what is new in it alone: values are
never written out, compared or hashed unless their exact type says that they are short (`is_short`), and what
the reader's functions may copy is counted.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from alexnet_jax.arrays import MAX_DIMENSIONS, BadFile


@dataclass(frozen=True)
class Name:
    """Hold a name that a pickle mentions, such as 'torch.FloatStorage'."""

    text: str


class _Skipped:
    """Stands for an object of a program that is not here: it is never made, and there is one of it."""


SKIPPED = _Skipped()
MAX_INSTRUCTIONS = 200_000  # a checkpoint of an AlexNet with its optimizer has some thousand
MAX_ARGUMENTS = 16  # of a call: PyTorch's functions have seven at most
MAX_INTEGER_BITS = 128  # the largest that occur are states of random generators
MAX_KEY_LENGTH = 1000  # of a dictionary's key or a name: a parameter's has some fifty characters
MAX_NAMED = 80  # characters of a name that is told
MAX_COPIES = 4  # of each character of a file; numpy's arrays in old pickles need two
Makers = Mapping[str, Callable[..., Any] | None]


def unpickle(
    file: io.BytesIO,
    makers: Makers,
    storage: Callable[[Any], Any] | None = None,
    skipped: set[str] | None = None,
) -> Any:
    """Return the value of the pickle that begins where `file` stands; `file` then stands behind it.

    Strings of Python 2 are read as Latin-1.

    Args:
      file: in memory.
      makers: for each name that is allowed a function of the arguments that the pickle calls it with, or
        None where it may only be mentioned (it is then a `Name`). It may copy an argument once, and checks
        the types of what it looks into. What a function returns may have a method `build`, which gets as
        its arguments the tuple that the pickle has as its state; of a dictionary it is passed over.
      storage: what a persistent id stands for; None: the pickle may have none.
      skipped: takes the names that are not in `makers`; such an object is `SKIPPED`, as an item of a
        dictionary, a list or a tuple alone. None: the pickle may have none.

    Raises:
      BadFile: it names something else, uses an instruction that plain data does not need, or asks for more
        than data of its size can need.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    machine = _Machine(makers, storage, skipped, MAX_COPIES * file.getbuffer().nbytes)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == MAX_INSTRUCTIONS:
            _fail(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions: it is not of weights alone")
        if opcode.name not in INSTRUCTIONS:
            _fail(f"it uses the pickle instruction {opcode.name}, which weights do not need")
        INSTRUCTIONS[opcode.name](machine, argument)
    return machine.stack.pop()


def is_short(value: Any) -> bool:
    """Return whether a value can be hashed, compared and shown at no cost: a short text, or a number."""
    if type(value) is str:
        return len(value) <= MAX_KEY_LENGTH
    return type(value) is int and value.bit_length() <= 64  # of larger ones many may have the same hash


def is_shape(value: Any) -> bool:
    """Return whether a value is a tuple of at most 32 numbers from 0 to 2**63 - 1."""
    return (
        type(value) is tuple
        and len(value) <= MAX_DIMENSIONS
        and all(type(n) is int and 0 <= n < 2**63 for n in value)
    )


class _Machine:
    """Hold the stack of a pickle that is read, the stacks below its marks, and its memo."""

    def __init__(
        self,
        makers: Makers,
        storage: Callable[[Any], Any] | None,
        skipped: set[str] | None,
        characters: int,
    ):
        self.makers, self.storage, self.skipped = makers, storage, skipped
        self.may_copy = {"items": MAX_INSTRUCTIONS, "characters": characters}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        if type(value) is int and value.bit_length() > MAX_INTEGER_BITS:
            _fail(f"its pickle has a number of {value.bit_length():,} bits")
        self.stack.append(value)

    def pop(self, count: int) -> tuple[Any, ...]:
        """Return the last `count` values, in the order in which they came."""
        return tuple(reversed([self.stack.pop() for _ in range(count)]))

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Return all values since the last mark."""
        values, self.stack = self.stack, self.marks.pop()
        return values

    def memoize(self, key: int) -> None:
        if not 0 <= key < MAX_INSTRUCTIONS:
            _fail("its pickle numbers its values as no pickler does")
        self.memo[key] = self.stack[-1]

    def append(self, values: list[Any]) -> None:
        if self.stack[-1] is not SKIPPED:
            _demand(self.stack[-1], list).extend(values)

    def set_items(self, values: list[Any]) -> None:
        if self.stack[-1] is not SKIPPED:
            _demand(self.stack[-1], dict).update(as_dict(_pairs(values)))

    def frozen_set(self, _: Any) -> None:
        self.pop_mark()
        self.push(SKIPPED)

    def add_to_set(self, _: Any) -> None:
        self.pop_mark()
        _demand(self.stack[-1], _Skipped)

    def mention(self, name: str) -> None:
        if name in self.makers:
            self.push(Name(name))
        elif self.skipped is not None:
            self.skipped.add(name[:MAX_NAMED])
            self.push(SKIPPED)
        else:
            _fail(
                f"it asks for {name[:MAX_NAMED]!r}, and nothing in a file is run: only plain tensors are "
                "read; in PyTorch, save model.state_dict() alone"
            )

    def mention_of_stack(self, _: Any) -> None:
        module, name = self.pop(2)
        if not (type(module) is type(name) is str and is_short(module) and is_short(name)):
            _fail("its pickle asks for something whose name is not a short text")
        self.mention(f"{module}.{name}")

    def call(self, _: Any) -> None:
        called, arguments = self.pop(2)
        if called is SKIPPED:
            self.push(SKIPPED)
            return
        name = _demand(called, Name).text
        maker = self.makers[name] or _fail(f"it calls {name}")
        self.count(arguments)
        if any(value is SKIPPED for value in arguments):
            _fail(f"it calls {name} with an object that is not of plain data")
        self.push(maker(*arguments))

    def make(self, parts: int) -> None:
        """Take a class and what an object of it is made with."""
        called, *_ = self.pop(parts)
        if called is not SKIPPED:
            _fail("it makes an object of what is no class")
        self.push(SKIPPED)

    def count(self, arguments: Any) -> None:
        """Take what a function may copy of its arguments off what may be copied in all."""
        if len(_demand(arguments, tuple)) > MAX_ARGUMENTS:
            _fail(f"its pickle calls something with {len(arguments):,} arguments")
        for value in arguments:
            if type(value) in (dict, list, tuple):
                self.may_copy["items"] -= len(value)
            elif type(value) in (str, bytes):
                self.may_copy["characters"] -= len(value)
        if min(self.may_copy.values()) < 0:
            _fail("its pickle copies the same values again and again, which weights do not need")

    def refer(self, _: Any) -> None:
        storage = self.storage or _fail("its pickle mentions a storage, and none belongs there")
        self.push(storage(self.stack.pop()))

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) is not dict and self.stack[-1] is not SKIPPED:
            self.count(state)
            self.stack[-1].build(*state)


# By the names that `pickletools` gives them; each gets the machine and the instruction's argument.
INSTRUCTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, _: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT",
         "BINSTRING", "SHORT_BINSTRING", "STRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE",
         "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        _Machine.push,
    ),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(SKIPPED),  # no reader needs one
    "ADDITEMS": _Machine.add_to_set,
    "FROZENSET": _Machine.frozen_set,
    "MARK": _Machine.mark,
    "POP": lambda m, _: m.pop(1),
    "POP_MARK": lambda m, _: m.pop_mark(),
    "MEMOIZE": lambda m, _: m.memoize(len(m.memo)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "PUT"), lambda m, key: m.memoize(int(key))),
    **dict.fromkeys(("BINGET", "LONG_BINGET", "GET"), lambda m, key: m.push(m.memo[int(key)])),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "APPEND": lambda m, _: m.append(list(m.pop(1))),
    "APPENDS": lambda m, _: m.append(m.pop_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.push(m.pop(1)),
    "TUPLE2": lambda m, _: m.push(m.pop(2)),
    "TUPLE3": lambda m, _: m.push(m.pop(3)),
    "DICT": lambda m, _: m.push(as_dict(_pairs(m.pop_mark()))),
    "SETITEM": lambda m, _: m.set_items(list(m.pop(2))),
    "SETITEMS": lambda m, _: m.set_items(m.pop_mark()),
    "GLOBAL": lambda m, name: m.mention(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": _Machine.mention_of_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": lambda m, _: m.make(2),
    "NEWOBJ_EX": lambda m, _: m.make(3),
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.refer,
}  # fmt: skip


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    """Return a flat list of keys and values in turn as pairs."""
    return list(zip(values[::2], values[1::2], strict=True))


def as_dict(items: Any = ()) -> dict[str | int, Any]:
    """Return a dictionary of another or of pairs.

    Keys are short texts and numbers: others can be nested without end.

    Raises:
      BadFile: another key.
    """
    table = {}
    for key, value in items.items() if type(items) is dict else items:
        if not is_short(key):
            _fail(f"a dictionary in it has a key that is not a short text or number: {type(key).__name__}")
        table[key] = value
    return table


def _demand(value: Any, kind: type) -> Any:
    return value if type(value) is kind else _fail(f"a {kind.__name__} was expected in its pickle")


def _fail(words: str) -> NoReturn:
    raise BadFile(words)
