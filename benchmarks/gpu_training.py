"""A training step on one GPU: encoder with all weights trained, through a frozen language model, random weights.

    PYTHONPATH=src python3 benchmarks/gpu_training.py [size …] [--only TEXT]

With `--only`, of our own rows those whose name holds the text, such as "1200 s, compiled, float8, all kept".
The step is the product's: packed audio and text, no gradient for the frozen weights, losses where answers are; compiled
and computed again by what `uniwhisper train` calls too, once for each value of `loop.compiled` and `loop.recompute`,
compiled with `loop.precision=float8` as well. The share of the peak is of a bfloat16 product's in every row.
Beside it in the same run the plain way: clips padded to 30 s through transformers' encoder and language model.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch

from gpu_embedding import CUDA, transformers_encoder
from measure import Report, encoder_operations, matrix_peak
from uniwhisper.core.units import ceil_div, frame_count
from uniwhisper.model.adapter import Adapter, AdapterConfig
from uniwhisper.model.config import WHISPER_SIZES, EncoderConfig, Recompute
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.execution import carry_out

CORPUS_HOURS = 38_000
STACK = 4
BATCHES = [
    ("mixture", 240.0),
    ("mixture", 480.0),
    ("mixture", 960.0),
    ("mixture", 1200.0),
    ("mixture", 1920.0),
    ("30 s", 960.0),
]
KEPT: dict[Recompute | None, str] = {None: "all kept", "mlp": "mlp computed again", "layers": "layers computed again"}
"""What `loop.recompute` is called in the rows."""
PRECISIONS = {"eager": "eager", "bf16": "compiled", "float8": "compiled, float8"}
"""And `loop.compiled` with `loop.precision`; float8 last, because it stays."""


class NoTokenizer:
    eos_token_id = 0


def qwen3_600m():
    """Shape of Qwen3-0.6B, random weights, bfloat16."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=151_936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    with torch.device("cuda"):
        return Qwen3ForCausalLM(config).to(torch.bfloat16).requires_grad_(False)


def clips(kind: str, seconds: float, seed: int = 0) -> tuple[list[int], list[int], list[int]]:
    """Mels, text tokens and answer tokens of the clips of one micro-batch of about `seconds`.

    The mixture: a third sound events of 1 to 5 s, a third utterances of 5 to 15 s, a third music and long speech of 15
    to 30 s; a question of 8 to 20 tokens, and an answer of 2 to 8, for utterances of 3 tokens a second.
    """
    draw = random.Random(seed)
    mels, texts, answers = [], [], []
    while sum(mels) < 100 * seconds:
        low, high, per_second = draw.choice([(1, 5, 0), (5, 15, 3), (15, 30, 0)])
        length = 30.0 if kind == "30 s" else draw.uniform(low, high)
        answer = draw.randint(2, 8) + int(per_second * length)
        mels.append(int(100 * length))
        texts.append(draw.randint(8, 20) + answer)
        answers.append(answer)
    return mels, texts, answers


def batch(config: EncoderConfig, mels: list[int], texts: list[int], answers: list[int]) -> tuple:
    tokens = torch.randint(0, 151_936, (len(mels), max(texts)))
    place = torch.arange(max(texts))
    mask = (place < torch.tensor(texts)[:, None]) & (
        place >= torch.tensor(texts)[:, None] - torch.tensor(answers)[:, None]
    )
    mel = torch.randn(len(mels), config.mel_bins, max(mels), device=CUDA)
    return mel, torch.tensor(mels), torch.arange(len(mels)), tokens, torch.tensor(texts), mask


def step_operations(config: EncoderConfig, mels: list[int], texts: list[int], answers: list[int]) -> float:
    """Encoder: forward and twice that backward. Language model: forward and once that, its weights are frozen."""
    frames = [frame_count(count) for count in mels]
    totals = [ceil_div(f, STACK) + t for f, t in zip(frames, texts, strict=True)]
    layer = 1024 * (2 * 2048 + 2 * 1024) + 3 * 1024 * 3072
    linear = 28 * 2 * layer * sum(totals) + 2 * 1024 * 151_936 * sum(answers)
    attention = 28 * 2 * 2048 * sum(total**2 for total in totals)  # causal: half of the square
    return 3 * encoder_operations(config, frames) + 2 * linear + 2 * attention + attention / 2


def measured(report: Report, what: str, config: EncoderConfig, peak: float, parts: list[tuple], step: Callable) -> dict:
    mels, texts, _ = ([value for part in parts for value in part[index]] for index in range(3))
    operations = sum(step_operations(config, *part) for part in parts)

    def run() -> dict:
        inputs = [batch(config, *part) for part in parts]
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        step(inputs)
        torch.cuda.synchronize()
        first = time.perf_counter() - start
        step(inputs)
        seconds = []
        for _ in range(3):
            torch.cuda.synchronize()
            start = time.perf_counter()
            step(inputs)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        once = sorted(seconds)[1]
        hours = sum(mels) / 100 / 3600
        return {
            "h_per_gpu_h": hours * 3600 / once,
            "gpu_h_for_38k": CORPUS_HOURS / (hours * 3600 / once),
            "TFLOPs": operations / once / 1e12,
            "of_peak": operations / once / peak,
            "GiB": torch.cuda.max_memory_allocated() / 2**30,
            "first_s": first,
            "clips": len(mels),
            "text_tokens": sum(texts),
        }

    got = report.attempt(what, run)
    torch.cuda.empty_cache()
    return got


def our_step(model: UniWhisper, optimizer: torch.optim.Optimizer) -> Callable:
    def step(inputs: list[tuple]) -> None:
        optimizer.zero_grad(set_to_none=True)
        for part in inputs:
            with torch.autocast("cuda", torch.bfloat16):
                losses = model(*part)
            (losses.sums_R.sum() / losses.token_counts_R.sum()).backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()

    return step


def plain_step(encoder, adapter: Adapter, causal_lm, optimizer: torch.optim.Optimizer) -> Callable:
    """The usual stack: 30 s each, text padded, all logits of the answers' rows through the stock loss."""

    def step(inputs: list[tuple]) -> None:
        optimizer.zero_grad(set_to_none=True)
        for mel, _, _, tokens, _, mask in inputs:
            tokens, mask = tokens.to(CUDA), mask.to(CUDA)
            window = torch.nn.functional.pad(mel, (0, 3000 - mel.shape[2]))
            with torch.autocast("cuda", torch.bfloat16):
                frames = encoder(window).last_hidden_state
                audio, _ = adapter(frames, torch.full((len(mel),), 1500, device=CUDA))
                text = causal_lm.get_input_embeddings()(tokens)
                labels = torch.full((len(mel), audio.shape[1] + tokens.shape[1]), -100, device=CUDA)
                labels[:, audio.shape[1] :][mask] = tokens[mask]
                loss = causal_lm(inputs_embeds=torch.cat([audio.to(text.dtype), text], 1), labels=labels).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", default=["large-v3"], metavar="size")
    parser.add_argument("--only", default="", metavar="TEXT")
    asked = parser.parse_args()
    torch.manual_seed(0)
    peak = matrix_peak()
    device = torch.cuda.get_device_name()
    facts = {"device": device, "torch": torch.__version__, "matrix_TFLOPs": round(peak / 1e12, 1)}
    report = Report("gpu_training", facts)
    shape = AdapterConfig(frame_width=1, stack=STACK, hidden_width=2048, token_width=1024)
    for size in asked.sizes:
        config = WHISPER_SIZES[size]
        causal_lm = qwen3_600m()  # anew: the last size's rows left it compiled, and its plain row must not be
        shape = AdapterConfig(**{**shape.to_json(), "frame_width": config.width})
        with torch.device("cuda"):
            adapter = Adapter(shape)
        mixture = [clips("mixture", 240.0, seed) for seed in range(2)]

        encoder = transformers_encoder(config).float().train()
        optimizer = torch.optim.AdamW([*encoder.parameters(), *adapter.parameters()], lr=1e-5, fused=True)
        plain = plain_step(encoder, adapter, causal_lm, optimizer)
        base = measured(report, f"{size} plain, mixture padded to 30 s, 2 × 240 s", config, peak, mixture, plain)
        del encoder, optimizer, plain

        with torch.device("cuda"):
            model = UniWhisper(WhisperEncoder(config).cuda(), adapter, FrozenLanguageModel(causal_lm, NoTokenizer()))
        model.train()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
        step = our_step(model, optimizer)
        for precision in PRECISIONS:
            for recompute in KEPT:
                carry_out(model, compiled=precision != "eager", recompute=recompute, float8=precision == "float8")
                how = f"{PRECISIONS[precision]}, {KEPT[recompute]}"
                for kind, seconds in BATCHES if precision != "eager" else BATCHES[:1]:
                    name = f"{size} packed, {kind}, 2 × {seconds:.0f} s, {how}"
                    if asked.only not in name:
                        continue
                    parts = [clips(kind, seconds, seed) for seed in range(2)]
                    got = measured(report, name, config, peak, parts, step)
                    if kind == "mixture" and "h_per_gpu_h" in got and "h_per_gpu_h" in base:
                        report.add("    over the plain way", ratio=got["h_per_gpu_h"] / base["h_per_gpu_h"])
        del model, optimizer, step, trained
        torch.cuda.empty_cache()
        torch._dynamo.reset()
    print(report.write())


if __name__ == "__main__":
    main()
