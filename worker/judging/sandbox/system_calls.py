"""A filter on system calls that keeps a program from everything outside that is not a file.

No namespace keeps away a socket that has a path: whoever can name it can connect to it, as its owner's own
process would. Nor does one know of sockets to a virtual machine's host, or of the kernel's keyrings. So a
program may have sockets, but connect none; the kernel looks at every call (seccomp), and what is filtered
stays so.

For jail.py, which runs as a script: standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_SET_SECCOMP, _FILTER = 22, 2
_GET_ACTION_AVAILABLE = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32 = 0x40000000  # a second table of the same calls on x86_64
# By machine: its AUDIT_ARCH, and the numbers of its calls (asm/unistd.h).
_CALLS = (
    *("socket", "connect", "socketpair", "seccomp", "add_key", "request_key", "keyctl"),
    *("io_uring_setup", "shmget", "unshare", "clone", "clone3"),
)
_OF_X86 = (41, 42, 53, 317, 248, 249, 250, 425, 29, 272, 56, 435)
_OF_ARM = (198, 203, 199, 277, 217, 218, 219, 425, 194, 97, 220, 435)
_MACHINES = {
    "x86_64": (0xC000003E, dict(zip(_CALLS, _OF_X86, strict=True))),
    "aarch64": (0xC00000B7, dict(zip(_CALLS, _OF_ARM, strict=True))),
}
_NEW_USER = (
    0x10000000  # of clone and unshare: a namespace in which a program has every capability again
)
_UNIX, _FAMILIES = 1, (2, 10, 16)  # IPv4, IPv6, netlink: the network namespace's own
# Of UNIX sockets. The others (datagrams) could send to a path without having been connected.
_TYPES = (1, 5)
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # where they lie in struct seccomp_data
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06

Instruction = tuple[int, int, int, int]


def can_filter() -> bool:
    """Say whether this machine's system calls are known here and its kernel can filter them."""
    known = _MACHINES.get(platform.machine())
    if known is None:
        return False
    action = ctypes.c_uint32(_ERRNO)
    number = known[1]["seccomp"]
    return bool(_LIBC.syscall(number, _GET_ACTION_AVAILABLE, 0, ctypes.byref(action)) == 0)


def filter_calls() -> bool:
    """Filter this process's system calls from now on, and those of all that it starts; say whether.

    Call it where `can_filter`, after the process has given up the right to gain privileges.
    """
    instructions = _instructions(*_MACHINES[platform.machine()])
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(buffer))
    return bool(_LIBC.prctl(_SET_SECCOMP, _FILTER, program, 0, 0) == 0)


def _instructions(architecture: int, numbers: dict[str, int]) -> list[Instruction]:
    refused = {
        # As without a network, which is what a program is told.
        numbers["connect"]: errno.ENETUNREACH,
        # What its calls do is not seen here.
        numbers["io_uring_setup"]: errno.ENOSYS,
        **{numbers[name]: errno.ENOSYS for name in ("add_key", "request_key", "keyctl")},
        # Memory that no process need have: no limit finds it.
        numbers["shmget"]: errno.ENOSYS,
        # Its flags lie in memory, which a filter cannot read; the C library then takes clone.
        numbers["clone3"]: errno.ENOSYS,
    }
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        *_unless_equal(architecture, errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _answer(errno.ENOSYS),
    ]
    for number, error in refused.items():
        code += [(_EQUAL, 0, 1, number), _answer(error)]
    stream = [(_LOAD, 0, 0, _SECOND), (_AND, 0, 0, 0xF), *_one_of(_TYPES, errno.EACCES)]
    family = [
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 0, len(stream), _UNIX),
        *stream,
        *_one_of(_FAMILIES, errno.EAFNOSUPPORT),
    ]
    users = [
        (_LOAD, 0, 0, _FIRST),
        (_ANY_BIT, 0, 1, _NEW_USER),
        _answer(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    checked = {"socketpair": stream, "socket": family, "clone": users, "unshare": users}
    for name, checks in checked.items():
        code += [(_EQUAL, 0, len(checks), numbers[name]), *checks]
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def _unless_equal(value: int, error: int) -> list[Instruction]:
    return [(_EQUAL, 1, 0, value), _answer(error)]


def _one_of(values: tuple[int, ...], error: int) -> list[Instruction]:
    """Allow what is one of the values, refuse the rest."""
    tests = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [*tests, _answer(error), (_RETURN, 0, 0, _ALLOW)]


def _answer(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)
