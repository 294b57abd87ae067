"""From a row's objective to what the training loop drives, and to what can be asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from uniwhisper.baselines.contrastive import TASKS as CONTRASTIVE_TASKS
from uniwhisper.baselines.contrastive import ContrastiveLearner
from uniwhisper.baselines.heads import Head, MultiHeadLearner, heads_of
from uniwhisper.baselines.language_models import LanguageModelLearner
from uniwhisper.baselines.whisper import WhisperLearner
from uniwhisper.baselines.whisper_text import OWN_TASKS
from uniwhisper.data.instructions import answers
from uniwhisper.data.manifest import Manifest
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.reproduce.rows import Row
from uniwhisper.training.learner import INSTRUCTIONS, Learner


@dataclass(frozen=True)
class Learners:
    """All objectives over one training set, with the text tokens of one language model."""

    manifest: Manifest
    language_model: str

    def of(self, row: Row) -> Learner:
        """The learner of a row that is trained.

        Raises:
            WeightsError: the language model's tokenizer cannot be loaded.
        """
        objective = row.objective
        assert objective is not None, "what takes steps has an objective"
        if objective == "instructions":
            return INSTRUCTIONS
        if objective == "contrastive":
            return ContrastiveLearner()
        if objective in ("random frozen", "pretrained trained", "random trained"):
            weights, state = objective.split()
            return LanguageModelLearner(pretrained=weights == "pretrained", trained=state == "trained")
        tokenizer = FrozenLanguageModel.load(self.language_model).tokenizer
        if objective == "multi-head":
            return MultiHeadLearner(self._heads, tokenizer, len(tokenizer), unit_means=row.unit_means)
        return WhisperLearner(
            tokenizer=tokenizer,
            text_tokens=len(tokenizer),
            languages=languages(self.manifest),
            sequence="own" if objective == "whisper" else "instructions",
        )

    def tasks(self, row: Row) -> Sequence[str] | None:
        """What a row is asked; None: everything."""
        objective = row.asked_as or row.objective
        if objective == "whisper":
            return OWN_TASKS
        if objective == "contrastive":
            return CONTRASTIVE_TASKS
        if objective == "multi-head":
            return tuple(head.task for head in self._heads)
        return None

    @cached_property
    def language_model_identity(self) -> str:
        """Of its weights."""
        return FrozenLanguageModel.load(self.language_model).identity()

    @cached_property
    def _heads(self) -> tuple[Head, ...]:
        return heads_of(self.manifest)


def languages(manifest: Manifest) -> tuple[str, ...]:
    """Every language that a clip of the manifest is said to be in, sorted."""
    spoken = {name for name, corpus in manifest.corpora.items() if "language" in corpus.tasks}
    found = {answers(manifest, record).get("language") for record in manifest.records if record.corpus in spoken}
    return tuple(sorted(str(name) for name in found - {None}))
