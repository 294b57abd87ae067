"""The model card a run writes beside its weights: facts of the run, no claims."""

import json
from collections import defaultdict
from typing import Any

from uniwhisper.core.provenance import provenance, without_place
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.instructions import corpus_licence
from uniwhisper.data.manifest import Manifest
from uniwhisper.training.checkpoint import Progress
from uniwhisper.training.recipe import Recipe


def run_card(recipe: Recipe, manifest: Manifest, progress: Progress, start_of_run: dict[str, Any]) -> str:
    """Markdown: what was trained, on what, how long, with which code: the run's own, wherever the card is written.

    Args:
        start_of_run: what `run.json` holds.
    """
    clips: dict[str, int] = defaultdict(int)
    hours: dict[str, float] = defaultdict(float)
    for record in manifest.records:
        clips[record.corpus] += 1
        hours[record.corpus] += record.seconds / 3600
    rows = "\n".join(
        f"| {name} | {clips[name]:,} | {hours[name]:.2f} | {corpus_licence(manifest, name)} |" for name in sorted(clips)
    )
    described = recipe.to_json()
    model = described["model"]
    for name in ("start", "language_model"):
        model[name] = model[name] and without_place(model[name])
    recorded, code_now = start_of_run["provenance"], provenance()["code"]
    code = recorded.get("code") or "unknown"
    finished = f", finished with `{code_now}`" if code_now != code else ""
    return f"""# UniWhisper encoder, recipe `{recipe.name}`

One encoder for speech, environmental sound and music: a Whisper-architecture encoder trained through a frozen language
model on instructions and text answers.

- recipe: `{recipe.name}`, seed {recipe.seed}; all of its values are below
- start: {f"`{model['start']}`" if model["start"] else f"random weights, size {model['encoder_size']}"}
- commit: `{recorded.get("commit") or "unknown"}`; code `{code}`{finished}
- data: manifest `{manifest.hash[:16]}`, {sum(hours.values()):.1f} hours
- training: {progress.step:,} optimizer steps, {progress.train_seconds / 60:.1f} minutes,
  {progress.audio_seconds / 3600:.1f} hours of audio heard (with repetitions)
- input: mono audio at {SAMPLE_RATE_HZ:,} Hz; any length

| corpus | clips | hours | licence |
|---|---|---|---|
{rows}

<details><summary>recipe</summary>

```json
{json.dumps(described, indent=2)}
```

</details>
"""
