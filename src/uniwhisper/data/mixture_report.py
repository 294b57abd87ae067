"""What the steps of a mixture hold: shares of corpora and tasks, and how much of them is padding."""

from collections import Counter
from typing import Any

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.packing import question_seconds


def mixture_report(mixture: Mixture, steps: int) -> dict[str, Any]:
    """Shares and padding of the first `steps` steps, as values of JSON.

    Padding is the part of what is computed that is not real: of the waveforms, and of waveforms and text together at
    their cost in seconds. Rows of text are packed before anything is computed of them (`UniWhisper.forward`), so they
    have none.
    """
    corpora: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    clips, audio, padded, text = 0, 0.0, 0.0, 0.0
    for step in range(steps):
        draws = mixture.step(step)
        clips += len(draws)
        corpora.update(part.clip.record.corpus for draw in draws for part in draw.parts)
        tasks.update(question.task for draw in draws for question in draw.questions)
        seconds = [draw.samples / SAMPLE_RATE_HZ for draw in draws]
        audio += sum(seconds)
        padded += max(seconds) * len(seconds)
        text += sum(question_seconds(question) for draw in draws for question in draw.questions)
    return {
        "steps": steps,
        "corpora": _shares(corpora),
        "tasks": _shares(tasks),
        "clips_per_step": clips / steps,
        "questions_per_step": tasks.total() / steps,
        "audio_seconds_per_step": audio / steps,
        "audio_padding": 1 - audio / padded,
        "padding": 1 - (audio + text) / (padded + text),
    }


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {name: count / counts.total() for name, count in counts.most_common()}
