"""Several manifests as one: corpora that were prepared apart are trained on together."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.files import check_output
from uniwhisper.data.corpora import CorpusDescription
from uniwhisper.data.left_out import joined
from uniwhisper.data.manifest import MANIFEST_NAME, Manifest
from uniwhisper.data.manifest_writer import ManifestWriter, Written
from uniwhisper.data.storage import Root, is_url


def merge(sources: Sequence[Path], output: Path, *, overwrite: bool = False) -> Written:
    """Write one manifest of all the records of `sources`, relative to the folder that all their roots lie in.

    Raises:
        ManifestError: a manifest cannot be read, two describe a corpus differently or hold the same clip, or their
            audio does not lie below one folder or URL.
        OutputError: the output exists and `overwrite` is False, or it cannot be written.
    """
    assert sources, "nothing to merge"
    check_output(Path(output) / MANIFEST_NAME, overwrite=overwrite)
    manifests = [Manifest.read(path) for path in sources]
    corpora: dict[str, CorpusDescription] = {}
    for path, manifest in zip(sources, manifests, strict=True):
        for name, description in manifest.corpora.items():
            if corpora.setdefault(name, description).as_json() != description.as_json():
                raise ManifestError(
                    f"corpus {name} of {path}",
                    expected="the description that an earlier manifest has of it",
                    got="another one",
                    fix="prepare both again with the same version and corpus.json",
                )
    root = _common_root([manifest.root for manifest in manifests])
    with ManifestWriter(output, corpora, root, overwrite=overwrite) as writer:
        for manifest in manifests:
            prefix = "" if is_url(root) else _prefix(Path(manifest.root), Path(root))
            for record in manifest.records:
                writer.add(replace(record, archive=prefix + record.archive))
        skipped = [line for manifest in manifests for line in manifest.skipped]
        return writer.finish(skipped, left_out=joined(manifest.left_out for manifest in manifests))


def _common_root(roots: Sequence[Root]) -> Root:
    if any(map(is_url, roots)):
        if len(set(map(str, roots))) > 1:
            raise ManifestError(
                "these manifests cannot be merged",
                expected="audio below one folder, or at one URL",
                got=", ".join(sorted(set(map(str, roots)))),
                fix="put the corpora below one URL and prepare that",
            )
        return roots[0]
    return Path(os.path.commonpath([Path(root).resolve() for root in roots]))


def _prefix(root: Path, common: Path) -> str:
    relative = root.resolve().relative_to(common).as_posix()
    return "" if relative == "." else f"{relative}/"
