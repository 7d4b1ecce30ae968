"""Classes of libraries from which the file's own may inherit without anything being in doubt."""

from __future__ import annotations

from worker.judging.static.values import Lib

# Bases that do nothing to what an object of the class holds, nor to what it is given.
PLAIN_BASES = frozenset(
    Lib(path)
    for path in (
        "abc.ABC",
        "builtins.BaseException",
        "builtins.Exception",
        "builtins.RuntimeError",
        "builtins.ValueError",
        "builtins.float",
        "builtins.int",
        "builtins.object",
        "builtins.str",
        "enum.Enum",
        "enum.Flag",
        "enum.IntEnum",
        "enum.IntFlag",
        "enum.StrEnum",
        "pydantic.BaseModel",
        "typing.Generic",
        "typing.NamedTuple",
        "typing.Protocol",
        "typing_extensions.NamedTuple",
        "typing_extensions.Protocol",
    )
)
# Those of them that have no attributes of their own either.
BARE_BASES = frozenset(
    Lib(path)
    for path in (
        "abc.ABC",
        "builtins.object",
        "typing.Generic",
        "typing.Protocol",
        "typing_extensions.Protocol",
    )
)
