"""Run the real ESC-50 task of X-ARES 0.1.3 end to end. Runs in this folder's environment, with FFmpeg for torchcodec.

    python real_task.py WEIGHTS.npz ENV_ROOT OUT.npz

WEIGHTS.npz  tensors of a Whisper encoder by transformers' names; `heads`, int, beside them
ENV_ROOT     holds esc50/wds-audio-fold-*.tar, labels as `target`
OUT.npz      probe, knn: scores; encode_seconds, score_seconds: wall; cpu_seconds: of all of it, without imports;
             embedding_bytes: what the embeddings take on the disk
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from loguru import logger
from tasks.esc50_task import esc50_config
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder as Whisper
from xares.task import XaresTask

SAMPLE_RATE_HZ = 16_000
CHUNK_SAMPLES = 10 * SAMPLE_RATE_HZ


class PaddedWhisperEncoder(torch.nn.Module):
    """As X-ARES's example wraps Whisper: every chunk of 10 s is padded to 30 s by transformers' extractor."""

    sampling_rate = SAMPLE_RATE_HZ
    hop_size_in_ms = 20

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        heads = int(weights.pop("heads"))
        width, mel_bins, _ = weights["conv1.weight"].shape
        layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
        config = WhisperConfig(
            num_mel_bins=mel_bins,
            d_model=width,
            encoder_layers=layers,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            max_source_positions=len(weights["embed_positions.weight"]),
        )
        self.whisper = Whisper(config).eval()
        self.whisper.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        self.extract = WhisperFeatureExtractor(feature_size=mel_bins)
        self.output_dim = width

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        frames = []
        for chunk in audio.split(CHUNK_SAMPLES, dim=-1):
            if chunk.shape[-1] < SAMPLE_RATE_HZ:
                chunk = torch.nn.functional.pad(chunk, (0, SAMPLE_RATE_HZ - chunk.shape[-1]))
            mel = self.extract(chunk.cpu().numpy(), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
            frames.append(self.whisper(mel.to(self.whisper.conv1.weight.device)).last_hidden_state)
        return torch.cat(frames, dim=1)


def main() -> None:
    weights, env_root, output = map(Path, sys.argv[1:4])
    encoder = PaddedWhisperEncoder(dict(np.load(weights)))
    config = esc50_config(encoder)
    config.env_root = env_root
    config.label_processor = lambda fields: fields["target"]
    task = XaresTask(config)
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    (task.env_dir / config.xares_settings.audio_ready_filename).touch()
    wall, cpu = time.perf_counter(), time.process_time()
    task.make_encoded_tar()
    encoded = time.perf_counter()
    probe, _ = task.run_mlp()
    knn, _ = task.run_knn()
    np.savez(
        output,
        probe=probe,
        knn=knn,
        encode_seconds=encoded - wall,
        score_seconds=time.perf_counter() - encoded,
        cpu_seconds=time.process_time() - cpu,
        embedding_bytes=sum(path.stat().st_size for path in task.encoded_tar_dir.iterdir()),
        threads=torch.get_num_threads(),
        cores=os.cpu_count(),
    )


if __name__ == "__main__":
    main()
