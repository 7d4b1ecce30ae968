"""Read and parse an untrusted file in bounded time and memory."""

from __future__ import annotations

import ast
import codecs
import io
import os
import re
import stat
import tokenize
import warnings

from worker.judging import notebook
from worker.judging.reasons.codes import Reason, Why
from worker.judging.reasons.texts import text as text_of

MAX_BYTES = 16 * 2**20
# One token costs about a kilobyte of syntax tree and a dozen microseconds of parsing: this many
# keep a file under 300 MB and 2 s, and are two hundred times what a long real file has.
MAX_TOKENS = 200_000
# Text encodings that decode in linear time; others that a coding line may name (idna, rot13,
# zlib, …) do not, or are no text encodings at all.
ENCODINGS = frozenset(
    [
        "utf-8",
        "ascii",
        "iso8859-1",
        "iso8859-15",
        "cp1252",
        "gbk",
        "gb2312",
        "gb18030",
        "big5",
        "shift_jis",
        "euc_jp",
        "euc_kr",
    ]
)
# Whether a line may be one for notebooks.
_MAGIC = re.compile(r"^\s*(?:[!%?]|[A-Za-z_][\w, ]*=\s*[!%]|[\w.*]+\?)", re.MULTILINE)
_TOKEN = re.compile(r"\w+|[^\w\s]")


class SourceError(Exception):
    """A file that cannot be read, or is not Python; the message says why, without the path."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return text_of(self.reason)


def read_source(path: str) -> bytes:
    """Return the bytes of a regular file of at most 16 MiB.

    Raises:
        SourceError: there is no such file, it may not be read, it is a folder, a pipe or a
            device, or it is too large.
    """
    try:
        # Opened without blocking: a named pipe would otherwise hold the judge for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SourceError(Why.CANNOT_BE_OPENED(error=_reason(error))) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceError(Why.NOT_A_FILE())
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise SourceError(Why.CANNOT_BE_READ(error=_reason(error))) from error
    if len(data) > MAX_BYTES:
        raise SourceError(Why.FILE_TOO_LARGE(limit=MAX_BYTES // 2**20))
    return data


def parse(data: bytes) -> ast.Module:
    """Return the syntax tree of a file's bytes.

    Raises:
        SourceError: the bytes are not text, not Python, or more Python than is worth reading.
    """
    text = python_text(data)
    if sum(1 for _ in zip(range(MAX_TOKENS + 1), _TOKEN.finditer(text), strict=False)) > MAX_TOKENS:
        raise SourceError(Why.TOO_MANY_TOKENS(limit=MAX_TOKENS))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a judged file is not our news
            return ast.parse(text)
    except SyntaxError as error:
        raise SourceError(_syntax_reason(error, text)) from error
    except (RecursionError, MemoryError) as error:
        raise SourceError(Why.SOURCE_NESTED_TOO_DEEPLY()) from error
    except ValueError as error:  # a number of 5,000 digits, a lone surrogate
        raise SourceError(Why.NOT_PYTHON(error=str(error))) from error


def python_text(data: bytes) -> str:
    """Return the Python of a file's bytes: of a notebook its code, in place of magics plain lines.

    Raises:
        SourceError: the bytes are not text, or a notebook in another language.
    """
    text = decode(data)
    if "\0" in text:
        raise SourceError(Why.NULL_BYTES())
    read = notebook.read_notebook(text)
    if read is None:
        return notebook.without_magics(text) if _MAGIC.search(text) else text
    if read.language not in ("python", "python3", "ipython"):
        raise SourceError(Why.NOTEBOOK_LANGUAGE(language=read.language))
    return read.text


def python_bytes(data: bytes) -> bytes:
    """Return a file's bytes as an interpreter takes them: unchanged, unless it is for notebooks."""
    text = python_text(data)
    return data if text == decode(data) else text.encode()


def in_order(data: bytes) -> bool:
    """Whether a file is no notebook whose cells were run in another order than they stand in."""
    read = notebook.read_notebook(decode(data))
    return read is None or read.in_order


def decode(data: bytes) -> str:
    """Return the text of Python source bytes, by its byte-order mark or coding line."""
    try:
        named, _ = tokenize.detect_encoding(io.BytesIO(data[:4096]).readline)
        encoding = codecs.lookup(named).name.removesuffix("-sig")
    except (SyntaxError, LookupError, ValueError):
        encoding = ""
    if encoding not in ENCODINGS:
        if _is_text(data):
            raise SourceError(Why.ENCODING_NOT_SUPPORTED())
        raise SourceError(Why.NOT_UTF_8())
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        raise SourceError(
            Why.NOT_ITS_ENCODING(encoding=encoding.upper(), place=error.start)
        ) from error


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _syntax_reason(error: SyntaxError, text: str) -> Reason:
    reason = Why.NOT_PYTHON(error=error.msg)
    if error.lineno:
        reason = Why.SYNTAX_ERROR_AT(line=error.lineno, error=error.msg)
    has_fences = re.search(r"^\s*```", text, re.MULTILINE)
    return Why.MARKDOWN_FENCES(reason) if has_fences else reason


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
