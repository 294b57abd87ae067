"""Examples of a group cut into steps of similar length: by count, or under a budget of seconds.

Cost of a step: clips times the longest clip, plus rows of text times the longest row. A text token costs what an audio
token lasts, since both are one position of the language model. Text tokens are counted as bytes, so that the order of
training does not depend on a tokenizer.
"""

from collections.abc import Callable, Sequence

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.draws import Draw
from uniwhisper.data.instructions import Question

TEXT_TOKEN_SECONDS = 0.08
"""Of an audio token: four frames."""
BYTES_PER_TEXT_TOKEN = 4


def question_seconds(question: Question) -> float:
    """What a row of text costs."""
    size = len(question.instruction.encode()) + len(question.answer.encode())
    return size / BYTES_PER_TEXT_TOKEN * TEXT_TOKEN_SECONDS


def text_seconds(draw: Draw) -> float:
    """What the longest row of text about a clip costs."""
    return max(map(question_seconds, draw.questions))


def by_count(draws: Sequence[Draw], clips: int) -> list[tuple[Draw, ...]]:
    """Steps of `clips` draws each, sorted by length."""
    ordered = sorted(draws, key=lambda draw: draw.samples)
    return [tuple(ordered[first : first + clips]) for first in range(0, len(ordered), clips)]


def by_seconds(draw_slot: Callable[[int], Draw], steps: int, seconds: float) -> list[tuple[Draw, ...]]:
    """Exactly `steps` steps, none above `seconds` unless a single clip is; as many of the first draws as they hold.

    `draw_slot` gives the draw of a slot; slots are asked for in order, from 0.
    """
    draws: list[Draw] = []
    total = 0.0
    while total < steps * seconds:
        draws.append(draw_slot(len(draws)))
        total += draws[-1].samples / SAMPLE_RATE_HZ + len(draws[-1].questions) * text_seconds(draws[-1])
    # Without any padding these fill all steps; with it, only some of the first fit. Search for how many.
    fitting, not_fitting = min(steps, len(draws)), len(draws) + 1
    while not_fitting - fitting > 1:
        middle = (fitting + not_fitting) // 2
        if len(_pack(draws[:middle], seconds)) <= steps:
            fitting = middle
        else:
            not_fitting = middle
    packed = _pack(draws[:fitting], seconds)
    while len(packed) < steps:
        largest = max(range(len(packed)), key=lambda place: len(packed[place]))
        step = packed[largest]
        packed[largest : largest + 1] = [step[: len(step) // 2], step[len(step) // 2 :]]
    return [tuple(step) for step in packed]


def cost_seconds(step: Sequence[Draw]) -> float:
    """Seconds of a step, padding included."""
    rows = sum(len(draw.questions) for draw in step)
    return len(step) * max(draw.samples for draw in step) / SAMPLE_RATE_HZ + rows * max(map(text_seconds, step))


def _pack(draws: Sequence[Draw], seconds: float) -> list[list[Draw]]:
    """From the longest down, each step as full as it gets; within a step the shortest first."""
    packed: list[list[Draw]] = []
    clips, rows, longest, widest = 0, 0, 0.0, 0.0
    for draw in sorted(draws, key=lambda draw: -draw.samples):
        text = text_seconds(draw)
        clips, rows, widest = clips + 1, rows + len(draw.questions), max(widest, text)
        if not packed or clips * longest + rows * widest > seconds:
            packed.append([])
            clips, rows, longest, widest = 1, len(draw.questions), draw.samples / SAMPLE_RATE_HZ, text
        packed[-1].append(draw)
    return [step[::-1] for step in packed]
