"""The parts of the page that say where the numbers come from: tasks, protocol, encoders."""

from uniwhisper.report.comparison import Comparison
from uniwhisper.report.page import Cell, Page
from uniwhisper.report.results import Result
from uniwhisper.report.words import name_of, plain, three_digits

_MOST_NAMED = 20


def tasks(page: Page, comparison: Comparison) -> None:
    """Clips, classes, what was left out and what was skipped."""
    page.heading("Tasks")
    rows = []
    for place, task in enumerate(comparison.results[0].tasks):
        skipped = [len(result.tasks[place].skipped) for result in comparison.results]
        remarks = [f"{number:,} left out: {reason}" for reason, number in task.left_out.items()]
        remarks += [f"variant of {task.variant_of}, in no average"] if task.variant_of else []
        remarks += ["synthetic mixtures"] if task.synthetic else []
        remarks += [f"intervals by {task.grouped_by}"] if task.grouped_by else []
        remarks += _common_notes(comparison, place)
        rows.append(
            [
                Cell(task.name, task.domain + (", in-domain" if task.in_domain else "")),
                Cell(task.description, "\n".join(remarks)),
                task.metric,
                f"{task.expected:,}",
                f"{task.scored:,}",
                str(max(skipped)),
                str(task.classes or "–"),
                "–" if task.most_common is None else three_digits(task.most_common),
            ]
        )
    columns = ["task", "what", "metric", "clips", "scored", "skipped", "classes", "most common class"]
    page.table(columns, rows, numeric=False)
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        for place, task in enumerate(result.tasks):
            common = _common_notes(comparison, place)
            notes = [note for note in task.notes if note not in common]
            notes += [*(f"skipped {clip}: {reason}" for clip, reason in task.skipped[:_MOST_NAMED])]
            if len(task.skipped) > _MOST_NAMED:
                notes.append(f"and {len(task.skipped) - _MOST_NAMED} more skipped, named in {result.file.name}")
            page.text(*(f"{label}, {task.name}: {note}" for note in notes))
    if comparison.duplicates:
        page.text(f"Identical copies left out: {len(comparison.duplicates)} ({', '.join(comparison.duplicates)}).")


def _common_notes(comparison: Comparison, place: int) -> list[str]:
    """Notes of a task that every result has: they are about the task, not about an encoder."""
    first, *others = [result.tasks[place].notes for result in comparison.results]
    return [note for note in first if all(note in notes for notes in others)]


def protocol(page: Page, comparison: Comparison) -> None:
    """What a number means, as the results say it."""
    first = comparison.results[0]
    page.heading("Protocol")
    facts = {name_of(name).replace("_", " "): plain(value) for name, value in first.protocol.items()}
    facts["suite"] = f"{first.suite['name']}, {first.suite['hash'][:12]}"
    facts["seeds"] = ", ".join(f"{name.replace('_', ' ')} {seed}" for name, seed in first.seeds.items())
    if first.not_run:
        reasons = dict.fromkeys(reason for _, reason in first.not_run)
        named = {why: ", ".join(name for name, reason in first.not_run if reason == why) for why in reasons}
        facts["not run"] = "; ".join(f"{names}: {why}" for why, names in named.items())
    page.facts(facts)


def encoders(page: Page, comparison: Comparison) -> None:
    """Identities, what was measured of each, commands and versions."""
    page.heading("Encoders")
    pairs = list(zip(comparison.labels, comparison.results, strict=True))
    rows = []
    for label, result in pairs:
        identity = result.identity
        commit = str(result.provenance.get("commit") or "no checkout")
        corpora = "does not say" if result.trained_on is None else ", ".join(result.trained_on) or "nothing"
        rows.append(
            [
                Cell(label, f"{result.width} numbers"),
                Cell(identity["weights"][:12], f"trained on: {corpora}"),
                Cell(identity["code"], commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")),
                Cell(_poolings(result), f"layer: {identity['layer']}"),
                Cell(f"{result.seconds['total']:.0f} s", _vectors(result)),
            ]
        )
    page.table(["encoder", "weights", "code, commit", "pooling, layer", "time"], rows, numeric=False)
    _checks(page, pairs)
    page.text("The command behind each row; DIR is the folder that holds the tasks' folders.")
    page.code("\n".join(result.command for result in comparison.results))
    with page.folded("Versions"):
        page.table(
            ["encoder", "Python", "packages"],
            [[label, str(result.provenance.get("python", "–")), _packages(result)] for label, result in pairs],
            numeric=False,
        )


def _checks(page: Page, pairs: list[tuple[str, Result]]) -> None:
    rows = []
    for label, result in pairs:
        if not result.check:
            rows.append([label, "not checked", "–", "–", "–", "–"])
            continue
        measured = result.check.get("measured", {})
        failed = [finding["name"] for finding in result.check.get("findings", ()) if not finding["passed"]]
        rows.append(
            [
                label,
                Cell("passed" if result.check.get("passed") else "failed", "; ".join(failed)),
                _number(measured.get("alone_to_batched_difference"), "{:.0e}"),
                _number(measured.get("twice_difference"), "{:.0e}"),
                _number(measured.get("longest_seconds"), "{:g} s"),
                _number(_thousandfold(measured.get("hop_seconds")), "{:.1f} ms"),
            ]
        )
    page.table(
        ["encoder", "check", "alone to batched", "twice", "longest clip", "measured hop"],
        rows,
        caption="What was measured of the encoder itself",
        numeric=False,
    )


def _vectors(result: Result) -> str:
    seconds = result.seconds.get("vectors")
    return "" if seconds is None else f"vectors {seconds:.0f} s"


def _thousandfold(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _poolings(result: Result) -> str:
    own = result.identity.get("pooling")
    return ", ".join(own if pooling == "own" and own else name_of(pooling) for pooling in result.poolings)


def _packages(result: Result) -> str:
    packages = result.provenance.get("packages") or {}
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version)
