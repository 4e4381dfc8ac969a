"""Pickles read as data: nothing that a file names is imported, made or called.

`pickletools` says which instructions a pickle holds. The machine below follows those that build plain data
and hands every name to a table of the reader's own functions; a name that is not in the table ends the
reading where it is met. The standard unpickler with a restricted `find_class` would still make objects,
set their attributes, and allocate as much memory as a file asks for.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any


class BadFile(ValueError):
    """The bytes are not what their file's name promises; the message says why, without the file's name."""


@dataclass(frozen=True)
class Name:
    """A name that a pickle mentions, such as 'torch.FloatStorage'."""

    text: str


MOST_INSTRUCTIONS = 10**6  # a checkpoint of an AlexNet with its optimizer has some thousand
CONSTANTS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT",
    "BINSTRING", "SHORT_BINSTRING", "STRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
LITERALS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def unpickle(
    file: IO[bytes],
    makers: Mapping[str, Callable[..., Any] | None],
    storage: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle that begins where `file` stands; `file` then stands behind it.

    Strings of Python 2 are read as Latin-1.

    Args:
      file: open, in memory.
      makers: for each name that is allowed a function of the arguments that the pickle calls it with, or
        None where it may only be mentioned (it is then a `Name`). What a function returns may have a method
        `build`, which gets what the pickle says of its state; of a dictionary it is passed over.
      storage: what a persistent id stands for.

    Raises:
      BadFile: it names something else, or uses an instruction that plain data does not need.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    stack: list[Any] = []
    marks: list[list[Any]] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        nonlocal stack
        values, stack = stack, marks.pop()
        return values

    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == MOST_INSTRUCTIONS:
            _fail(f"its pickle has more than {MOST_INSTRUCTIONS:,} instructions: it is not of weights alone")
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                break
            case constant if constant in CONSTANTS:
                stack.append(argument)
            case literal if literal in LITERALS:
                stack.append(LITERALS[literal])
            case "MARK":
                marks.append(stack)
                stack = []
            case "POP":
                stack.pop()
            case "POP_MARK":
                since_mark()
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[int(argument)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[int(argument)])
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                values = since_mark()
                stack.append(values)
            case "APPEND":
                value = stack.pop()
                _demand(stack[-1], list).append(value)
            case "APPENDS":
                values = since_mark()
                _demand(stack[-1], list).extend(values)
            case "TUPLE":
                values = since_mark()
                stack.append(tuple(values))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                values = [stack.pop() for _ in range(int(opcode.name[-1]))]
                stack.append(tuple(reversed(values)))
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                values = since_mark()
                stack.append(as_dict(pairs(values)))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _demand(stack[-1], dict).update(as_dict([(key, value)]))
            case "SETITEMS":
                values = since_mark()
                _demand(stack[-1], dict).update(as_dict(pairs(values)))
            case "GLOBAL":
                stack.append(_allowed(str(argument).replace(" ", ".", 1), makers))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_allowed(f"{_demand(module, str)}.{_demand(name, str)}", makers))
            case "REDUCE":
                arguments, called = _demand(stack.pop(), tuple), _demand(stack.pop(), Name)
                maker = makers[called.text] or _fail(f"it calls {called.text}")
                stack.append(maker(*arguments))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], dict):
                    stack[-1].build(state)
            case "BINPERSID" if storage is not None:
                stack.append(storage(stack.pop()))
            case other:
                _fail(f"it uses the pickle instruction {other}, which weights do not need")
    return stack.pop()


def pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    """A flat list of keys and values in turn as pairs."""
    return list(zip(values[::2], values[1::2], strict=True))


def as_dict(items: Any = ()) -> dict[str | int, Any]:
    """A dictionary of another or of pairs. Keys are texts and numbers: others can be nested without end."""
    table = {}
    for key, value in items.items() if isinstance(items, dict) else items:
        if type(key) not in (str, int):
            _fail(f"a dictionary in it has a {type(key).__name__} as a key")
        table[key] = value
    return table


def _allowed(name: str, makers: Mapping[str, Any]) -> Name:
    if name not in makers:
        _fail(
            f"it asks for {name[:80]!r}, and nothing in a file is run: only plain tensors are read; "
            "in PyTorch, save model.state_dict() alone"
        )
    return Name(name)


def _demand(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else _fail(f"a {kind.__name__} was expected in its pickle")


def _fail(words: str) -> Any:
    raise BadFile(words)
