"""`uniwhisper evaluate`: judge an encoder on a suite."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.suites import Suite


def evaluate(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="default, a model folder, a hub id, a .pt file, log-mel (the floor), random:SIZE[:SEED], "
            "whisper-padded:MODEL, whisper-trimmed:MODEL, dasheng:FILE.pt, or FILE.py[:CLASS] (see docs/encoders.md).",
        ),
    ] = "default",
    suite: Annotated[str, typer.Option("--suite", help="A shipped suite (see --list) or a suite file.")] = "mini",
    task: Annotated[
        list[str] | None, typer.Option("--task", metavar="TASK", help="Only this task of the suite; repeatable.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder that holds the tasks' folders.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the result.")] = Path("results"),
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to embed and to train probes.")
    ] = "auto",
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="Where vectors and finished tasks are kept; else the user cache."),
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="clean|xares", help="Ours, or X-ARES 0.1.3's (docs/protocol-xares.md).")
    ] = "clean",
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="DIR", help="For captions under xares: a folder with BERT's tokenizer."),
    ] = None,
    language_model: Annotated[
        Path | None,
        typer.Option("--language-model", metavar="DIR", help="For speech recognition under xares: a causal model."),
    ] = None,
    text_encoder: Annotated[
        Path | None,
        typer.Option(
            "--text-encoder", metavar="DIR", help="For captions under clean: a frozen text model; else their words."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="First of the probes' five seeds.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    list_tasks: Annotated[bool, typer.Option("--list", help="Show suites, tasks and what is present; stop.")] = False,
) -> None:
    """Judge frozen features by kNN, a linear probe and a probe with one hidden layer.

    Exit status: 0 all done; 1 some clips could not be used, the result names them; 2 nothing was written.
    """
    import shlex
    from importlib.util import find_spec

    from uniwhisper.cli.output import end_with_skipped, note, print_json, task_progress
    from uniwhisper.core.errors import MissingExtraError, UserError
    from uniwhisper.evaluation.suites import load_suite, part_of

    if list_tasks:
        _list(data, as_json=as_json)
        return
    whole = load_suite(suite)
    chosen = part_of(whole, task or [])
    # Folders are named by the reader's own choice: a path of this machine would reproduce nothing elsewhere.
    asked = f"--suite {shlex.quote(whole.name if suite == whole.name else Path(suite).name)}"
    asked += "".join(f" --task {name}" for name in task or [])
    if data is None:
        raise UserError(
            "where is the audio?",
            expected="--data DIR, the folder that holds the tasks' folders",
            got="no --data",
            fix="uniwhisper evaluate --list shows which folders the tasks want",
        )
    if find_spec("sklearn") is None:
        raise MissingExtraError.of("scikit-learn", "eval", "evaluation")
    if protocol not in ("clean", "xares"):
        raise UserError(
            "no such protocol", expected="clean or xares", got=protocol, fix="leave --protocol out for clean"
        )
    if protocol == "xares" and text_encoder:
        raise UserError(
            "the protocol xares learns its texts from scratch",
            expected="--text-encoder with --protocol clean alone",
            got="--protocol xares",
            fix="leave it out, or leave --protocol out",
        )
    if protocol == "clean" and (tokenizer or language_model):
        raise UserError(
            "the protocol clean uses no language model",
            expected="--tokenizer and --language-model with --protocol xares alone",
            got="--protocol clean",
            fix="leave them out, or add --protocol xares",
        )
    if protocol == "xares":
        from uniwhisper.cli.xares import evaluate_xares

        evaluate_xares(
            model, chosen, asked, data, output,
            cache=cache, tokenizer=tokenizer, language_model=language_model,
            device=device, seed=seed, overwrite=overwrite, as_json=as_json, bars=task_progress(),
        )  # fmt: skip
        return

    from uniwhisper.evaluation.cache import VectorCache, default_cache
    from uniwhisper.evaluation.check import checked
    from uniwhisper.evaluation.encoders import open_encoder
    from uniwhisper.evaluation.kept import Kept
    from uniwhisper.evaluation.results import check_result, result_path, write_result
    from uniwhisper.evaluation.retrieval.texts import WORDS, open_text_encoder
    from uniwhisper.evaluation.runner import evaluate as run
    from uniwhisper.model.device import choose_device

    texts = WORDS if text_encoder is None else open_text_encoder(text_encoder)
    judged = open_encoder(model, device=device)
    place = choose_device(device)
    note(f"device: {place}")
    path = result_path(output, chosen, judged)
    check_result(path, overwrite=overwrite)
    command = f"uniwhisper evaluate --model {shlex.quote(judged.source)} {asked} --data DIR"
    if text_encoder is not None:
        command += f" --text-encoder {shlex.quote(text_encoder.resolve().name)}"
    if seed:
        command += f" --seed {seed}"
    vectors = VectorCache(cache or default_cache())
    with task_progress() as on_progress:
        check = checked(
            judged.encoder,
            vectors.folder,
            on_progress=lambda _, done, total: on_progress("the encoder itself", done, total),
        )
        judgement = run(
            judged,
            chosen,
            data,
            cache=vectors,
            kept=Kept(vectors.folder / "tasks"),
            model_folder=Path(model) if Path(model).is_dir() else None,
            seed=seed,
            command=command,
            device=place,
            check=check,
            texts=texts,
            on_progress=on_progress,
        )
    write_result(path, judgement, overwrite=overwrite)
    result = judgement.result
    if as_json:
        print_json(result | {"path": str(path)})
    else:
        _print(result, path)
    end_with_skipped(result)


def _print(result: dict[str, Any], path: Path) -> None:
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from uniwhisper.evaluation.words import MEASURE_NAMES, marked, with_interval

    # In a file or pipe nothing is gained by folding the columns at 80 characters.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for pooling in result["poolings"]:
        table = Table("task", box=SIMPLE_HEAD, pad_edge=False, title=f"pooling: {pooling}", title_justify="left")
        for column in (*MEASURE_NAMES.values(), "most common", "clips"):
            table.add_column(column, justify="right")
        for task in result["tasks"]:
            if pooling in task["scores"]:
                cells = [with_interval(task["scores"][pooling].get(measure)) for measure in MEASURE_NAMES]
                table.add_row(marked(task), *cells, f"{task['most_common']:.3f}", f"{task['clips']['scored']:,}")
        table.add_section()
        for side, title in (("headline", "mean of domains"), ("in_domain", "mean of domains, in-domain*")):
            measures = result["averages"][side][pooling]
            if measures:
                table.add_row(title, *[with_interval(measures.get(measure)) for measure in MEASURE_NAMES], "", "")
                weighted = [
                    f"{measures[measure]['clip_weighted']:.3f}" if measure in measures else ""
                    for measure in MEASURE_NAMES
                ]
                table.add_row("  weighted by clips", *weighted, "", "")
        console.print(table)
    protocol, seconds = result["protocol"], result["seconds"]
    for task in result["tasks"]:
        for measure, scores in (task["scores"].get("frames") or {}).items():
            said = f"{marked(task)}: {MEASURE_NAMES.get(measure, 'CTC')} probe on frames {with_interval(scores)}; "
            if "wer" in scores:
                said += f"word error rate {scores['wer']:.3f}, character error rate {scores['cer']:.3f}; "
            print(f"{said}{task['clips']['scored']:,} clips")
        for pooling in result["poolings"]:
            for measure, scores in (task["scores"].get(pooling) or {}).items():
                for direction, metrics in scores.get("directions", {}).items():
                    said = ", ".join(f"{name.replace('_', ' ')} {each['score']:.3f}" for name, each in metrics.items())
                    print(f"{marked(task)}: {pooling}, {MEASURE_NAMES[measure]}, {direction.replace('_', ' ')}: {said}")
    marks = "".join(map(marked, result["tasks"]))
    meant = {"~": "another side of a task, in no average", "*": "labels of the same corpus may have been trained on"}
    if told := "; ".join(f"{mark} {meaning}" for mark, meaning in meant.items() if mark in marks):
        print(told)
    print(
        f"protocol {protocol['name']} {protocol['version']}; {seconds['total']} s, {seconds['vectors']} s for vectors"
    )
    for task in result["tasks"]:
        for remark in task["notes"]:
            print(f"{task['name']}: {remark}")
    print(path)


def _list(data: Path | None, *, as_json: bool) -> None:
    from uniwhisper.cli.output import print_json
    from uniwhisper.evaluation.clips import present
    from uniwhisper.evaluation.originals.sets import originals_of
    from uniwhisper.evaluation.suites import load_suite, shipped_suites

    suites = [load_suite(name) for name in shipped_suites()]
    if as_json:
        print_json([_suite_json(suite, data) for suite in suites])
        return
    for suite in suites:
        print(f"{suite.name}: {suite.description}")
        origins = {original.name: original for original in originals_of(suite.name)}
        if origins:
            print(f"  its sets are made of public originals: uniwhisper data suite {suite.name} SOURCES -o DIR")
        for task in suite.tasks:
            size = f"{task.expected_clips:,} clips" if task.expected_clips else "size by its rule"
            folds = f"{len(task.folds.scored)} scored of {len(task.folds.names)} folds"
            where = present(task, data) if data else f"wants DIR/{task.folder}"
            address = task.download or (origins[task.folder].url if task.folder in origins else None)
            source = f"  from {address}" if address else ""
            print(f"  {task.name:<33} {task.domain:<12} {task.kind:<10} {size:<17} {folds:<22} {where}{source}")


def _suite_json(suite: "Suite", data: Path | None) -> dict[str, Any]:
    from uniwhisper.evaluation.clips import present
    from uniwhisper.evaluation.originals.sets import originals_of

    origins = {original.name: original for original in originals_of(suite.name)}
    tasks = [
        {
            "name": task.name,
            "description": task.description,
            "domain": task.domain,
            "kind": task.kind,
            "folder": task.folder,
            "download": task.download or (origins[task.folder].url if task.folder in origins else None),
            "licence": origins[task.folder].licence if task.folder in origins else None,
            "made_by": f"uniwhisper data suite {suite.name} SOURCES -o DIR" if task.folder in origins else None,
            "clips": task.expected_clips,
            "classes": task.expected_classes,
            "folds": list(task.folds.names),
            "scored_folds": list(task.folds.scored),
            "data": present(task, data) if data else None,
        }
        for task in suite.tasks
    ]
    return {"name": suite.name, "description": suite.description, "hash": suite.hash, "tasks": tasks}
