"""CoVoST 2, into English: translated Common Voice clips. `<lang>/covost_v2.<lang>_en.tsv` beside `<lang>/clips/`."""

import re
from collections.abc import Iterator

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.table import rows
from uniwhisper.data.storage import Store

_TABLE = re.compile(r"^([\w-]+)/covost_v2\.\1_en\.tsv$")
_LANGUAGES = {
    "ar": "Arabic", "ca": "Catalan", "cy": "Welsh", "de": "German", "es": "Spanish", "et": "Estonian", "fa": "Persian",
    "fr": "French", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "lv": "Latvian", "mn": "Mongolian",
    "nl": "Dutch", "pt": "Portuguese", "ru": "Russian", "sl": "Slovenian", "sv-SE": "Swedish", "ta": "Tamil",
    "tr": "Turkish", "zh-CN": "Mandarin",
}  # fmt: skip


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for folder in store.folders():
        for name in store.below(folder).names(deep=False):
            if not (found := _TABLE.match(f"{folder}/{name}")):
                continue
            for _, row in rows(store, f"{folder}/{name}", on_problem):
                if row["split"] == "train":
                    labels = {"translation": row["translation"], "language": found[1]}
                    key = f"{folder}/{row['path'].removesuffix('.mp3')}"
                    yield SourceClip(key, f"{folder}/clips/{row['path']}", labels)


CORPUS = Published(
    name="covost2",
    title="CoVoST 2 (into English)",
    url="https://github.com/facebookresearch/covost",
    licence="translations CC BY-NC 4.0; speech (Common Voice) CC0",
    domain="speech",
    hours=700,
    tasks={
        "speech_translation": {"field": "translation"},
        "language": {"field": "language", "values": _LANGUAGES},
    },
    layout="README.md of the repository (tables) and of Common Voice 4.0 (clips)",
    parse=_parse,
)
