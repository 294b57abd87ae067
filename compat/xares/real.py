"""Run the real X-ARES 0.1.3 on given vectors. Runs in this folder's environment; imports nothing of uniwhisper.

    python real.py IN.npz OUT.npz --runs 10

IN.npz   vectors (N, D) float32, labels (N,) int64, folds (N,) int64: a shard of embeddings per fold, a frame per clip
OUT.npz  probe (runs, folds), knn (runs, folds): scores
         and of the first run, for replaying it:
         order (folds, epochs, longest) int64, padded with -1
         weight, bias (folds, ...) that the heads began with
         chosen_by (folds, epochs), the accuracy that chooses the epoch
"""

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import webdataset
from ignite.engine import Events
from loguru import logger
from xares import trainer
from xares.task import TaskConfig, XaresTask


class VectorEncoder(torch.nn.Module):
    """X-ARES asks the encoder for its name and width only, once the embeddings are stored."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output_dim = width


class Recorder:
    """What a probe saw and began with: kept while `active`."""

    def __init__(self) -> None:
        self.active = False
        self.orders: list[list[list[int]]] = []
        self.weights: list[tuple[np.ndarray, np.ndarray]] = []
        self.chosen_by: list[list[float]] = []

    def watch(self) -> None:
        run, train_step, recorder = trainer.Trainer.run, trainer.Trainer.train_step, self

        def watched_run(self, dl_train, dl_dev):
            if recorder.active:
                fc = self.model.fc
                recorder.weights.append(tuple(p.detach().cpu().numpy().copy() for p in (fc.weight, fc.bias)))
                recorder.orders.append([])
                recorder.chosen_by.append([])
                self.ignite_trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: recorder.orders[-1].append([]))
                self.ignite_validator.add_event_handler(
                    Events.COMPLETED, lambda engine: recorder.chosen_by[-1].append(engine.state.metrics["accuracy"])
                )
            return run(self, dl_train, dl_dev)

        def watched_step(self, engine, batch):
            if recorder.active:
                recorder.orders[-1][-1].extend(int(key[:8]) for key in batch[2])
            return train_step(self, engine, batch)

        trainer.Trainer.run, trainer.Trainer.train_step = watched_run, watched_step


def read_tars_once() -> None:
    """Keep decoded embeddings in memory after their first reading: X-ARES reads and decodes its tars every epoch.

    Every other stage stays the real one: the order of shards, both shuffles, the batches and their collation.
    """
    read, decode, kept = webdataset.tarfile_to_samples, webdataset.decode, {}

    def read_once(handler=None):
        stage = read(handler=handler)

        def samples(shards):
            for shard in shards:
                if shard["url"] not in kept:
                    kept[shard["url"]] = list(decode(webdataset.torch_audio, handler=handler)(stage([shard])))
                yield from (dict(sample) for sample in kept[shard["url"]])

        return samples

    webdataset.tarfile_to_samples = read_once
    webdataset.decode = lambda *_, **__: lambda samples: samples


def store(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """Embeddings as X-ARES stores them, one frame per clip."""
    folder.mkdir(parents=True)
    for fold in np.unique(arrays["folds"]):
        with webdataset.TarWriter(str(folder / f"wds-encoded-fold-{fold}-000000.tar"), encoder=False) as tar:
            for clip in np.flatnonzero(arrays["folds"] == fold):
                content = io.BytesIO()
                np.save(content, arrays["vectors"][clip][None])
                label = json.dumps({"label": int(arrays["labels"][clip])}).encode()
                tar.write({"__key__": f"{clip:08d}", "npy": content.getvalue(), "json": label})
    (folder / ".encoded_tar_ready").touch()


def task(arrays: dict[str, np.ndarray], root: Path, run: int) -> XaresTask:
    config = TaskConfig(
        name="given",
        env_root=root,
        encoder=VectorEncoder(arrays["vectors"].shape[1]),
        k_fold_splits=[int(fold) for fold in np.unique(arrays["folds"])],
        label_processor=lambda label: label["label"],
        output_dim=int(arrays["labels"].max()) + 1,
        eval_weight=1,
        torch_num_threads=1,  # two mostly wait for each other at this size; no number depends on it
    )
    config.ckpt_dir_name = f"checkpoints-{run}"
    return XaresTask(config)


def watch_scores(name: str, scores: list[float]) -> None:
    """Collect the score of each fold, which X-ARES logs and then averages."""
    original = getattr(XaresTask, name)

    def watched(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        scores.append(float(result[0]))
        return result

    setattr(XaresTask, name, watched)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    arrays = dict(np.load(options.input))
    recorder, probe_scores, knn_scores = Recorder(), [], []
    recorder.watch()
    read_tars_once()
    watch_scores("evaluate_mlp", probe_scores)
    watch_scores("train_and_eval_knn", knn_scores)
    with tempfile.TemporaryDirectory() as folder:
        store(arrays, Path(folder) / "given" / "embeddings" / VectorEncoder.__name__)
        for run in range(options.runs):
            recorder.active = run == 0
            real = task(arrays, Path(folder), run)
            real.run_mlp()
            real.run_knn()
            print(f"run {run + 1} of {options.runs}", file=sys.stderr, flush=True)
    folds = len(np.unique(arrays["folds"]))
    longest = max(len(epoch) for fold in recorder.orders for epoch in fold)
    order = np.full((folds, len(recorder.orders[0]), longest), -1, dtype=np.int64)
    for fold, epochs in enumerate(recorder.orders):
        for epoch, clips in enumerate(epochs):
            order[fold, epoch, : len(clips)] = clips
    np.savez(
        options.output,
        probe=np.array(probe_scores).reshape(options.runs, folds),
        knn=np.array(knn_scores).reshape(options.runs, folds),
        order=order,
        weight=np.stack([weight for weight, _ in recorder.weights]),
        bias=np.stack([bias for _, bias in recorder.weights]),
        chosen_by=np.array(recorder.chosen_by),
    )


if __name__ == "__main__":
    main()
