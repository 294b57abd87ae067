"""The rules of a task, as its suite file states them: classes, groups, folds, and what is done to the audio."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uniwhisper.evaluation.strict import Taker, is_count, is_number, is_pattern, is_text, is_texts

EVERY_FIELD = "*"


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """How a clip's fields become its class (or, for speech recognition, its text; for retrieval, its captions)."""

    field: str
    """`EVERY_FIELD`: the values of all fields, one a line, as they stand in the JSON."""
    missing: str
    """What a clip without the field means: "refuse" (an error) or "leave out" (not part of the task)."""
    min_clips: int
    """Classes with fewer clips in the whole task are not part of it."""
    classes: tuple[str, ...] | None
    """Every allowed class, in the order of their indices. A clip of another class is an error. None: what is found."""
    at_most: float | None
    """Numeric field: the first of `names` up to and including this value, the second above. None: the value itself."""
    names: tuple[str, str] | None
    separator: str | None
    """What separates several classes of one clip. None: a clip has one class."""

    def __call__(self, fields: Mapping[str, Any]) -> str | None:
        """Class of a clip with these fields; None if the field is absent or null.

        Raises:
            ValueError: `at_most` is set and the field is not a number.
        """
        value = "\n".join(map(str, fields.values())) or None if self.field == EVERY_FIELD else fields.get(self.field)
        if value is None:
            return None
        if self.at_most is None:
            return str(value)
        assert self.names is not None, "at_most comes with names"
        return self.names[0] if float(value) <= self.at_most else self.names[1]


@dataclass(frozen=True, kw_only=True)
class GroupRule:
    """What clips share beyond their class: a speaker, a recording they were cut from, a pitch."""

    field: str | None
    pattern: str | None
    """Of the clip's key; its one group names the clip's group."""

    def __call__(self, key: str, fields: Mapping[str, Any]) -> str | None:
        """None: the clip is a group of its own."""
        if self.field is not None:
            value = fields.get(self.field)
            return None if value is None else str(value)
        match = re.match(self.pattern or "", key)
        return match[1] if match else None

    @property
    def name(self) -> str:
        return self.field or "source"


@dataclass(frozen=True, kw_only=True)
class FoldRule:
    """Which fold a clip belongs to, and which folds are scored (each against all the others)."""

    by: str
    """"archive": the group of `pattern` in the archive's name. "content": hash of the encoded audio, modulo `count`.
    "group": whole groups of `of`, dealt out so that classes and sizes are even."""
    pattern: str | None
    of: GroupRule | None
    names: tuple[str, ...]
    """Every fold, in the order of reporting. An absent one is an error."""
    scored: tuple[str, ...]
    reference: tuple[str, ...] | None
    """Folds that may be learned from. None: all but the scored one."""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """Random gain and equalisation of each clip, decided by the clip's content: a channel that says nothing."""

    gain_db: float
    """Gain is uniform within plus and minus this."""
    equalizer_db: float
    """Deviation of the gain of each equaliser band."""


@dataclass(frozen=True, kw_only=True)
class Mixtures:
    """Synthetic mixtures of several speakers' clips. Speakers are dealt into cells; a mixture stays within one."""

    speaker: str
    """Field that names the speaker."""
    cells: int
    speakers: tuple[int, ...]
    """How many speak at once."""
    clips: int
    """Mixtures per cell and number of speakers."""
    seconds: float


AudioRule = Perturbation | Mixtures | None
"""None: the recording as it is."""


def parse_label(content: Any, lists: Mapping[str, tuple[str, ...]]) -> LabelRule:
    """`lists`: label lists by name; `classes` names one."""
    take = Taker(content, "label")
    at_most, names = take("at_most", is_number, default=None), take("names", is_texts, default=None)
    classes = take("classes", is_text, default=None)
    if classes is not None and classes not in lists:
        raise ValueError(f"label: classes names a list that does not lie beside the suite, labels/{classes}.txt")
    rule = LabelRule(
        field=take("field", is_text),
        missing=take("missing", lambda missing: missing in ("refuse", "leave out"), default="refuse"),
        min_clips=take("min_clips", is_count, default=1),
        classes=None if classes is None else lists[classes],
        at_most=at_most,
        names=None if names is None else tuple(names),
        separator=take("separator", is_text, default=None),
    )
    take.finish()
    if (at_most is None) != (names is None) or (names is not None and len(names) != 2):
        raise ValueError("at_most comes with exactly two names")
    return rule


def parse_group(content: Any) -> GroupRule:
    take = Taker(content, "group")
    rule = GroupRule(field=take("field", is_text, default=None), pattern=take("pattern", is_pattern, default=None))
    take.finish()
    if (rule.field is None) == (rule.pattern is None):
        raise ValueError("a group is by field or by pattern")
    return rule


def parse_folds(content: Any) -> FoldRule:
    take = Taker(content, "folds")
    by = take("by", lambda by: by in ("archive", "content", "group"))
    pattern, of = None, None
    if by == "archive":
        pattern = take("pattern", is_pattern)
        names = tuple(take("names", is_texts))
    else:
        of = parse_group(take("of")) if by == "group" else None
        names = tuple(str(fold) for fold in range(take("count", is_count)))
    scored = tuple(take("scored", is_texts, default=names))
    reference = take("reference", is_texts, default=None)
    take.finish()
    if reference is not None and (not set(reference) <= set(names) or set(reference) & set(scored)):
        raise ValueError("reference folds are folds, and none of them is scored")
    if len(set(names)) < 2 or not scored or not set(scored) <= set(names):
        raise ValueError("folds need two or more names, and scored ones among them")
    return FoldRule(
        by=by,
        pattern=pattern,
        of=of,
        names=names,
        scored=scored,
        reference=None if reference is None else tuple(reference),
    )


def parse_audio(content: Any) -> AudioRule:
    if content is None:
        return None
    take = Taker(content, "audio")
    rule: AudioRule
    if take("as", lambda kind: kind in ("perturbed", "mixtures")) == "perturbed":
        rule = Perturbation(gain_db=take("gain_db", is_number), equalizer_db=take("equalizer_db", is_number))
    else:
        rule = Mixtures(
            speaker=take("speaker", is_text),
            cells=take("cells", is_count),
            speakers=tuple(take("speakers", lambda counts: bool(counts) and all(map(is_count, counts)))),
            clips=take("clips", is_count),
            seconds=take("seconds", lambda seconds: is_number(seconds) and 0 < seconds <= 30),
        )
    take.finish()
    return rule
