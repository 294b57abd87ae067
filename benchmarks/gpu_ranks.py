"""Training on several GPUs of one host against one: audio an hour when each GPU has as much to do as one alone.

    PYTHONPATH=src python3 benchmarks/gpu_ranks.py [size] [GPUs …]

The step of `gpu_training.py`, compiled, two micro-batches of 480 s, spread as `uniwhisper train` spreads it: weights
replicated (DDP) and sharded (FSDP2). Every rank has the same clips, so that none waits for a longer one.
"""

import json
import os
import subprocess
import sys
import time

import torch

MICRO_BATCHES, SECONDS = 2, 480.0
STEPS = 8


def rank_main(size: str, how: str) -> None:
    """One rank, started by torchrun; rank 0 prints seconds of a step and GiB as JSON."""
    from gpu_training import STACK, NoTokenizer, batch, clips, qwen3_600m
    from uniwhisper.model.adapter import Adapter, AdapterConfig
    from uniwhisper.model.config import WHISPER_SIZES
    from uniwhisper.model.encoder import WhisperEncoder
    from uniwhisper.model.language_model import FrozenLanguageModel
    from uniwhisper.model.uniwhisper import UniWhisper
    from uniwhisper.training.distributed import join_ranks, spread, without_exchange
    from uniwhisper.training.execution import carry_out

    config = WHISPER_SIZES[size]
    with join_ranks(torch.device("cuda")) as ranks:
        torch.manual_seed(0)
        shape = AdapterConfig(frame_width=config.width, stack=STACK, hidden_width=2048, token_width=1024)
        with torch.device("cuda"):
            frozen = FrozenLanguageModel(qwen3_600m(), NoTokenizer())
            model = UniWhisper(WhisperEncoder(config).cuda(), Adapter(shape), frozen).train()
        carry_out(model, compiled=True, recompute="mlp")
        called = spread(model, ranks, how)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
        parts = [clips("mixture", SECONDS, seed) for seed in range(MICRO_BATCHES)]
        inputs = [batch(config, *part) for part in parts]
        seconds = []
        for _ in range(STEPS):
            ranks.wait()
            torch.cuda.synchronize()
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            for index, part in enumerate(inputs):
                with without_exchange(called, until_last=index + 1 < len(inputs)):
                    with torch.autocast("cuda", torch.bfloat16):
                        losses = called(*part)
                    (losses.sums_R.sum() / losses.token_counts_R.sum()).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        if ranks.first:
            memory = torch.cuda.max_memory_allocated() / 2**30
            print(json.dumps({"seconds": sorted(seconds[3:])[(STEPS - 3) // 2], "GiB": memory}))


def run(size: str, how: str, count: int) -> dict[str, float]:
    """What `count` ranks measured."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", __file__, "rank", size, how]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "4"}
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    from measure import Report

    size = sys.argv[1] if len(sys.argv) > 1 else "large-v3"
    counts = [int(text) for text in sys.argv[2:]] or [2]
    facts = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    report = Report("gpu_ranks", facts)
    alone = run(size, "replicate", 1)
    report.add(f"{size}, 1 GPU", **alone)
    for count in counts:
        for how in ("replicate", "shard"):

            def measure(how: str = how, count: int = count) -> dict[str, float]:
                got = run(size, how, count)
                return {"of_linear": alone["seconds"] / got["seconds"], **got}

            report.attempt(f"{size}, {count} GPUs, {how}", measure)
    print(report.write())


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        rank_main(*sys.argv[2:])
    else:
        main()
