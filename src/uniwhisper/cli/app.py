"""The `uniwhisper` command: finds the verb, and turns errors into messages and exit statuses.

Exit status: 0 all done; 1 some inputs failed, or standard output could not be written; 2 a usage error, or nothing was
written (also when the disk is full or the system refuses); 70 an error of ours, with its traceback; 75 a device's
memory that does not suffice, which may be otherwise later; 130 stopped by Ctrl-C.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperGroup

# Verb: where its function or its Typer app (a group of verbs, or one of another class) lives. Imported when asked for.
VERBS = {
    "embed": "uniwhisper.cli.embed:embed",
    "ask": "uniwhisper.cli.ask:ask",
    "transcribe": "uniwhisper.cli.ask:transcribe",
    "tag": "uniwhisper.cli.ask:tag",
    "answers": "uniwhisper.cli.answers:answers",
    "train": "uniwhisper.cli.train:train",
    "calibrate": "uniwhisper.cli.calibrate:calibrate",
    "data": "uniwhisper.cli.data:app",
    "evaluate": "uniwhisper.cli.evaluate:evaluate",
    "examine": "uniwhisper.cli.examine:app",
    "compare": "uniwhisper.cli.compare:app",
    "check-encoder": "uniwhisper.cli.check_encoder:check_encoder",
    "report": "uniwhisper.cli.report:report",
    "reproduce": "uniwhisper.cli.reproduce:reproduce",
    "demo": "uniwhisper.cli.demo:demo",
    "pretrain-lm": "uniwhisper.cli.train:pretrain_lm",
    "finetune": "uniwhisper.cli.finetune:finetune",
    "classify": "uniwhisper.cli.classify:classify",
    "export": "uniwhisper.cli.export:export",
    "doctor": "uniwhisper.cli.doctor:doctor",
}


class Verbs(TyperGroup):
    """Imports a verb's file when the verb is asked for: one verb cannot slow or break another."""

    def __init__(self, **attributes) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(VERBS)  # the names, for suggestions after a typing error

    def list_commands(self, ctx) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx, cmd_name: str):  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name].split(":")
        verb = getattr(import_module(module), attribute)
        if isinstance(verb, typer.Typer):
            command = typer.main.get_command(verb)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(verb)
            command = typer.main.get_command(alone)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from uniwhisper import __version__

        typer.echo(f"uniwhisper {__version__}")
        raise typer.Exit


@app.callback()
def uniwhisper(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """One audio encoder for speech, environmental sound and music: embed, train, judge.

    Exit status 0: all done. 1: some inputs failed, the output holds the rest; or standard output could not be
    written. 2: a usage error, or nothing is written. 70: an error in this program, please report it. 75: the device's
    memory does not suffice. 130: stopped by Ctrl-C.
    """


def main() -> None:
    """Run the command line and exit."""
    from uniwhisper.core.errors import DEVICE_FULL, DeviceMemoryError, UserError

    signal.signal(signal.SIGTERM, _interrupt)
    warnings.showwarning = _print_warning
    _tell_stdout_apart()
    try:
        try:
            app(prog_name="uniwhisper")
        finally:
            # Here, where a closed pipe can still be caught, instead of at the interpreter's end.
            if sys.stdout is not None:  # started without one: `>&-`, or by a program that gives none
                sys.stdout.flush()
    except UserError as error:
        from uniwhisper.cli.output import print_error

        print_error(error)
        sys.exit(DEVICE_FULL if isinstance(error, DeviceMemoryError) else 2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _drop_stdout()
        sys.exit(1)
    except _StdoutError as error:
        print(f"error: standard output cannot be written, the files asked for may be there: {error}", file=sys.stderr)
        _drop_stdout()
        sys.exit(1)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        _drop_stdout()
        sys.exit(2)
    except Exception as error:
        if _is_out_of_memory(error):
            print(f"error: the device's memory does not suffice: {error}", file=sys.stderr)
            print("fix: free it of other programs, add --device cpu, or use a smaller model", file=sys.stderr)
            sys.exit(DEVICE_FULL)
        traceback.print_exc()
        sys.exit(70)


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:  # then it is none of a device's; and an error is told without waiting for torch
        return False
    from uniwhisper.model.device_memory import is_out_of_memory

    return is_out_of_memory(error)


class _StdoutError(OSError):
    """Standard output refuses what is printed; the output of a verb may be complete."""


def _tell_stdout_apart() -> None:
    """Let errors of standard output be told from those of files, which look the same: no room, no name."""
    if sys.stdout is None:
        return

    def told_apart(call: Callable) -> Callable:
        def called(*arguments: object) -> object:
            try:
                return call(*arguments)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise _StdoutError(*error.args) from None

        return called

    sys.stdout.write, sys.stdout.flush = told_apart(sys.stdout.write), told_apart(sys.stdout.flush)


def _drop_stdout() -> None:
    """What could not be written is not tried again at the interpreter's end, which would change the exit status."""
    if sys.stdout is None:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:  # noqa: ARG001
    print(f"warning: {message}", file=sys.stderr)
