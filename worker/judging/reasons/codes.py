"""Why something is not known, or not as asked: codes with arguments, without a language.

The texts are templates in ``english.py`` and ``chinese.py``, filled by ``texts.py`` where something
is printed. Decisions look at the code, never at a text.
"""

# ruff: noqa: PIE796  # members are numbered by __new__, so that none is an alias of another

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, the arguments of its template, and the reasons from which it follows."""

    code: Why
    arguments: tuple[tuple[str, object], ...] = ()
    because: tuple[Reason, ...] = field(default=(), repr=False)  # a chain can be long
    # Whether a condition stands in it or in what it follows from: then no outer one is named.
    conditional: bool = field(default=False, compare=False)


class Why(Enum):
    """Every reason there is, each with the names of its template's gaps.

    ``because`` is the gap for the reasons from which it follows. Calling a code makes a reason:
    ``Why.DEPENDS_ON(Why.ATTRIBUTE(name="steps"))``.
    """

    # values that the text does not tell
    COMPARISON = ()
    LIST_COMPARISON = ()
    OBJECT_COMPARISON = ()
    FOREIGN_CONFIGURATION = ()
    DEVICE = ()
    DICT_ENTRY = ()
    DICT_ENTRIES = ()
    DTYPE = ()
    FIELD_WITHOUT_VALUE = ()
    NESTED_FORMAT = ()
    FORMATTED_TEXT = ()
    UNKNOWN_FORMATTED_TEXT = ()
    FUNCTION_ATTRIBUTE = ()
    GENERATOR_RESULT = ()
    LIST_CHANGED_SOMEWHERE = ()
    LIST_CHANGED = ("method",)
    PROMPT_LIST = ()
    LONG_LOOP = ()
    LONG_PRODUCT = ()
    LONG_RANGE = ()
    LOOP_OVER_OBJECT = ()
    LOOP_END = ()
    ENUM_MEMBER = ("cls",)
    MEMBERSHIP = ()
    MISSING_CONFIGURATION = ()
    MISSING_FORMAT_FIELD = ()
    UNKNOWN_MODULE = ()
    PARAMETER_NOT_PASSED = ()
    PATTERN = ()
    PARTLY_TAKEN = ()
    PIPELINE_COMPONENTS = ()
    UNKNOWN_PRODUCT = ()
    UNKNOWN_RANGE = ()
    SET_OF_OBJECTS = ()
    SLICE = ()
    UNKNOWN_SORT = ()
    TEXT = ()
    TYPE = ()
    VALUE_NESTED_TOO_DEEPLY = ()
    CONFIGURATION_VALUE = ()
    LARGE_NUMBER = ()
    LONG_LIST = ()
    LONG_TEXT = ()
    LONG_TEXT_OR_LIST = ()
    ATTRIBUTES = ()
    UNKNOWN_ATTRIBUTE = ()
    UNKNOWN_ELEMENT = ()
    UNKNOWN_ENTRY = ()
    ELEMENT_CHANGE = ()
    EXCEPTION = ()
    FAILING_EXPRESSION = ("exception",)
    PROGRAM_OBJECT = ()
    OBJECT_OPERATION = ()
    UNKNOWN_OPERATION = ()
    UNKNOWN_ORDER = ()
    RUN_TIME_CODE = ()
    UNKNOWN_START = ()
    UNKNOWN_KEY = ()
    UNUSUAL_EXPRESSION = ()
    NO_MODEL_NAMED = ()
    NOT_A_SCHEDULER = ()
    PROMPT_EMBEDDINGS = ()
    SUPER = ()
    SUPER_OUTSIDE_METHOD = ()
    FOREIGN_UNET = ()
    ATTRIBUTE = ("name",)
    SEPARATE_PARTS_MODEL = ()
    MODEL_ID = ()
    MODEL_SCHEDULER = ()
    MODEL_IMAGE_SIZE = ()
    MODEL_SCHEDULER_CONFIGURATION = ()
    MODULE_NAME = ("name",)
    PIPELINE_CLASS = ()
    PIPELINE_DEFAULT = ("name",)
    PIPELINE_DEFAULTS = ()
    PIPELINE_OUTPUT = ()
    RUN_TIME_CODE_RESULT = ()
    HELPER_RESULT = ("method",)
    SCHEDULER_RESULT = ("method",)
    RESULT = ("function",)
    DICT_METHOD_RESULT = ("method", "key")
    OBJECT_TEXT = ()
    HOME = ()
    MODEL_OUTPUT = ()
    SENT_VALUE = ()
    SETTER = ("name",)
    BASE_EFFECT = ("cls",)
    METHOD = ("cls", "name")
    CHANGE = ("name",)
    REPEATED_CALL = ("method",)
    EFFECT = ("function",)
    BASE_CHANGED = ("cls",)
    OBJECT_TRUTH = ("cls",)
    CLASS_DEFAULTS = ()
    HAS_PART = ("name",)
    BUILDS_PIPELINE = ("name",)
    DELETED = ("name",)
    SET_ELSEWHERE = ("name",)
    TAKEN_AWAY = ("name",)
    MAY_COME_FROM = ("name", "module")
    VALUE_SET_ELSEWHERE = ("name",)
    VALUE_OF_TORCH = ("name",)
    UNPACKED_OBJECT = ()
    FUNCTION = ("path",)
    MACHINE_QUERY = ("path",)
    NOTHING_BUILT = ()
    FILE_NOT_READ = ()
    # how one unknown follows from another
    DEPENDS_ON = ("because",)
    GIVEN_BY = ("because",)
    MAY_BE_CHANGED = ("because",)
    # what a program certainly does
    NOT_ENABLED = ()
    ENABLED_TWICE = ()
    PARAMS_NOT_SET = ()
    HELPER_WITHOUT_PIPE = ()
    NONE_HAS_NO_ATTRIBUTE = ("name",)
    LEFT_OVER_TGATE = ()
    WRONG_LENGTH = ()
    NOT_CALLABLE = ()
    NO_MORE_ITEMS = ()
    ASSERTION_FAILS = ("line",)
    NO_BASE_ORDER = ("cls",)
    NO_PIPELINE_BUILT = ()
    FILE_FAILS = ("because",)
    FILE_RAISES = ("exception", "line")
    NO_SUCH_KEY = ("key",)
    NAME_NOT_DEFINED = ("name",)
    STEPS_IGNORED = ()
    PROGRAM_LEAVES = ()
    HAS_NO_ATTRIBUTE = ("cls", "name")
    HAS_NO_PART = ("cls", "name")
    HAS_NO_SETTER = ("cls", "name")
    TAKES_NO = ("function", "name")
    TOO_MANY_ARGUMENTS = ("function",)
    NOT_PATCHABLE = ("function",)
    REFUSES = ("cls", "name")
    OTHER_LOADER = ("cls", "name")
    # what is not followed
    TOO_MANY_TURNS = ()
    LIBRARY_CHANGED = ("name",)
    TOO_MUCH_WORK = ()
    NESTED_TOO_DEEPLY = ()
    TOO_MUCH_RECURSION = ("function",)
    TOO_MANY_CLASSES = ("cls",)
    # how two values differ
    OTHER_TIMESTEPS = ()
    OTHER_MODEL = ()
    OTHER_SCHEDULER = ()
    EQUIVALENT_SCHEDULERS = ()
    MISSING = ()
    NO_PIPELINE_IN_EITHER = ()
    NOT_ASKED_FOR = ()
    OFF_BY = ("difference",)
    DEFAULT_NOT_COUNTED = ()
    SAME_MODEL = ()
    WITHIN = ("tolerance",)
    ENTRY = ("key", "because")
    ENTRIES = ("because",)
    # a file that is none
    CANNOT_BE_OPENED = ("error",)
    CANNOT_BE_READ = ("error",)
    NULL_BYTES = ()
    NOTEBOOK_LANGUAGE = ("language",)
    NOTEBOOK_ORDER = ()
    SOURCE_NESTED_TOO_DEEPLY = ()
    NOT_PYTHON = ("error",)
    SYNTAX_ERROR_AT = ("line", "error")
    MARKDOWN_FENCES = ("because",)
    TOO_MANY_TOKENS = ("limit",)
    FILE_TOO_LARGE = ("limit",)
    NOT_UTF_8 = ()
    NOT_A_FILE = ()
    NOT_ITS_ENCODING = ("encoding", "place")
    ENCODING_NOT_SUPPORTED = ()
    # how a program that was run ended
    STOPPED = ()
    STOPPED_FOR_TIME = ()
    STOPPED_FOR_MEMORY = ()
    STOPPED_FOR_PROCESSES = ()
    STOPPED_FOR_RESULT = ()
    NOT_RUN_APART = ()
    KILLED = ("signal",)
    ENDED_WITHOUT_TRACE = ()
    EXITED = ("code",)
    PROGRAM_FAILS = ("error",)
    BUILDS_NO_PIPELINE = ()
    TAMPERED = ()
    UNREADABLE_DESCRIPTION = ("error",)
    REFERENCE_NOT_BUILT = ("because",)
    MODEL_NOT_FETCHED = ("error",)
    # how far its text bears out what it built
    NOT_AS_WRITTEN = ("fields",)
    KNOWN_BY = ("because",)
    OWN_DESCRIPTION = ("fields",)
    CHANGEABLE_DESCRIPTION = ("fields", "because")
    HANDS_ON_MODULE = ("module",)
    USES = ("name",)
    COMPUTED_NAMES = ()
    IMPORTS = ("module",)
    IMPORTS_BESIDE = ()
    IMPORTS_FROM = ("module", "names")
    USES_ATTRIBUTE = ("name",)
    SETS_ATTRIBUTE = ("name",)

    gaps: tuple[str, ...]
    bare: Reason

    def __new__(cls, *gaps: str) -> Why:
        member = object.__new__(cls)
        member._value_ = len(cls.__members__) + 1
        member.gaps = gaps
        member.bare = Reason(member)
        return member

    def __call__(self, *because: Reason, **arguments: object) -> Reason:
        """Return a reason with this code; one without arguments is always the same object."""
        if not because and not arguments:
            return self.bare
        conditional = self is Why.DEPENDS_ON or any(inner.conditional for inner in because)
        return Reason(self, tuple(sorted(arguments.items())), because, conditional)
