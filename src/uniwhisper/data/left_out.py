"""Clips that a training set is to go without, by what their fields say: a licence, a speaker, a kind of label."""

import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.sources.clip import SourceClip

LeftOutClips = Mapping[str, Mapping[str, int]]
"""Rule as it was typed -> corpus -> clips that it left out. A clip counts for the first rule that it is like."""
Listed = TypeVar("Listed")
LICENCE_FIELD = "license"
"""As corpora write it clip by clip."""


@dataclass(frozen=True)
class Rule:
    """Leaves out a clip one of whose values in `field` is like `pattern`, whatever the case of letters."""

    field: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Of `FIELD=PATTERN`, as it is typed.

        Raises:
            ManifestError: another form.
        """
        field, equals, pattern = text.partition("=")
        if not (field and equals and pattern):
            fix = "for example --leave-out 'license=*-NC*' --leave-out clear_terms=false"
            raise ManifestError(f"--leave-out {text}", expected="FIELD=PATTERN", got=text, fix=fix)
        return cls(field, pattern)

    def __str__(self) -> str:
        return f"{self.field}={self.pattern}"

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether the clip is left out. A list holds several values; a field that is not there has none."""
        value = fields.get(self.field)
        values = value if isinstance(value, list | tuple) else [value]
        pattern = self.pattern.casefold()
        return any(fnmatchcase(text, pattern) for one in values if one is not None for text in _as_typed(one))


def _as_typed(value: Any) -> list[str]:
    """A value as a pattern may have it: a table with gaps holds 3 as 3.0."""
    whole = [str(int(value))] if isinstance(value, float) and value.is_integer() else []
    return [str(value).casefold(), *whole]


class LeftOut:
    """What several rules leave out, counted while clips pass."""

    def __init__(self, rules: Sequence[str]) -> None:
        """
        Raises:
            ManifestError: a rule that is no `FIELD=PATTERN`.
        """
        self._rules = [Rule.parse(text) for text in rules]
        self._counts: Counter[tuple[str, Rule]] = Counter()
        self._fields: set[str] = set()
        self._matched: set[Rule] = set()

    @property
    def count(self) -> int:
        """Clips left out so far."""
        return self._counts.total()

    def remaining(self, corpus: str, licence: str, clips: Iterable[SourceClip]) -> Iterator[SourceClip]:
        """The clips of a corpus that no rule is about.

        Args:
            licence: the corpus's: the `license` of a clip that has no such field, or an empty one.
        """
        for clip in clips:
            fields = clip.fields | {LICENCE_FIELD: clip.fields.get(LICENCE_FIELD) or licence}
            self._fields.update(fields)
            matched = [rule for rule in self._rules if rule.matches(fields)]
            self._matched.update(matched)
            if matched:
                self._counts[corpus, matched[0]] += 1
            else:
                yield clip

    def once_known(self, listed: Iterator[Listed], folder: Path) -> Iterator[Listed]:
        """What is listed (from `remaining`), the first of it only when a clip with each rule's field was seen.

        So a rule about a field that no clip has, which would leave out nothing, is refused before work on any clip.

        Args:
            folder: where what waits lies meanwhile, in a file without a name: clips are more than memory holds.

        Raises:
            ManifestError: (before the first is given) there is such a rule.
        """
        with tempfile.TemporaryFile(dir=folder) as waiting:
            count = 0
            while self._unknown():
                clip = next(listed, None)
                if clip is None:
                    self._require_known()
                    break
                pickle.dump(clip, waiting)
                count += 1
            waiting.seek(0)
            for _ in range(count):
                yield pickle.load(waiting)
        yield from listed

    def _unknown(self) -> list[Rule]:
        return [rule for rule in self._rules if rule.field not in self._fields]

    def _require_known(self) -> None:
        if unknown := self._unknown():
            raise ManifestError(
                f"--leave-out {unknown[0]} is about nothing",
                expected=f"one of the clips' fields: {', '.join(sorted(self._fields)) or 'they have none'}",
                got=f"no clip with the field {unknown[0].field!r}",
                fix="name a field as the corpora write it, or leave out that option",
            )

    def unmatched_lines(self) -> list[str]:
        """A note for each rule that no clip is like: a pattern without `*` has to be the whole value."""
        return [
            f"no clip left out by {rule}: no {rule.field} is like that"
            for rule in dict.fromkeys(self._rules)
            if rule not in self._matched
        ]

    @property
    def clips(self) -> LeftOutClips:
        """What every rule left out so far, in their order."""
        return {
            str(rule): {name: count for (name, other), count in self._counts.items() if other == rule}
            for rule in self._rules
        }

    def lines(self, corpus: str) -> list[str]:
        """What was left out of a corpus, for its notes."""
        counts = {rule: count for (name, rule), count in self._counts.items() if name == corpus}
        return [f"{count:,} clip{'s' * (count != 1)} left out by {rule}" for rule, count in counts.items()]


def joined(several: Iterable[LeftOutClips]) -> LeftOutClips:
    """What was left out of several manifests together."""
    together: dict[str, Counter[str]] = {}
    for each in several:
        for rule, clips in each.items():
            together.setdefault(rule, Counter()).update(clips)
    return together
