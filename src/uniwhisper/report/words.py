"""Numbers and names as they are printed, the same in the page and in the tables."""

from uniwhisper.report.results import Average, Result, Score

_NAMES = {
    "knn": "kNN",
    "knn_standardised": "kNN, standardised",
    "linear": "linear probe",
    "mlp": "MLP probe",
    "ctc": "CTC probe",
    "knn_xares": "kNN as X-ARES has it",
    "probe": "trained probe",
    "padded": "mean of all frames, padding included",
    "mean": "mean of the frames",
    "mean_deviation": "mean and deviation of the frames",
    "own": "the encoder's own",
    "audio_to_text": "sound to caption",
    "text_to_audio": "caption to sound",
    "recall_at_1": "recall at 1",
    "recall_at_5": "recall at 5",
    "recall_at_10": "recall at 10",
    "map_at_10": "mAP at 10",
    "headline": "all tasks",
    "in_domain": "in-domain tasks",
}


def name_of(key: str) -> str:
    """A measure, pooling, metric, direction or average in words; what has none stays as it is."""
    return _NAMES.get(key, key)


def three_digits(value: float) -> str:
    """`.264`, and `1.000` for one."""
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text


def signed(value: float) -> str:
    """`+.012`, `−.012`, and `.000` without a sign."""
    text = three_digits(abs(value))
    return text if text == ".000" else f"{'+' if value > 0 else '−'}{text}"


def interval(score: Score | Average) -> str:
    """`.245–.284`; nothing where there is none."""
    if score.low is None or score.high is None:
        return ""
    return f"{three_digits(score.low)}–{three_digits(score.high)}"


def protocol(result: Result) -> str:
    """Name and version."""
    return f"{result.protocol.get('name', '?')} {result.protocol.get('version', '')}".strip()


def average_name(result: Result) -> str:
    """What an average of the protocol is a mean of."""
    return "average by X-ARES's weights" if _is_xares(result) else "mean of the domains' means"


def about_averages(result: Result) -> str:
    """How to read them."""
    if _is_xares(result):
        return (
            "Weighted by numbers that X-ARES sets by hand (the table of tasks has them), over exactly the tasks that "
            "were run: compare it only with an average over the same tasks. Domains are weighted in the same way."
        )
    return (
        f"The mean is over the domains' means, so that a domain of many tasks does not decide alone; below it the "
        f"{level(result)} interval, then the mean weighted by the clips of each task. Tasks of a corpus that encoders "
        "were trained on are averaged apart; variants of a task are in no average."
    )


def about_scores(result: Result) -> str:
    """What a score is a mean of, and what its interval says."""
    if _is_xares(result):
        return f"Means over folds and {result.seeds['runs']} runs; X-ARES has no intervals and makes one run."
    return f"Means over folds and seeds, with {level(result)} bootstrap intervals."


def _is_xares(result: Result) -> bool:
    return result.protocol.get("name") == "xares"


def level(result: Result) -> str:
    """Of the intervals, e.g. `95%`."""
    said = result.protocol.get("interval")
    return f"{said['level']:.0%}" if isinstance(said, dict) and "level" in said else "its protocol's"


def is_baseline(result: Result) -> bool:
    """Drawn in grey: what a trained encoder is compared with."""
    return result.source == "log-mel" or result.source.startswith("random:")


def count(number: int, word: str) -> str:
    """`1 task`, `12 tasks`."""
    return f"{number:,} {word}{'s' if number != 1 else ''}"


def plain(value: object) -> str:
    """Any value of a protocol on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{str(key).replace('_', ' ')}: {plain(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return str(value)
