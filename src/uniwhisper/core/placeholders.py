"""Words that tables hold where nobody knew the label: spreadsheets and data frames write them of themselves.

`none` and `unknown` are not among them: both are classes that people teach on purpose.
"""

from typing import Any

PLACEHOLDERS = frozenset(("", "-", "--", "?", "n/a", "#n/a", "<na>", "na", "nan", "null"))


def is_placeholder(value: Any) -> bool:
    """Whether a label looks as if it meant that there is none. It may be meant all the same: whoever asks warns."""
    return str(value).strip().casefold() in PLACEHOLDERS
