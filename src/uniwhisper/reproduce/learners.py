"""From a row's objective to what the training loop drives."""

from dataclasses import dataclass

from uniwhisper.baselines.whisper import WhisperLearner
from uniwhisper.data.instructions import answers
from uniwhisper.data.manifest import Manifest
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.reproduce.rows import Objective
from uniwhisper.training.learner import INSTRUCTIONS, Learner


@dataclass(frozen=True)
class Learners:
    """All objectives over one training set, with the text tokens of one language model."""

    manifest: Manifest
    language_model: str

    def of(self, objective: Objective) -> Learner:
        """The learner of an objective.

        Raises:
            WeightsError: the language model's tokenizer cannot be loaded.
        """
        if objective == "instructions":
            return INSTRUCTIONS
        tokenizer = FrozenLanguageModel.load(self.language_model).tokenizer
        return WhisperLearner(
            tokenizer=tokenizer,
            text_tokens=len(tokenizer),
            languages=languages(self.manifest),
            sequence="own" if objective == "whisper" else "instructions",
        )


def languages(manifest: Manifest) -> tuple[str, ...]:
    """Every language that a clip of the manifest is said to be in, sorted."""
    spoken = {name for name, corpus in manifest.corpora.items() if "language" in corpus.tasks}
    found = {answers(manifest, record).get("language") for record in manifest.records if record.corpus in spoken}
    return tuple(sorted(str(name) for name in found - {None}))
