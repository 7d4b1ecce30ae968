"""Say what a comparison found: a table for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.judging.field_diff import FieldMatch
from worker.judging.object_diff import Item, counts
from worker.judging.reasons.codes import Reason
from worker.judging.reasons.texts import text as text_of
from worker.judging.static.objects import AbstractDict, AbstractList, Field
from worker.judging.static.values import Lib, Unknown, Value

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "field": "field",
        "expected": "expected",
        "found": "found",
        "match": "match",
        "why": "why",
        "score": "score",
        "yes": "yes",
        "no": "no",
        "unknown": "unknown",
        "total": "{matched} of {total} fields match, {wrong} mismatch, "
        "{unknown} cannot be known without running",
        "total_score": "score {value:.3f} of 1, weighted, over {fields} fields, "
        "of which {unknown} cannot be known and score 0",
        "no_score": "no score: the reference tells nothing that counts",
        "not_read": "not compared ({file}): it {text}",
        "note": "note ({file}): {text}",
        "objects": "objects: {matched} match, {mismatched} mismatch, {only_left} only left, "
        "{only_right} only right",
        "more": "… and {count} more",
        "problem": "the generated file does not run through: {text}",
        "mismatch": "mismatch",
        "only left": "only left",
        "only right": "only right",
    },
    "zh": {
        "field": "字段",
        "expected": "期望",
        "found": "实际",
        "match": "匹配",
        "why": "原因",
        "score": "得分",
        "yes": "是",
        "no": "否",
        "unknown": "未知",
        "total": "共 {total} 个字段：{matched} 个匹配，{wrong} 个不匹配，"
        "{unknown} 个不运行无法得知",
        "total_score": "加权得分 {value:.3f}（满分 1），共计 {fields} 个字段，"
        "其中 {unknown} 个无法得知，计 0 分",
        "no_score": "没有得分：参考文件没有给出任何计分的字段",
        "not_read": "未能比较（{file}）：{text}",
        "note": "说明（{file}）：{text}",
        "objects": "对象：{matched} 个匹配，{mismatched} 个不匹配，仅左侧 {only_left} 个，"
        "仅右侧 {only_right} 个",
        "more": "……另有 {count} 个",
        "problem": "被评判的文件未能运行完毕：{text}",
        "mismatch": "不匹配",
        "only left": "仅左侧",
        "only right": "仅右侧",
    },
}
FIELD_NAMES_ZH = {
    "pipeline": "流水线",
    "model_id": "模型",
    "scheduler": "噪声调度器",
    "scheduler_args": "调度器参数",
    "steps": "推理步数",
    "accelerators": "加速方法",
    "dtype": "数据类型",
    "device": "设备",
    "guidance": "引导系数",
    "height": "高度",
    "width": "宽度",
    "batch": "批大小",
    "images_per_prompt": "每个提示词的图像数",
    "prompt": "提示词",
    "negative_prompt": "反向提示词",
    "call_options": "其他调用参数",
    "components": "替换的组件",
    "settings": "其他设置",
}
Json: TypeAlias = Any
MAX_DEPTH = 6
MAX_CELL = 300
MAX_LINES = 20  # differences of objects in a table
MAX_DIFFERENCES = 1_000  # and in JSON


def plain(value: Value, depth: int = 0) -> Json:
    """Return a value as JSON has it; what is unknown is null."""
    if isinstance(value, (bool, int, str, type(None))):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Lib):
        return value.path
    if depth > MAX_DEPTH or isinstance(value, Unknown):
        return None
    if isinstance(value, AbstractDict):
        return {
            str(key.path if isinstance(key, Lib) else key): plain(item, depth + 1)
            for key, item in value.slots.items()
            if not isinstance(key, Field)
        }
    items = value.items if isinstance(value, AbstractList) else value
    if isinstance(items, tuple):
        return [plain(item, depth + 1) for item in items]
    return str(value) if isinstance(value, (bytes, complex)) else None


def as_json(matches: Sequence[FieldMatch], extra: dict[str, Any], *, scored: bool) -> str:
    """Return the comparison as one JSON object."""
    fields = []
    for item in matches:
        entry: dict[str, Any] = {
            "field": item.field,
            "expected": plain(item.expected),
            "found": plain(item.found),
            "match": item.match,
        }
        if scored:
            entry["score"] = item.score
        if item.why is not None:
            entry["why"] = text_of(item.why)
        fields.append(entry)
    matched = sum(item.match is True for item in matches)
    return json.dumps(
        {"fields": fields, "matched": matched, "total": len(matches), **extra}, indent=2
    )


def print_table(
    console: Console,
    matches: Sequence[FieldMatch],
    language: str,
    *,
    scored: bool = False,
) -> None:
    """Print the fields, and under them how many match."""
    texts = TEXTS[language]
    table = Table()
    table.add_column(texts["field"], no_wrap=True)
    table.add_column(texts["expected"], overflow="fold")
    table.add_column(texts["found"], overflow="fold")
    table.add_column(texts["match"], no_wrap=True)
    if scored:
        table.add_column(texts["score"], no_wrap=True)
    reasons = any(item.why is not None for item in matches)
    if reasons:
        table.add_column(texts["why"], overflow="fold")
    words = {True: "yes", False: "no", None: "unknown"}
    styles = {True: "green", False: "bold red", None: "yellow"}
    for item in matches:
        name = FIELD_NAMES_ZH.get(item.field, item.field) if language == "zh" else item.field
        row = [Text(name), *(Text(cell(value, texts)) for value in (item.expected, item.found))]
        row.append(Text(texts[words[item.match]], style=styles[item.match]))
        if scored:
            row.append(Text("–" if item.score is None else f"{item.score:.2f}"))
        if reasons:
            row.append(Text("" if item.why is None else said(item.why, language)))
        table.add_row(*row)
    console.print(table)
    counts = {answer: sum(item.match is answer for item in matches) for answer in words}
    line = texts["total"].format(
        matched=counts[True], total=len(matches), wrong=counts[False], unknown=counts[None]
    )
    console.print(Text(line))


def cell(value: Value, texts: dict[str, str]) -> str:
    """Return a value as a table's cell shows it."""
    if isinstance(value, Unknown):
        return texts["unknown"]
    content = plain(value)
    if content is None or content in ({}, []):
        return "–"
    if isinstance(content, dict):
        lines = (f"{key}: {_compact(item)}" for key, item in content.items())
        return printable("\n".join(lines), keep="\n")
    return printable(content if isinstance(content, str) else _compact(content))


def _compact(content: Json) -> str:
    if isinstance(content, dict):
        return ", ".join(f"{key}={'?' if item is None else item}" for key, item in content.items())
    return "?" if content is None else str(content)


def printable(text: str, keep: str = "") -> str:
    """Return text that cannot move a terminal's cursor or fail to encode; long ones cut."""
    if len(text) > MAX_CELL:
        text = text[:MAX_CELL] + "…"
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def said(reason: Reason, language: str) -> str:
    """Return a reason or remark in a language, printable."""
    return printable(text_of(reason, language))


def objects_as_json(items: Sequence[Item], problem: Reason | None) -> dict[str, Any]:
    """Return an object comparison: counts, every difference up to a bound, what went wrong."""
    differences = [item for item in items if item.kind != "match"]
    return {
        **counts(items),
        "differences": [asdict(item) for item in differences[:MAX_DIFFERENCES]],
        "problem": None if problem is None else text_of(problem),
    }


def print_objects(
    console: Console, items: Sequence[Item], problem: Reason | None, language: str
) -> None:
    """Print how many paths agree, and those that do not."""
    texts = TEXTS[language]
    if problem is not None:
        console.print(Text(texts["problem"].format(text=said(problem, language)), style="bold red"))
    if not items:
        return
    console.print(Text(texts["objects"].format(**counts(items))))
    differences = [item for item in items if item.kind != "match"]
    for item in differences[:MAX_LINES]:
        sides = f"{_compact(item.expected)} | {_compact(item.found)}"
        console.print(Text(printable(f"  {texts[item.kind]}: {item.path}: {sides}")))
    if len(differences) > MAX_LINES:
        console.print(Text("  " + texts["more"].format(count=len(differences) - MAX_LINES)))
