"""Answers such as `N/A` and `nan`: counted while a corpus is prepared, so that they are not taught unnoticed."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from uniwhisper.core.placeholders import is_placeholder
from uniwhisper.data.corpora import CorpusDescription


class PlaceholderCount:
    """How many clips of a corpus answer with a placeholder: by task, field, text, and whether it fills the field."""

    def __init__(self, description: CorpusDescription) -> None:
        self._description = description
        self._clips: Counter[tuple[str, str, str, bool]] = Counter()

    def add(self, record_id: str, fields: Mapping[str, Any]) -> None:
        """Look at a clip that was found good."""
        found = {
            (task, rule["field"], text, text == str(fields[rule["field"]]))
            for task, rule in self._description.tasks.items()
            # Where labels are mapped one by one, somebody has looked at each.
            if "field" in rule and "values" not in rule
            for text in _placeholders(fields.get(rule["field"]), rule.get("separator"))
        }
        if found:
            answered = self._description.answers(record_id, fields)  # not where the rule excludes it
            self._clips.update(key for key in found if key[0] in answered)

    def lines(self) -> list[str]:
        """A warning for each, with what leaves them out."""
        return [
            f"warning: {count:,} {'clip answers' if count == 1 else 'clips answer'} {task} with {text!r}, which is "
            f"taught like any other answer; if it means that nothing is known, {_remedy(field, text, alone)}"
            for (task, field, text, alone), count in sorted(self._clips.items())
        ]


def _remedy(field: str, text: str, alone: bool) -> str:
    if not alone:
        return f"take it out of {field}"
    excluded = json.dumps({field: {text: "not known"}}, ensure_ascii=False)
    return f'empty {field}, or add to this task in corpus.json: "exclude": {excluded}'


def _placeholders(raw: Any, separator: str | None) -> Iterator[str]:
    if raw is None:
        return
    if separator is not None and isinstance(raw, str):
        raw = [part for part in raw.split(separator) if part.strip()]
    for part in raw if isinstance(raw, list) else [raw]:
        # Events and notes: [start, end, label].
        for label in part[2:] if isinstance(part, list) else [part]:
            if label is not None and is_placeholder(label):
                yield str(label)
