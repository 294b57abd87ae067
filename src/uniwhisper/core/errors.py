"""Errors a user can meet: what is wrong, what was expected, what came, what to type next.

They are `ValueError`s. A broken assumption of ours is an `assert` with a message instead. The command line prints a
`UserError` without a traceback and exits with status 2.
"""


class UserError(ValueError):
    """Something the user can mend.

    `problem` is one line that names the thing (a path, a field, an id). `expected` and `got` are the two sides of the
    mismatch. `fix` is what to type or change next.
    """

    def __init__(self, problem: str, *, expected: str, got: str, fix: str) -> None:
        self.problem, self.expected, self.got, self.fix = problem, expected, got, fix
        super().__init__(f"{problem}\n  expected: {expected}\n  got: {got}\n  fix: {fix}")

    def __reduce__(self):
        # Errors cross process boundaries (data workers); the default would call __init__ with one argument.
        return _rebuild, (type(self), self.problem, self.expected, self.got, self.fix)

    @property
    def one_line(self) -> str:
        """The same on one line, for tables of failures."""
        return f"{self.problem}: expected {self.expected}; got {self.got}"


def _rebuild(kind: type[UserError], problem: str, expected: str, got: str, fix: str) -> UserError:
    return kind(problem, expected=expected, got=got, fix=fix)


class AudioError(UserError):
    """A file or array cannot be used as audio."""


class WeightsError(UserError):
    """A checkpoint cannot be found, read or fitted to the architecture."""


class ManifestError(UserError):
    """A corpus, archive or manifest does not hold what it should."""


class AnswerError(UserError):
    """An answer has not the form, or not a label, of its task."""


class RecipeError(UserError):
    """A recipe, one of its fields or a run folder cannot be used."""


class OutputError(UserError):
    """An output cannot be written, or would overwrite something."""


DEVICE_FULL = 75
"""Exit status of the command line after a `DeviceMemoryError`: "try again later" by the custom of Unix."""


class DeviceMemoryError(UserError):
    """The memory of a device does not suffice; it may once other programs are gone."""


class MissingExtraError(UserError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> "MissingExtraError":
        return cls(
            f"{purpose} needs the package `{package}`",
            expected=f"`{package}`, which comes with the extra [{extra}]",
            got="it is not installed",
            fix=f"pip install 'uniwhisper[{extra}]'",
        )
