"""Make text of a reason: only where something is printed or written for people."""

from __future__ import annotations

from worker.judging.reasons import chinese, english
from worker.judging.reasons.codes import Reason, Why

TEMPLATES: dict[str, dict[Why, str]] = {"en": english.TEMPLATES, "zh": chinese.TEMPLATES}
_BETWEEN = {"en": "; ", "zh": "；"}  # several reasons from which one follows


def text(reason: Reason, language: str = "en") -> str:
    """Return a reason in a language, with all from which it follows.

    A file can make a reason follow from another a thousand times over, so that a chain of them is
    walked, not descended.
    """
    chain = [reason]
    while len(chain[-1].because) == 1:
        chain.append(chain[-1].because[0])
    said = _BETWEEN[language].join(text(inner, language) for inner in chain[-1].because)
    for link in reversed(chain):
        said = TEMPLATES[language][link.code].format(because=said, **dict(link.arguments))
    return said
