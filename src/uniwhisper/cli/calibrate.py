"""`uniwhisper calibrate`."""

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", show_default=False, help="Folder of a trained model.")],
    recipe: Annotated[str, typer.Argument(help="The recipe it was trained with: its mixture gives the clips.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the calibrated model.")],
    data: Annotated[Path, typer.Option(help="Folder written by `uniwhisper data prepare`.")] = Path("prepared"),
    clips: Annotated[int, typer.Option(min=1, help="Clips to draw, as training does: some come again.")] = 4000,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a recipe field, as training did; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which clips.")] = 0,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to compute.")] = "auto",
) -> None:
    """Centre and scale the vectors of a trained model over its training clips, for cosine search; answers stay.

    Models trained with `model.adapter_unit_means`, as the packaged one, are so already.

    Needs the extra `train`.
    """
    from rich.console import Console
    from rich.progress import track

    from uniwhisper.core.errors import OutputError
    from uniwhisper.data.indexed import open_manifest
    from uniwhisper.model.device import choose_device
    from uniwhisper.model.trained import load_trained
    from uniwhisper.recipes import load_recipe
    from uniwhisper.training.build import export_model
    from uniwhisper.training.calibration import calibrate as run
    from uniwhisper.training.calibration import mixture_waves
    from uniwhisper.training.overrides import override

    if output.exists():
        raise OutputError(
            f"{output} exists", expected="a new folder", got="an existing one", fix="name another with -o"
        )
    mixture = override(load_recipe(recipe), assignments or []).data
    trained = load_trained(model).to(choose_device(device))
    waves = mixture_waves(open_manifest(data), mixture, clips=clips, seed=seed)
    console = Console(stderr=True)
    measured = run(
        trained, track(waves, "measuring clips", total=clips, console=console, disable=not console.is_terminal)
    )
    card = (model / "README.md").read_text(encoding="utf-8") if (model / "README.md").is_file() else ""
    card += f"\nCalibrated over {measured:,} draws of training clips (`uniwhisper calibrate`, seed {seed}).\n"
    identity = export_model(trained, output, language_model_source=model / "lm", card=card)
    typer.echo(f"{output}: vectors calibrated over {measured:,} draws of clips; weights {identity[:12]}")
