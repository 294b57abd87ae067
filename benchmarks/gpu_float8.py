"""Whether steps in float8 go where steps in bfloat16 go.

    PYTHONPATH=src python3 benchmarks/gpu_float8.py [size [precision …]]

The same encoder, adapter and frozen language model (random weights, shapes of `gpu_training.py`), the same eight
batches again and again, compiled; each precision with two seeds of everything, so that a difference of precisions can
be held against one of seeds. The clips are noise, so what is learnt is to know them again: this says whether the
gradients are good, not what float8 costs on real audio.
"""

import sys

import torch

from gpu_training import STACK, NoTokenizer, batch, clips, our_step, qwen3_600m
from measure import Report
from uniwhisper.model.adapter import Adapter, AdapterConfig
from uniwhisper.model.config import WHISPER_SIZES
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.execution import carry_out

STEPS = 200
EVERY = 40
SEEDS = 2


def losses(size: str, precision: str, seed: int) -> dict[str, float]:
    """Mean nats per answer token over the batches, before the first step and every `EVERY` steps."""
    torch.manual_seed(seed)
    config = WHISPER_SIZES[size]
    shape = AdapterConfig(frame_width=config.width, stack=STACK, hidden_width=2048, token_width=1024)
    with torch.device("cuda"):
        encoder, adapter = WhisperEncoder(config).cuda(), Adapter(shape)
    model = UniWhisper(encoder, adapter, FrozenLanguageModel(qwen3_600m(), NoTokenizer())).train()
    batches = [batch(config, *clips("mixture", 120.0, 100 * seed + number)) for number in range(8)]
    carry_out(model, compiled=True, recompute=None, float8=precision == "float8")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    step = our_step(model, torch.optim.AdamW(trained, lr=2e-4, fused=True))
    found = {}
    for done in range(STEPS + 1):
        if done % EVERY == 0:
            found[f"step {done}"] = mean_loss(model, batches)
        step([batches[done % len(batches)]])
    return found


@torch.no_grad()
def mean_loss(model: UniWhisper, batches: list[tuple]) -> float:
    nats, tokens = 0.0, 0
    for part in batches:
        with torch.autocast("cuda", torch.bfloat16):
            answers = model(*part)
        nats, tokens = nats + float(answers.sums_R.sum()), tokens + int(answers.token_counts_R.sum())
    return nats / tokens


def main() -> None:
    report = Report("gpu_float8", {"device": torch.cuda.get_device_name(), "torch": torch.__version__})
    size, *precisions = sys.argv[1:] or ["small"]
    for precision in precisions or ["bf16", "float8"]:
        for seed in range(SEEDS):
            report.add(f"{size}, {precision}, seed {seed}", **losses(size, precision, seed))
    print(report.write())


if __name__ == "__main__":
    main()
