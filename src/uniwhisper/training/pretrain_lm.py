"""Pretraining of a small causal language model, for where Qwen cannot be had.

A Qwen3-architecture model and a byte-level BPE tokenizer, both trained here on text only: plain text files, and the
instructions and short answers of a manifest, so that the model knows the form it will be asked in. Transcripts are left
out: a model that knows them by heart needs no audio to write them down. Afterwards the model is frozen for good.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from uniwhisper.core.errors import ManifestError, MissingExtraError, RecipeError
from uniwhisper.core.files import atomic_output, check_output
from uniwhisper.core.identity import hash_bytes
from uniwhisper.core.provenance import provenance
from uniwhisper.data.parallel import in_threads
from uniwhisper.data.reading_text import ReadingText
from uniwhisper.data.tokens import ANSWER_SEPARATOR
from uniwhisper.training.pretrain_run import PretrainRun
from uniwhisper.training.reading import ReadingMaterial

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

END_OF_TEXT = "<|endoftext|>"
CHECKPOINT_EVERY_STEPS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageModelRecipe:
    """Size and schedule; the defaults make about 9 million parameters."""

    vocabulary: int = 4096
    """Entries of the tokenizer: 256 bytes, the merges, and the end token."""
    width: int = 320
    layers: int = 6
    heads: int = 5
    feedforward_width: int = 960
    context_tokens: int = 512
    """Text tokens of a training sequence."""
    sequences_per_step: int = 64
    steps: int = 2000
    learning_rate: float = 2e-3
    """Peak; linear warm-up over the first twentieth, cosine to a tenth."""
    exercises_per_step: int = 192
    """Reading exercises beside the plain sequences, each of at most `exercise_tokens`; see `reading.py`."""
    exercise_tokens: int = 160
    prefix_noise: float = 0.7
    """Largest standard deviation of the noise on an exercise's prefix, over that of the token embeddings."""
    instruction_share: float = 0.1
    """Share of training sequences cut from instructions and answers rather than plain text."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise RecipeError(
                "language model width",
                expected=f"a multiple of {self.heads} heads",
                got=str(self.width),
                fix="change it",
            )


def pretrain_lm(
    texts: Sequence[Path],
    reading: ReadingText,
    output: Path,
    recipe: LanguageModelRecipe,
    *,
    device: torch.device,
    overwrite: bool,
    console: Console,
    resume: bool = False,
    checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS,
) -> dict[str, Any]:
    """Train tokenizer and model, write them as a transformers folder; returns what `pretraining.json` in it holds.

    The last text file (by name) is held out and only used to measure perplexity. A run that was killed goes on with
    `resume` from its last checkpoint, exactly: every draw is a function of (seed, step).

    Raises:
        ManifestError: fewer than two text files.
        OutputError: `output`, or an interrupted run of it, exists and `overwrite` is False.
        RecipeError: `resume`, and nothing to resume, or a run of another recipe or other text.
    """
    try:
        from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
        from transformers.utils import logging
    except ImportError:
        raise MissingExtraError.of("transformers", "train", "pretraining a language model") from None
    texts = sorted(texts)
    if len(texts) < 2:
        for path in texts:
            _read(path)  # a wrong path is the likelier mistake
        raise ManifestError(
            "too little text to pretrain on", expected="at least two .txt files", got=str(len(texts)), fix="pass more"
        )
    check_output(output, overwrite=overwrite, folder_with="pretraining.json")
    contents = [_read(path) for path in texts]
    run = PretrainRun(output, recipe, contents, reading, resume=resume, overwrite=overwrite)
    read = chain(*reading.questions, reading.layouts)
    pairs = sorted({(instruction, answer) for instruction, answer, _ in read})
    asked = [f"{instruction}{ANSWER_SEPARATOR}{answer}" for instruction, answer in pairs]
    trained_tokenizer = run.tokenizer(lambda: _train_tokenizer([*contents[:-1], *asked], recipe.vocabulary))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained_tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )
    prose = np.concatenate([_tokens(tokenizer, text) for text in contents[:-1]])
    dialogues = [_tokens(tokenizer, text) for text in asked]
    held_out = _tokens(tokenizer, contents[-1])

    torch.manual_seed(recipe.seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.feedforward_width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        head_dim=recipe.width // recipe.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model = Qwen3ForCausalLM(config).to(device).train()
    material = _material(reading, prose, tokenizer)
    train_seconds = _train(model, prose, dialogues, material, recipe, device, console, run, checkpoint_every_steps)
    figures = {
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training_text_files": [path.name for path in texts[:-1]],
        "text_tokens": len(prose),
        "instruction_tokens": sum(map(len, dialogues)),
        "tokens_seen": recipe.steps * recipe.sequences_per_step * recipe.context_tokens,
        "reading_exercises_seen": recipe.steps * recipe.exercises_per_step,
        "held_out_text_file": texts[-1].name,
        "held_out_perplexity": _perplexity(model, held_out, recipe, device),
        "train_seconds": train_seconds,
        "text_hash": hash_bytes([text.encode() for text in [*contents, *asked]]),
        "provenance": provenance(),
    }
    logging.disable_progress_bar()
    with atomic_output(output, overwrite=overwrite, folder_with="pretraining.json") as temporary:
        model.to(torch.bfloat16).save_pretrained(temporary, max_shard_size="12MB")
        tokenizer.save_pretrained(temporary)
        (temporary / "pretraining.json").write_text(json.dumps(figures, indent=2) + "\n")
    run.finish()
    return figures


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"cannot read {path}",
            expected="a UTF-8 text file",
            got=getattr(error, "strerror", None) or str(error),
            fix="check the path, or leave the file out",
        ) from None


def _train_tokenizer(texts: list[str], vocabulary: int) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> np.ndarray:
    """Text tokens (int64, one dimension) of a text, and the end token."""
    # Paragraphs at a time, all at once: in parallel, and a whole novel as one string is quadratic in places.
    paragraphs = ["\n\n" * (index > 0) + paragraph for index, paragraph in enumerate(text.split("\n\n"))]
    encoded = tokenizer(paragraphs, add_special_tokens=False)["input_ids"]
    return np.asarray([*chain.from_iterable(encoded), tokenizer.eos_token_id], dtype=np.int64)


def _train(
    model: torch.nn.Module,
    prose: np.ndarray,
    dialogues: list[np.ndarray],
    material: ReadingMaterial,
    recipe: LanguageModelRecipe,
    device: torch.device,
    console: Console,
    run: PretrainRun,
    checkpoint_every_steps: int,
) -> float:
    """Train `model` in place from where `run` stands; returns seconds spent, those before a resumption included."""
    decayed = {name: p for name, p in model.named_parameters() if p.ndim >= 2}
    plain = {name: p for name, p in model.named_parameters() if p.ndim < 2}
    optimizer = torch.optim.AdamW(
        [
            {"params": list(named.values()), "names": list(named), "weight_decay": decay}
            for named, decay in ((decayed, 0.1), (plain, 0.0))
        ],
        betas=(0.9, 0.95),
        fused=device.type == "cuda",
    )

    def drawn(step: int) -> tuple[torch.Tensor, ...]:
        exercises = material.batch(recipe.exercises_per_step, recipe.exercise_tokens, [recipe.seed, step, 1])
        return tuple(map(torch.from_numpy, (_draw(prose, dialogues, recipe, step), *exercises)))

    before = run.restore(model, optimizer)
    if before.step:
        console.print(f"resuming after step {before.step}", highlight=False)
        if before.threads != torch.get_num_threads() and device.type == "cpu":
            now = torch.get_num_threads()
            console.print(f"{now} CPU threads now, {before.threads} before: last bits will differ", highlight=False)
    began = time.monotonic()
    remaining = range(before.step, recipe.steps)
    steps = track(remaining, "language model", console=console, disable=not console.is_terminal)
    for step, (tokens_BL, *exercises) in zip(steps, in_threads(drawn, remaining, workers=1), strict=True):
        warmup = max(1, recipe.steps // 20)
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(cosine, (step + 1) / warmup)
        tokens_BL = tokens_BL.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(input_ids=tokens_BL, labels=tokens_BL, use_cache=False).loss
        loss.backward()
        exercise = _exercise_loss(model, exercises, recipe, step, device)
        exercise.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step == before.step and len(remaining) > 1 and not console.is_terminal:
            # Two thousand of them take minutes on a GPU and hours on a core: whoever waits for a log should know.
            console.print(f"language model: {time.monotonic() - began:.1f} s for the first step", highlight=False)
        if (step + 1) % 200 == 0 or step + 1 == recipe.steps:
            console.print(
                f"language model step {step + 1}/{recipe.steps}: loss {loss.item():.3f}, reading {exercise.item():.3f}",
                highlight=False,
            )
        if (step + 1) % checkpoint_every_steps == 0:
            run.save(model, optimizer, step + 1, before.train_seconds + time.monotonic() - began)
    return before.train_seconds + time.monotonic() - began


def _material(reading: ReadingText, prose: np.ndarray, tokenizer: "PreTrainedTokenizerBase") -> ReadingMaterial:
    def ids(text: str) -> np.ndarray:
        return np.asarray(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)

    def asked(instruction: str) -> np.ndarray:
        return ids(instruction + ANSWER_SEPARATOR)

    return ReadingMaterial(
        prose=prose,
        copy_instructions=tuple(map(asked, reading.copy_instructions)),
        questions=tuple(
            tuple(
                (asked(instruction), ids(answer), tuple(ids(" " + said) for said in says))
                for instruction, answer, says in kind
            )
            for kind in reading.questions
        ),
        layouts=tuple(
            (
                asked(instruction),
                ids(answer),
                tuple((None if label is None else ids(" " + label), positions) for label, positions in layout),
            )
            for instruction, answer, layout in reading.layouts
        ),
        end=tokenizer.eos_token_id,
        vocabulary=len(tokenizer),
    )


def _exercise_loss(
    model: torch.nn.Module,
    exercises: Sequence[torch.Tensor],
    recipe: LanguageModelRecipe,
    step: int,
    device: torch.device,
) -> torch.Tensor:
    """Mean nats per answer token of a step's exercises, their prefixes blurred as audio tokens will be."""
    tokens_BL, labels_BL, prefix_counts_B = (part.to(device) for part in exercises)
    embeddings_VH = model.get_input_embeddings().weight
    inputs_BLH = model.get_input_embeddings()(tokens_BL)
    generator = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
    noise_BLH = torch.randn(inputs_BLH.shape, device=device, generator=generator)
    strength_B11 = torch.rand(len(tokens_BL), 1, 1, device=device, generator=generator) * recipe.prefix_noise
    blurred_BL1 = (torch.arange(tokens_BL.shape[1], device=device) < prefix_counts_B[:, None])[..., None]
    inputs_BLH = inputs_BLH + noise_BLH * strength_B11 * embeddings_VH.detach().std() * blurred_BL1
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        hidden_BLH = model.get_decoder()(inputs_embeds=inputs_BLH, use_cache=False).last_hidden_state
        row_N, place_N = (labels_BL[:, 1:] >= 0).nonzero(as_tuple=True)
        logits_NV = model.get_output_embeddings()(hidden_BLH[row_N, place_N]).float()
    return torch.nn.functional.cross_entropy(logits_NV, labels_BL[row_N, place_N + 1])


def _draw(prose: np.ndarray, dialogues: list[np.ndarray], recipe: LanguageModelRecipe, step: int) -> np.ndarray:
    """Sequences (B, L) of a step: a function of (seed, step) alone.

    Dialogues are put together anew for every sequence: in a fixed order, one would be learnt to follow the other.
    """
    generator = np.random.default_rng([recipe.seed, step])
    rows = []
    for _ in range(recipe.sequences_per_step):
        if dialogues and generator.random() < recipe.instruction_share:
            chosen = generator.integers(0, len(dialogues), size=recipe.context_tokens // 2)
            row = np.concatenate([dialogues[index] for index in chosen])
        else:
            start = int(generator.integers(0, max(1, len(prose) - recipe.context_tokens)))
            row = prose[start:]
        rows.append(np.resize(row[: recipe.context_tokens], recipe.context_tokens))
    return np.stack(rows)


@torch.no_grad()
def _perplexity(model: torch.nn.Module, stream: np.ndarray, recipe: LanguageModelRecipe, device: torch.device) -> float:
    """exp of the mean nats per text token over the whole stream, in windows of the training context."""
    model.eval()
    total, count = 0.0, 0
    for window in _windows(stream, recipe.context_tokens):
        tokens_1L = torch.from_numpy(window)[None].to(device)
        total += model(input_ids=tokens_1L, labels=tokens_1L, use_cache=False).loss.item() * (len(window) - 1)
        count += len(window) - 1
    return math.exp(total / count)


def _windows(stream: np.ndarray, length: int) -> Iterator[np.ndarray]:
    for start in range(0, len(stream) - 1, length):
        window = stream[start : start + length]
        if len(window) > 1:
            yield window
