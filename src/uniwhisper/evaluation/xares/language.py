"""What a user must bring for the tasks of words: BERT's tokenizer for captions, a language model for speech.

X-ARES takes `google-bert/bert-base-uncased` (the tokenizer alone) and Qwen2.5-0.5B. Neither is ours to ship; another
one can stand there, and the result then names it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uniwhisper.core.errors import MissingExtraError, WeightsError
from uniwhisper.core.identity import hash_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class CaptionTokenizer:
    """Captions to token ids below `vocabulary`, with the tokenizer's own marks of begin and end."""

    tokenize: Callable[[Sequence[str]], list[list[int]]]
    vocabulary: int
    name: str
    identity: str
    """Hash of its vocabulary."""


@dataclass(frozen=True)
class SpeechModel:
    """A causal language model of transformers, which stays frozen, and its tokenizer, which has an end token."""

    causal_lm: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    identity: str
    """Hash of its weights."""


def open_tokenizer(folder: Path) -> CaptionTokenizer:
    """The tokenizer in a folder, as transformers saves it; `vocab.txt` alone is BERT's lower-case one.

    Raises:
        WeightsError: there is none.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer, BertTokenizerFast
    except ImportError:
        raise MissingExtraError.of("transformers", "train", "the tokenizer of captions") from None
    folder = Path(folder)
    bare = not (folder / "tokenizer_config.json").is_file() and (folder / "vocab.txt").is_file()
    try:
        if not folder.is_dir():
            raise OSError("no such folder")
        kind = BertTokenizerFast if bare else AutoTokenizer
        tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"no tokenizer in {folder}",
            expected="a folder with tokenizer.json and tokenizer_config.json, or BERT's vocab.txt",
            got=" ".join(str(error).split())[:300],
            fix="save the tokenizer of google-bert/bert-base-uncased there, on a machine with network",
        ) from None
    return CaptionTokenizer(
        lambda captions: tokenizer(list(captions))["input_ids"],
        len(tokenizer),
        folder.resolve().name,
        hash_json(sorted(tokenizer.get_vocab().items())),
    )
