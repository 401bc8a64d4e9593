"""Reads pickles and torch `.pt` files of numpy arrays, dicts, lists, numbers and strings, and
nothing else.

The opcodes are interpreted here, over `pickletools.genops`: no name in a pickle is ever imported or
called. Arrays are read-only views of the bytes in the pickle, so that a small file cannot ask for
much memory.
"""

import io
import math
import pickletools
import re
import struct
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from selfie_io.records.plain_files import read_plain

# torch.save with _use_new_zipfile_serialization=False writes pickles in a row that start with these two.
_TORCH_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_LEGACY_PROTOCOL = 1001

_PLAIN_DTYPE = re.compile(r"[biufUS][0-9]{1,9}", re.ASCII)  # no objects, no records
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_MAX_BYTES = 1 << 30  # of a file
_MAX_STEPS = 1 << 22  # of one pickle: a byte may make an object of sixty
_MAX_CONTAINERS = 1 << 20  # of one pickle: one byte may make a dict, which takes 200 while it is copied
_CONTAINERS = {"EMPTY_DICT", "DICT", "EMPTY_LIST", "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_KEYS = (str, bytes, int, float, type(None))  # tuples that hold each other twice take for ever to hash
_MARK = object()


class _Name(NamedTuple):
    """A name that stands in the pickle."""

    module: str
    name: str


class _Dtype:
    """A numpy.dtype while it is unpickled: "u1", and the byte order that BUILD brings."""

    def __init__(self, text: str) -> None:
        if not _PLAIN_DTYPE.fullmatch(text):
            raise ValueError(f"an array must hold numbers or text, got dtype {text!r}")
        self.text = text
        self.order = "="

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.text)


class _Array:
    """A numpy.ndarray while it is unpickled; BUILD brings its content."""

    value: np.ndarray | None = None


def load(source: bytes | BinaryIO) -> Any:
    """Read one pickle from bytes, or from an open file, which is left at the byte after it.

    Returns what it holds; text of Python 2 is read as Latin-1, arrays are read-only. Raises
    ValueError if it is damaged or asks for more than arrays (of numbers or text), dicts, lists,
    tuples, numbers and strings.
    """
    file = io.BytesIO(source) if isinstance(source, bytes | bytearray) else source
    start = file.tell()
    size = file.seek(0, io.SEEK_END) - start
    file.seek(start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of odd escapes in a text, by pickletools
            return _plain(_Machine(size).run(file), {})
    except (LookupError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError) as error:
        raise ValueError(f"the pickle is damaged ({type(error).__name__}: {error})") from error


def load_torch(path: str | Path) -> Any:
    """Read what `torch.save` wrote of arrays and plain data, not tensors: zip, legacy file or plain
    pickle.

    Raises ValueError as `load` does, naming the file; OSError if it cannot be read.
    """
    file = io.BytesIO(read_plain(path, _MAX_BYTES))
    try:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            return _load_legacy(file)
        with zipfile.ZipFile(file) as archive:
            members = [info for info in archive.infolist() if info.filename.split("/")[1:] == ["data.pkl"]]
            if len(members) != 1:
                raise ValueError(f"a torch archive must hold one data.pkl, this one holds {len(members)}")
            if members[0].compress_type != zipfile.ZIP_STORED:
                raise ValueError("data.pkl is compressed, which torch.save never does")
            return load(archive.read(members[0]))
    # What zipfile raises of damage, fuzzed: it believes the offsets and flags that it reads.
    except (ValueError, EOFError, OverflowError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from error


def _load_legacy(file: BinaryIO) -> Any:
    value = load(file)
    if value != _TORCH_LEGACY_MAGIC:
        return value
    protocol = load(file)
    if protocol != _TORCH_LEGACY_PROTOCOL:
        raise ValueError(
            f"a legacy torch file must have protocol {_TORCH_LEGACY_PROTOCOL}, this one has another"
        )
    load(file)  # the writer's byte order and integer sizes, which concern tensors
    return load(file)


class _Machine:
    """The stack machine of pickle, with the opcodes that plain data needs."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.bytes_left = size  # for copies: a text that is encoded again and again must not outgrow the file

    def run(self, file: BinaryIO) -> Any:
        """Execute up to STOP; returns the value on top."""
        stack, memo = self.stack, self.memo
        argument: Any
        containers = 0
        for step, (opcode, argument, position) in enumerate(pickletools.genops(file)):
            name = opcode.name
            if step == _MAX_STEPS:
                raise ValueError(f"byte {position}: a pickle must take at most {_MAX_STEPS} steps")
            containers += name in _CONTAINERS
            if containers > _MAX_CONTAINERS:
                raise ValueError(
                    f"byte {position}: a pickle must hold at most {_MAX_CONTAINERS} lists, dicts and tuples"
                )
            if name in _LITERALS:
                stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                stack.append(memo[argument])
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "MARK":
                stack.append(_MARK)
            elif name == "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            elif name in _SHORT_TUPLES:
                values = [stack.pop() for _ in range(_SHORT_TUPLES[name])]
                stack.append(tuple(reversed(values)))
            elif name == "LIST":
                stack.append(self._pop_to_mark())
            elif name == "DICT":
                values = self._pop_to_mark()
                stack.append({})
                self._set_items(values)
            elif name == "APPEND":
                self._extend([stack.pop()])
            elif name == "APPENDS":
                self._extend(self._pop_to_mark())
            elif name == "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set_items([key, value])
            elif name == "SETITEMS":
                self._set_items(self._pop_to_mark())
            elif name == "GLOBAL":
                stack.append(_known(_Name(*argument.split(" ", 1))))
            elif name == "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_known(_Name(module, attribute)))
            elif name == "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._reduce(function, arguments))
            elif name == "BUILD":
                state = stack.pop()
                self._build(stack[-1], state)
            elif name not in ("PROTO", "FRAME", "STOP"):
                raise ValueError(f"byte {position}: plain data has no use for the pickle opcode {name}")
        return stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("APPEND needs a list")
        self.stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(values) % 2:
            raise TypeError("SETITEM needs a dict and pairs")
        if not all(isinstance(key, _KEYS) for key in values[::2]):
            raise TypeError("a key is text or a number")
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def _reduce(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            raise TypeError("REDUCE needs a function and a tuple")
        name = function.name
        if name == "_reconstruct":
            return _Array()  # its arguments describe the empty array that BUILD replaces
        if name == "dtype":
            return _Dtype(arguments[0])
        if name == "scalar":
            return self._array(arguments[1], arguments[0], (), "C")[()]
        if name == "_frombuffer":
            array = _Array()
            array.value = self._array(*arguments)
            return array
        if name == "encode":
            return self._encode(*arguments)
        if arguments:
            raise TypeError(f"{name} is read without arguments")
        return {"OrderedDict": dict, "bytes": bytes}[name]()

    def _build(self, target: Any, state: Any) -> None:
        if isinstance(target, _Dtype):
            _, target.order, subarray, names, fields, *_ = state
            if target.order not in ("<", ">", "=", "|") or (subarray, names, fields) != (None, None, None):
                raise ValueError("an array must hold numbers or text, got a dtype with fields or of objects")
        elif isinstance(target, _Array):
            _, shape, dtype, is_fortran, content = state
            target.value = self._array(content, dtype, shape, "F" if is_fortran else "C")
        else:
            raise TypeError(f"BUILD of a {type(target).__name__}")

    def _array(self, content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
        if isinstance(content, str):
            content = self._encode(content, "latin1")
        if not isinstance(content, bytes | bytearray) or not isinstance(dtype, _Dtype):
            raise TypeError("an array is built of bytes and a dtype")
        if type(shape) is not tuple or not all(type(side) is int and side >= 0 for side in shape):
            raise TypeError("a shape is a tuple of integers")
        needed = math.prod(shape) * dtype.numpy().itemsize
        if needed != len(content):
            raise ValueError(
                f"an array of shape {shape} and dtype {dtype.text} must have {needed} bytes, "
                f"got {len(content)}"
            )
        array: np.ndarray = np.ndarray(shape, dtype.numpy(), content, order="F" if order == "F" else "C")
        array.flags.writeable = False
        if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
            points = np.frombuffer(content, array.dtype.byteorder + "u4")
            if points.max() > sys.maxunicode:  # numpy would make text of it that Python cannot hold
                raise ValueError(f"an array has a character {points.max()}, the last one is {sys.maxunicode}")
        return array

    def _encode(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise TypeError("only text is encoded, and only as Latin-1")
        self.bytes_left -= len(text)
        if self.bytes_left < 0:
            raise ValueError("its arrays together are larger than the file")
        return text.encode("latin1")


_KNOWN = frozenset(
    {
        _Name("numpy", "ndarray"),
        _Name("numpy", "dtype"),
        _Name("_codecs", "encode"),
        _Name("collections", "OrderedDict"),
        _Name("__builtin__", "bytes"),  # how protocol 2 writes b""
        *(
            _Name(f"numpy.{core}.multiarray", name)
            for core in ("core", "_core")
            for name in ("_reconstruct", "scalar")
        ),
        *(_Name(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    }
)


def _known(name: _Name) -> _Name:
    if not isinstance(name.module, str) or not isinstance(name.name, str):
        raise TypeError("a name is text")
    if name not in _KNOWN:
        raise ValueError(
            f"the pickle asks for {name.module}.{name.name}; only numpy arrays, dicts, lists, numbers and "
            f"strings are read, and no code is ever run"
        )
    return name


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Copy the containers with finished arrays in place; `done` keeps shared and cyclic ones as
    they are.
    """
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Array):
        if value.value is None:
            raise TypeError("an array without content")
        return value.value
    if type(value) is list:
        items: list[Any] = []
        done[id(value)] = items
        items.extend(_plain(item, done) for item in value)
        return items
    if type(value) is dict:
        mapping: dict[Any, Any] = {}
        done[id(value)] = mapping
        mapping.update((_plain(key, done), _plain(item, done)) for key, item in value.items())
        return mapping
    if type(value) is tuple:
        done[id(value)] = result = tuple(_plain(item, done) for item in value)
        return result
    if value is _MARK or isinstance(value, _Name | _Dtype):
        raise TypeError("a name where data should stand")
    return value
