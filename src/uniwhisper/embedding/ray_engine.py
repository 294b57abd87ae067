"""Parts of the inputs to actors on a Ray cluster; Ray is needed here and nowhere else.

Ray starts actors, replaces those that die and gives their work to others. That a part may be computed twice does no
harm: see `embedding/parts.py`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.parts import Part, PartResult, embed_part


def embed_on_ray(
    parts: Sequence[Part], folder: Path, *, settings: dict[str, Any], workers: int | None, gpus_per_worker: float
) -> Iterator[PartResult]:
    """Results as they come, in no order. Every part's file is in `folder` when the iterator is exhausted.

    Args:
        parts: what to do; parts that are done already cost a look at their file.
        folder: where every worker can write.
        settings: arguments of `Embedder.from_pretrained`, on every worker.
        workers: most actors at a time; None: as many as the cluster has room for. It starts with one.
        gpus_per_worker: 0 for CPU actors.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy
    except ImportError:
        raise MissingExtraError(
            "--engine ray needs the package `ray`",
            expected="Ray Data, which no extra of uniwhisper brings along",
            got="no `ray.data` to import",
            fix="pip install 'ray[data]'",
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"part": json.dumps(asdict(part))} for part in parts]
    most = workers or max(1, len(rows))
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _PartEmbedder,
        fn_constructor_args=[str(folder), settings],
        compute=ActorPoolStrategy(min_size=1, max_size=min(most, max(1, len(rows)))),
        num_cpus=1,
        num_gpus=gpus_per_worker,
    )
    for row in results.iter_rows():
        failures = tuple((name, reason) for name, reason in json.loads(row["failures"]))
        yield PartResult(int(row["number"]), int(row["rows"]), failures, bool(row["made_anew"]))


class _PartEmbedder:
    """An actor: loads the model once, then embeds part after part."""

    def __init__(self, folder: str, settings: dict[str, Any]) -> None:
        self.folder, self.embedder = Path(folder), Embedder.from_pretrained(**settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        described = json.loads(row["part"])
        part = Part(**{**described, "paths": tuple(described["paths"])})
        result = embed_part(self.embedder, part, self.folder)
        return {**asdict(result), "failures": json.dumps(result.failures)}
