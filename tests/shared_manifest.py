"""The shared training sets as a manifest made of their labels and declared lengths: nothing is decoded."""

import hashlib
from pathlib import Path

from uniwhisper.data.archive import index_archive
from uniwhisper.data.corpora import shipped_corpora
from uniwhisper.data.manifest import Manifest, Record


def declared_manifest(folder: Path) -> Manifest:
    """Records of `folder`/<corpus>/*.tar; hashes are of the ids, since no audio is read."""
    records = []
    corpora = sorted({path.parent.name for path in folder.glob("*/*.tar")})
    for corpus in corpora:
        description = shipped_corpora()[corpus]
        for archive in sorted((folder / corpus).glob("*.tar")):
            for clip in index_archive(archive):
                fields = dict(clip.fields)
                samples = max(1, round(fields.pop("seconds") * 16_000))
                record_id = f"{corpus}/{clip.key}"
                digest = hashlib.sha256(record_id.encode()).hexdigest()
                place = archive.relative_to(folder).as_posix()
                where = (place, clip.offset, clip.size)
                records.append(Record(record_id, corpus, description.domain, *where, samples, digest, fields))
    return Manifest.of(records, {name: shipped_corpora()[name] for name in corpora}, folder)
