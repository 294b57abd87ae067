"""What a file of this folder says about its corpus."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from uniwhisper.data.corpora import CorpusDescription, parse_description
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.storage import Store

Parser = Callable[[Store, OnProblem], Iterator[SourceClip]]
"""(the corpus's folder, told of each problem) -> its training clips. Test and validation splits stay out."""


@dataclass(frozen=True, slots=True)
class Published:
    """A corpus that anybody can download."""

    name: str
    """What `data prepare` calls it."""
    title: str
    url: str
    licence: str
    domain: str
    hours: float
    """Of the training split, as its publishers state or as the counts they state come to."""
    tasks: Mapping[str, Mapping[str, Any]]
    """Task -> rule, as in corpora.json."""
    layout: str
    """Where the layout that the parser reads is documented."""
    parse: Parser
    unused: Mapping[str, str] = field(default_factory=dict)
    """Fields that no task asks for -> why."""

    def description(self) -> CorpusDescription:
        """The corpus's description in a manifest."""
        value = {"domain": self.domain, "licence": self.licence, "tasks": dict(self.tasks), "unused": dict(self.unused)}
        return parse_description(value, name=self.name)


def pieces(seconds: float, longest: float) -> Iterator[tuple[float, float]]:
    """(start, length) in seconds of consecutive pieces; a rest shorter than a fifth of a piece is left out."""
    start = 0.0
    while seconds - start >= longest / 5:
        yield start, min(longest, seconds - start)
        start += longest
