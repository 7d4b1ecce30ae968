"""A constant, in the ways in which people write it."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st


@dataclass
class Writer:
    """Writes a program: definitions first, then the lines that run."""

    draw: Any
    certain: bool  # leave out what the reader cannot know
    definitions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    names: int = 0

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}_{self.names}"

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def define(self, text: str) -> None:
        self.definitions.append(textwrap.dedent(text).strip())

    def add(self, text: str) -> None:
        self.lines.append(textwrap.dedent(text).strip())

    def value(self, value: Any) -> str:
        """Return an expression for a constant, in one of the ways in which people write it."""
        forms = [form for form in VALUE_FORMS if self.certain is False or form not in UNCERTAIN]
        return str(self.pick(*forms)(self, value))


def literal(w: Writer, value: Any) -> str:
    return repr(value)


def variable(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(f"{name} = {value!r}")
    return name


def reassigned(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(f"{name} = 'earlier'\n{name} = {value!r}")
    return name


def entry(w: Writer, value: Any) -> str:
    name = w.name("SETTINGS")
    w.define(f"{name} = {{'inner': {{'a': 'b', 'wanted': {value!r}}}}}")
    return w.pick(f"{name}['inner']['wanted']", f"{name}['inner'].get('wanted', 'none')")


def element(w: Writer, value: Any) -> str:
    name = w.name("items")
    w.add(f"{name} = ['x', {value!r}]\n{name}.append('y')")
    return w.pick(f"{name}[1]", f"{name}[-2]")


def unpacked(w: Writer, value: Any) -> str:
    name, other = w.name("left"), w.name("right")
    w.add(f"{name}, {other} = 'x', {value!r}\n{name}, {other} = {other}, {name}")
    return name


def function_default(w: Writer, value: Any) -> str:
    name = w.name("function")
    w.define(f"def {name}(unused=1, *, wanted={value!r}):\n    return wanted")
    return w.pick(f"{name}()", f"{name}(2)")


def closure(w: Writer, value: Any) -> str:
    name = w.name("maker")
    w.define(
        f"def {name}(given):\n    def inner(*, other=0):\n        return given\n    return inner"
    )
    return f"{name}({value!r})()"


def global_name(w: Writer, value: Any) -> str:
    name, setter = w.name("state"), w.name("set_state")
    w.define(f"{name} = 'unset'\ndef {setter}(value):\n    global {name}\n    {name} = value")
    w.add(f"{setter}({value!r})")
    return name


def class_attribute(w: Writer, value: Any) -> str:
    name = w.name("Config")
    w.define(
        f"class {name}Base:\n    wanted = {value!r}\n    other = 1\n"
        f"class {name}({name}Base):\n    @property\n    def same(self):\n        return self.wanted"
    )
    return w.pick(f"{name}.wanted", f"{name}().wanted", f"{name}().same")


def data_class(w: Writer, value: Any) -> str:
    name = w.name("Data")
    w.define(
        f"@dataclass\nclass {name}:\n    first: str = 'x'\n    wanted: object = {value!r}\n"
        "    more: list = field(default_factory=list)"
    )
    return w.pick(f"{name}().wanted", f"{name}('y', {value!r}).wanted")


def conditional(w: Writer, value: Any) -> str:
    flag = w.name("flag")
    w.add(f"{flag} = {w.pick(3, 4)} > 2")
    return f"({value!r} if {flag} else 'other')"


def branched(w: Writer, value: Any) -> str:
    name, mode = w.name("value"), w.name("mode")
    w.add(
        f"{mode} = 'fast'\nif {mode} == 'slow':\n    {name} = 'x'\n"
        f"elif {mode} in ('fast', 'faster'):\n    {name} = {value!r}\nelse:\n    {name} = 'y'"
    )
    return name


def matched(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(
        f"match 'b':\n    case 'a':\n        {name} = 'x'\n    case 'b' | 'c':\n"
        f"        {name} = {value!r}\n    case _:\n        {name} = 'y'"
    )
    return name


def looped(w: Writer, value: Any) -> str:
    name, item = w.name("value"), w.name("item")
    stop = w.pick("break", "continue", "pass")
    w.add(
        f"{name} = 'x'\nfor {item} in ('y', {value!r}, 'z'):\n    if {item} == {value!r}:\n"
        f"        {name} = {item}\n        {stop}"
    )
    return name


def counted(w: Writer, value: Any) -> str:
    name, item = w.name("value"), w.name("item")
    items = f"('y', {value!r}, 'z')"
    w.add(
        w.pick(
            f"for {item}, {name} in enumerate({items}, 1):\n    if {item} == 2:\n        break",
            f"for {item}, {name} in enumerate({items}, start=-1):\n    if not {item}:\n        break",
            f"for {item}, {name} in sorted([(3, {value!r}), (2, 'x')], key=lambda pair: pair[0]):\n"
            "    pass",
            f"{name} = sorted({items}, key=lambda item: item == {value!r}, reverse=True)[0]",
            f"for {item}, {name} in product((1, 2), ({value!r},)):\n    pass",
        )
    )
    return name


def tried(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(
        f"try:\n    {name} = {value!r}\n    raise ValueError('no')\n"
        "except (ValueError, KeyError):\n    pass\nfinally:\n    done = True"
    )
    return name


def computed(w: Writer, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return repr(value)
    return w.pick(
        f"({value - 7} + 7)", f"({value * 2} // 2)", f"int('{value}')", f"max({value}, 0)"
    )


def composed(w: Writer, value: Any) -> str:
    if not isinstance(value, str) or len(value) < 2:
        return repr(value)
    head, tail = value[: len(value) // 2], value[len(value) // 2 :]
    name = w.name("part")
    w.add(f"{name} = {head!r}")
    return w.pick(
        f"f'{{{name}}}{tail}'",
        f"{name} + {tail!r}",
        f"'{{}}{{end}}'.format({name}, end={tail!r})",
        f"''.join([{name}, {tail!r}])",
        f"'%s%s' % ({name}, {tail!r})",
    )


def by_environment(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(f"{name} = {value!r}\nif os.environ.get('NOT_SET_ANYWHERE'):\n    {name} = 'never'")
    return name


def by_environment_early(w: Writer, value: Any) -> str:
    name = w.name("choose")
    w.define(
        f"def {name}():\n    for turn in range(3):\n"
        "        if os.environ.get('NOT_SET_ANYWHERE'):\n            return 'never'\n"
        "        if os.environ.get('NOT_SET_EITHER'):\n            continue\n"
        f"        last = turn\n    return {value!r}"
    )
    return f"{name}()"


def from_environment(w: Writer, value: Any) -> str:
    return f"(os.environ.get('NOT_SET_ANYWHERE') or {value!r})"


def parsed(w: Writer, value: Any) -> str:
    return w.pick(
        f"json.loads({json.dumps({'a': [value]})!r})['a'][0]",
        f"yaml.safe_load({json.dumps({'a': [value]})!r})['a'][0]",
    )


def argument(w: Writer, value: Any) -> str:
    name = w.name("parser")
    w.add(
        f"{name} = argparse.ArgumentParser()\n"
        f"{name}.add_argument('--wanted', default={value!r})\n"
        f"{name}.add_argument('--fast', action='store_true')\n{name} = {name}.parse_args([])"
    )
    return f"{name}.wanted"


def replaced(w: Writer, value: Any) -> str:
    name = w.name("Data")
    w.define(f"@dataclass\nclass {name}:\n    wanted: object = 'x'\n    other: int = 1")
    return w.pick(
        f"dataclasses.replace({name}(other=2), wanted={value!r}).wanted",
        f"dataclasses.asdict({name}(wanted={value!r}))['wanted']",
    )


def named_tuple(w: Writer, value: Any) -> str:
    name = w.name("Pair")
    w.define(
        w.pick(
            f"class {name}(typing.NamedTuple):\n    first: object = 1\n    wanted: object = {value!r}",
            f"{name} = collections.namedtuple('{name}', 'first wanted', defaults=[1, {value!r}])",
        )
    )
    return w.pick(
        f"{name}().wanted", f"{name}()[1]", f"{name}(first=2)._asdict()['wanted']",
        f"{name}(3, 'x')._replace(wanted={value!r}).wanted", f"[b for a, b in [{name}()]][0]",
    )  # fmt: skip


def enumerated(w: Writer, value: Any) -> str:
    name = w.name("Choice")
    w.define(f"class {name}(enum.Enum):\n    other = 'x'\n    wanted = {value!r}")
    return w.pick(f"{name}.wanted.value", f"{name}['wanted'].value", f"list({name})[-1].value")


def in_a_namespace(w: Writer, value: Any) -> str:
    name = w.name("space")
    w.add(f"{name} = types.SimpleNamespace(wanted={value!r}, other=1)")
    return w.pick(f"{name}.wanted", f"vars({name})['wanted']", f"copy.copy({name}).wanted")


def by_operator(w: Writer, value: Any) -> str:
    return w.pick(
        f"operator.itemgetter(1)(['x', {value!r}])",
        f"operator.attrgetter('wanted')(types.SimpleNamespace(wanted={value!r}))",
        f"operator.methodcaller('get', 'a')({{'a': {value!r}}})",
        f"copy.deepcopy([{value!r}])[0]",
        f"min([(2, 'x'), (1, {value!r})], key=lambda pair: pair[0])[1]",
    )


def entered(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(
        f"with ExitStack() as stack:\n    {name} = stack.enter_context(nullcontext({value!r}))\n"
        "    stack.callback(print, 'left')"
    )
    return name


UNCERTAIN = (by_environment, by_environment_early, from_environment)
VALUE_FORMS = (
    literal, variable, reassigned, entry, element, unpacked, function_default, closure,
    global_name, class_attribute, data_class, conditional, branched, matched, looped, counted, tried,
    computed, composed, parsed, argument, replaced, named_tuple, enumerated, in_a_namespace,
    by_operator, entered, *UNCERTAIN,
)  # fmt: skip
