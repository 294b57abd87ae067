"""What the steps of a mixture hold: shares of corpora and tasks, and how much of them is padding."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.draws import Draw
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.packing import question_seconds


def mixture_report(mixture: Mixture, steps: int) -> dict[str, Any]:
    """Shares and padding of the first `steps` steps, as values of JSON.

    Padding is the part of the padded tensors that is not real: of the waveforms, of the rows of text (counted as
    `packing.py` does), and of both at their cost in seconds.
    """
    corpora: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    clips, audio, text = 0, [0.0, 0.0], [0.0, 0.0]
    for step in range(steps):
        draws = mixture.step(step)
        clips += len(draws)
        corpora.update(part.clip.record.corpus for draw in draws for part in draw.parts)
        tasks.update(question.task for draw in draws for question in draw.questions)
        for sums, lengths in ((audio, _audio(draws)), (text, _text(draws))):
            sums[0] += sum(lengths)
            sums[1] += max(lengths) * len(lengths)
    return {
        "steps": steps,
        "corpora": _shares(corpora),
        "tasks": _shares(tasks),
        "clips_per_step": clips / steps,
        "questions_per_step": tasks.total() / steps,
        "audio_seconds_per_step": audio[0] / steps,
        "audio_padding": 1 - audio[0] / audio[1],
        "text_padding": 1 - text[0] / text[1],
        "padding": 1 - (audio[0] + text[0]) / (audio[1] + text[1]),
    }


def _audio(draws: Sequence[Draw]) -> list[float]:
    return [draw.samples / SAMPLE_RATE_HZ for draw in draws]


def _text(draws: Sequence[Draw]) -> list[float]:
    return [question_seconds(question) for draw in draws for question in draw.questions]


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {name: count / counts.total() for name, count in counts.most_common()}
