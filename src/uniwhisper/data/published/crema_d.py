"""CREMA-D: 91 actors speak twelve sentences in six emotions. `AudioWAV/1001_DFA_ANG_XX.wav`, `VideoDemographics.csv`.

There is no official split: evaluations draw their own. Who wants to be judged on it must not train on it;
`uniwhisper data overlap` finds out.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.sources.table import rows
from uniwhisper.data.storage import Store


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    actors = {str(row["ActorID"]): row for _, row in rows(store, "VideoDemographics.csv", on_problem)}
    for name in store.names():
        path = PurePosixPath(name)
        if path.parent.name != "AudioWAV" or path.suffix != ".wav":
            continue
        parts = path.stem.split("_")
        if len(parts) != 4 or parts[0] not in actors:
            expected = "actor_sentence_emotion_level.wav, the actor in VideoDemographics.csv"
            on_problem(problem(name, expected=expected, got=path.name, fix="rename or remove the file"))
            continue
        actor = actors[parts[0]]
        labels = {"emotion": parts[2], "level": parts[3], "sex": str(actor["Sex"]).lower(), "age": actor["Age"]}
        yield SourceClip(path.stem, name, labels)


CORPUS = Published(
    name="crema_d",
    title="CREMA-D",
    url="https://github.com/CheyneyComputerScience/CREMA-D",
    licence="ODbL 1.0",
    domain="speech",
    hours=5.3,
    tasks={
        "emotion": {
            "field": "emotion",
            "values": {
                "ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
            },
        },
        "speaker_sex": {"field": "sex", "values": {"male": "male", "female": "female"}},
        "age_group": {"field": "age", "ranges": "age_group"},
    },
    layout="README.md of the repository",
    parse=_parse,
    unused={"level": "how strongly the emotion was acted"},
)  # fmt: skip
