"""Vectors of texts, frozen before a sound is heard: by the words of captions, or by a text encoder that a user brings.

words     one number per word: how often it stands in the text x (ln((1 + n) / (1 + n_w)) + 1), n captions of the
          training fold, n_w of them with the word (Sparck Jones 1972, smoothed as scikit-learn's); unit length
encoder   mean over the tokens of the last layer; standardised on the training fold's captions and turned to their
          axes as probes' features are (`axes.py`), unit length
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from uniwhisper.core.errors import MissingExtraError, UserError, WeightsError
from uniwhisper.core.identity import hash_json, hash_tensors
from uniwhisper.evaluation.axes import Axes
from uniwhisper.evaluation.folds import Standardiser
from uniwhisper.evaluation.places import unit

MOST_WORDS = 2000
FEWEST_CAPTIONS = 2
"""Of the training fold, in which a word must stand."""
_LONGEST_TOKENS = 512
_BATCH_TEXTS = 64

Fit = Callable[[np.ndarray], np.ndarray]
"""From the rows of the training fold's captions, int64, a text as often as it is a caption, to the vectors of all
texts, float32 (M, K), of unit length; a text of which nothing is known is zero."""


class TextSide(Protocol):
    @property
    def description(self) -> str:
        """What the vectors are: part of the protocol of a result."""

    def of(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Fit:
        """`texts`: all of a task. Vectors depend on nothing else, so that an interrupted judgement changes none."""


@dataclass(frozen=True)
class Words:
    """Nothing is to be brought: what is known of words is what the training fold's captions say."""

    most: int = MOST_WORDS

    @property
    def description(self) -> str:
        return (
            f"tf-idf of words, lower case, as the training fold's captions have them: the {self.most:,} in most "
            f"captions, each in {FEWEST_CAPTIONS} or more"
        )

    def of(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Fit:  # noqa: ARG002
        counts = [Counter(re.findall(r"\w+", text.lower())) for text in texts]

        def fit(training: np.ndarray) -> np.ndarray:
            captions_of: Counter[str] = Counter(word for row in training.tolist() for word in counts[row])
            known = [word for word, captions in captions_of.items() if captions >= FEWEST_CAPTIONS]
            known = sorted(known, key=lambda word: (-captions_of[word], word))[: self.most]
            if not known:
                raise UserError(
                    "captions cannot be told by their words",
                    expected=f"a word that {FEWEST_CAPTIONS} captions of the training fold hold",
                    got=f"{len(training)} captions without a word in common",
                    fix="use more clips, or --text-encoder with the folder of a text encoder",
                )
            weights = {word: np.log((1 + len(training)) / (1 + captions_of[word])) + 1 for word in known}
            column_of = {word: column for column, word in enumerate(known)}
            vectors_MK = np.zeros((len(texts), len(known)))
            for row, words in enumerate(counts):
                for word in words.keys() & weights.keys():
                    vectors_MK[row, column_of[word]] = words[word] * weights[word]
            return unit(vectors_MK).astype(np.float32)

        return fit


WORDS = Words()


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A frozen model of transformers with its tokenizer."""

    encode: Callable[[Sequence[str], torch.device | str], np.ndarray]
    """Vectors of texts, float32 (M, H)."""
    kind: str
    identity: str
    """Hash of its tensors and vocabulary."""

    @property
    def description(self) -> str:
        return f"{self.kind} {self.identity[:12]}, mean of the last layer's tokens, along the axes of the training fold"

    def of(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Fit:
        vectors_MH = self.encode(texts, device)

        def fit(training: np.ndarray) -> np.ndarray:
            standardise = Standardiser.fit(vectors_MH[training])
            standardised_MH = standardise(vectors_MH)
            return unit(Axes.fit(standardised_MH[training])(standardised_MH)).astype(np.float32)

        return fit


def open_text_encoder(folder: Path) -> TextEncoder:
    """A model in a folder as transformers saves it: `config.json`, `*.safetensors`, a tokenizer. Its pooler is unused.

    Raises:
        WeightsError: there is none, it lacks tensors, or it gives no states of tokens.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError:
        raise MissingExtraError.of("transformers", "train", "the text encoder") from None
    folder = Path(folder)
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it lists the heads that are not wanted here
    try:
        if not folder.is_dir():
            raise OSError("no such folder")
        only = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(folder, **only)
        model, info = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **only
        )
        missing = [*info["missing_keys"], *map(str, info.get("mismatched_keys", ()))]
        if missing := sorted(name for name in missing if not name.startswith("pooler.")):
            raise ValueError(f"{len(missing)} tensors missing or of another shape, e.g. {missing[0]}")
        model = model.eval().requires_grad_(False)
        encode = _encoding(model, tokenizer)
        encode(["a"], "cpu")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"no text encoder in {folder}",
            expected="a folder with config.json, *.safetensors and a tokenizer, of a model that takes token ids alone",
            got=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
            fix="save one there with save_pretrained, on a machine with network; or leave --text-encoder out",
        ) from None
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("pooler.")}
    identity = hash_json([hash_tensors(tensors), model.config.model_type, sorted(tokenizer.get_vocab().items())])
    return TextEncoder(encode, model.config.model_type, identity)


def _encoding(model, tokenizer) -> Callable[[Sequence[str], torch.device | str], np.ndarray]:
    places = getattr(model.config, "max_position_embeddings", _LONGEST_TOKENS)
    longest = min(tokenizer.model_max_length, places, _LONGEST_TOKENS)
    padding = tokenizer.pad_token_id or 0

    @torch.no_grad()
    def encode(texts: Sequence[str], device: torch.device | str) -> np.ndarray:
        model.to(device)
        tokens = [tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in texts]
        order = sorted((row for row in range(len(texts)) if tokens[row]), key=lambda row: len(tokens[row]))
        vectors_MH = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), _BATCH_TEXTS):
            rows = order[start : start + _BATCH_TEXTS]
            counts_B = torch.tensor([len(tokens[row]) for row in rows])
            width = int(counts_B.max())
            tokens_BL = torch.tensor([[*tokens[row], *[padding] * (width - len(tokens[row]))] for row in rows])
            real_BL = torch.arange(width) < counts_B[:, None]
            states_BLH = model(
                input_ids=tokens_BL.to(device), attention_mask=real_BL.long().to(device)
            ).last_hidden_state
            summed_BH = (states_BLH.cpu() * real_BL[..., None]).sum(dim=1)
            vectors_MH[rows] = (summed_BH / counts_B[:, None]).numpy()
        return vectors_MH

    return encode
