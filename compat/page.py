"""Make docs/compatibility.md of every `compat/<tool>/result.json`. Standard library only."""

import json
from pathlib import Path

COMPAT = Path(__file__).resolve().parent
HEAD = """# Compatibility

Made by `make compat` from what it ran, each tool in the environment that its own `compat/<tool>/uv.lock` describes.
Models are random and tiny, or the packaged one; nothing is downloaded. Scores show that a real task ran to its
end; how good the packaged model is, the table in the README says.

"""


def main() -> None:
    parts = [HEAD]
    for path in sorted(COMPAT.glob("*/result.json")):
        result = json.loads(path.read_text())
        packages = ", ".join(f"{name} {number}" for name, number in result["packages"].items())
        target = result.get("target", f"compat-{path.parent.name}")
        parts.append(f"## `make {target}`\n\n{packages}; Python {result['python']}.\n\n")
        parts.append("| what was run | result | measured |\n|---|---|---|\n")
        for run in result["runs"]:
            measured = "; ".join(f"{name} {value}" for name, value in run["measured"].items())
            parts.append(f"| {run['what']} | {run['result']} | {measured} |\n")
        parts.append("\n")
    (COMPAT.parent / "docs" / "compatibility.md").write_text("".join(parts).rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
