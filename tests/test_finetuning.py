"""Classifiers: who is held out, that the head is logistic regression, that the folder is what was judged."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command import uniwhisper
from conftest import SAMPLE_RATE_HZ, tone
from uniwhisper.core.errors import ManifestError, WeightsError
from uniwhisper.finetuning.classifier import Classifier
from uniwhisper.finetuning.full import FullConfig, unchanged
from uniwhisper.finetuning.head import fit_head
from uniwhisper.finetuning.labels import LabelledFiles, held_out, read_labels
from uniwhisper.finetuning.run import finetune
from uniwhisper.finetuning.scores import score


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Two classes that differ: low tones and noise, 12 files each."""
    folder = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(0)
    for number in range(12):
        low = tone(0.4 + 0.02 * number, 150 + 10 * number)
        noise = (0.2 * generator.standard_normal(6_000 + 100 * number)).astype(np.float32)
        for name, wave_S in (("low tone", low), ("noise", noise)):
            (folder / name / "more").mkdir(parents=True, exist_ok=True)
            place = folder / name / ("more" if number % 2 else "") / f"{number}.wav"
            soundfile.write(place, wave_S, SAMPLE_RATE_HZ)
    return folder


def test_a_folder_names_its_classes(sounds):
    files = read_labels(sounds)
    assert files.classes == ["low tone", "noise"]
    assert {path.relative_to(sounds).parts[0] == label for path, label in zip(files.paths, files.labels, strict=True)}
    assert len(files.paths) == 24


def test_a_csv_says_what_is_held_out(sounds):
    files = read_labels(sounds)
    table = sounds / "list.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for number, (path, label) in enumerate(zip(files.paths, files.labels, strict=True)):
            writer.writerow([path.relative_to(sounds), label, "test" if number % 3 == 0 else "train"])
    read = read_labels(table)
    table.unlink()
    assert read.paths == files.paths
    assert held_out(read, range(24)).tolist() == [number % 3 == 0 for number in range(24)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\na.wav,x\n",
            r"columns path and label[\s\S]*got: the columns file, label\n  fix: .*--column path=",
        ),
        ("path,label\n", "at least one row"),
        ("path,label\na.wav,\n", "line 2"),
        ("path,label\na.wav,x\na.wav, \n", "line 3"),
        ("path,label\na.wav,x\n\n\na.wav, \n", "line 5"),
        ("path,label\na.wav,x\nb.wav,x\n", "two or more classes"),
        ("path,label\na.wav,x\nb.wav,y\n\n./a.wav,y\n", r"one label[\s\S]*\./a\.wav as x in line 2 and as y in line 5"),
        ("path,label\na.wav,x\nb.wav,x\nc.wav,y\n", "classes of one file: y"),
        (
            "path,label,split\na.wav,x,train\nb.wav,y,dev\n",
            r"train and test[\s\S]*got: dev in line 3\n  fix: write train",
        ),
        ("path,label,split\na.wav,x,train\nb.wav,y\n", "nothing in line 3"),
        ("path,label,split\na.wav,x,train\nb.wav,y,train\n", "got: train alone"),
        ("path,label,split\na.wav,x,train\na.wav,x,train\nb.wav,y,test\nc.wav,y,test\n", "only tested: y"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_labels(tmp_path / "list.csv")


SPLIT_ROWS = "path,label,split\na.wav,low,train\nb.wav,low,test\nc.wav,high,train\nd.wav,high,test\n"


@pytest.mark.parametrize("shared", ["b.wav,low,train\n", "copy of d.wav,high,train\n"])
def test_a_recording_to_test_is_not_trained_on(tmp_path, shared):
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", tone(0.3, 200 + ord(name)), SAMPLE_RATE_HZ)
    (tmp_path / "copy of d.wav").write_bytes((tmp_path / "d.wav").read_bytes())
    (tmp_path / "list.csv").write_text(SPLIT_ROWS)
    assert read_labels(tmp_path / "list.csv").split == ["train", "test", "train", "test"]  # as many bytes, others
    for name in "ef":
        (tmp_path / f"{name}.wav").touch()
    (tmp_path / "list.csv").write_text(SPLIT_ROWS + "e.wav,low,train\nf.wav,low,test\n")
    assert len(read_labels(tmp_path / "list.csv").paths) == 6
    (tmp_path / "list.csv").write_text(SPLIT_ROWS + "\0.wav,low,train\n\0.wav,low,test\n")
    assert len(read_labels(tmp_path / "list.csv").paths) == 6
    (tmp_path / "list.csv").write_text(SPLIT_ROWS + shared)
    done = uniwhisper("finetune", tmp_path / "list.csv", "-o", tmp_path / "out")
    tested = "b.wav" if shared.startswith("b") else "d.wav"
    assert (
        done.returncode == 2 and f"1 row to test with the bytes of a row to train on, such as {tested}" in done.stderr
    )
    assert not (tmp_path / "out").exists()


def test_a_row_that_is_not_there_stays_a_row(tmp_path):
    (tmp_path / "list.csv").write_text(SPLIT_ROWS)
    assert len(read_labels(tmp_path / "list.csv").paths) == 4  # named as missing where it is read


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_parted_as_its_header_is(tmp_path, delimiter):
    """A value may hold the other signs; a byte order mark, as spreadsheets write it, is no part of a name."""
    rows = [
        ["note", "path", "label"],
        ["1,5; \t", "a.wav", "x, y"],
        ["", "b, c.wav", "z"],
        ["", "d", "x, y"],
        ["", "e", "z"],
    ]
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    read = read_labels(tmp_path / "list.csv")
    assert read.labels == ["x, y", "z", "x, y", "z"] and read.paths[1].name == "b, c.wav"
    (tmp_path / "list.csv").write_text("file|label\na.wav|x\n")
    with pytest.raises(ManifestError, match=r"got: the columns file\|label\n  fix: part the columns by commas"):
        read_labels(tmp_path / "list.csv")


def test_columns_are_called_as_somebody_else_called_them(tmp_path):
    """Columns of our names that mean something else are passed over."""
    rows = "path,Datei,Klasse,Teil\n7,a.wav,x,train\n8,b.wav,y,test\n9,c.wav,x,test\n6,d.wav,y,train\n"
    table = tmp_path / "list.csv"
    table.write_text(rows)
    read = read_labels(table, {"path": "Datei", "label": "Klasse", "split": "Teil"})
    assert [path.name for path in read.paths] == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert read.labels == ["x", "y", "x", "y"] and read.split == ["train", "test", "test", "train"]
    with pytest.raises(ManifestError, match=r"Datei and Class, and[\s\S]*got: the columns path, Datei, Klasse, Teil"):
        read_labels(table, {"path": "Datei", "label": "Class"})
    with pytest.raises(ManifestError, match="and Set, and"):
        read_labels(table, {"path": "Datei", "label": "Klasse", "split": "Set"})
    with pytest.raises(ManifestError, match=r"names for path, label, split\n  got: file"):
        read_labels(table, {"file": "Datei"})
    with pytest.raises(ManifestError, match="leave --column out"):
        read_labels(tmp_path, {"path": "Datei"})


@pytest.mark.parametrize(
    ("options", "message"),
    [(("path=Datei", "label=Class"), "the columns Datei and Class,"), (("path",), "NAME=COLUMN")],
)
def test_finetune_takes_the_names_of_columns(tmp_path, options, message):
    (tmp_path / "list.csv").write_text("Datei,Klasse\na.wav,x\n")
    named = [word for option in options for word in ("--column", option)]
    done = uniwhisper("finetune", tmp_path / "list.csv", "-o", tmp_path / "out", *named)
    assert done.returncode == 2 and message in done.stderr and not (tmp_path / "out").exists()


def test_labels_that_may_be_none_are_counted_and_said(sounds, tmp_path):
    """They are classes all the same; `none` is one that people teach."""
    table, places = tmp_path / "list.csv", read_labels(sounds).paths
    label_of = {"noise": "N/A", "low tone": "none"}
    table.write_text("path,label\n" + "".join(f"{p},{label_of[p.relative_to(sounds).parts[0]]}\n" for p in places))
    done = uniwhisper("finetune", table, "-o", tmp_path / "out", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "warning: 12 files have the label 'N/A'" in done.stderr
    assert done.stderr.count("warning") == 1
    record = json.loads((tmp_path / "out" / "classifier.json").read_text())
    assert record["made"]["placeholders"] == {"N/A": 12} and record["classes"] == ["N/A", "none"]


def test_loose_files_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.1), SAMPLE_RATE_HZ)
    with pytest.raises(ManifestError, match="outside of class folders"):
        read_labels(tmp_path)


def test_copies_fall_on_one_side(tmp_path):
    """The same recording under another name must not be trained on and judged."""
    paths, labels = [], []
    for number in range(20):
        for copy in ("a", "b"):
            paths.append(tmp_path / f"{copy}-{number}.wav")
            soundfile.write(paths[-1], tone(0.1, 100 + 20 * number), SAMPLE_RATE_HZ)
            labels.append("even" if number % 2 == 0 else "odd")
    out_N = held_out(LabelledFiles(paths, labels), range(40))
    assert (out_N[::2] == out_N[1::2]).all()
    assert 0 < out_N.sum() < 40
    for label in ("even", "odd"):
        assert len({bool(out) for out, name in zip(out_N, labels, strict=True) if name == label}) == 2
    renamed = [path.rename(path.with_name(f"x{path.name}")) for path in paths]
    assert (held_out(LabelledFiles(renamed, labels), range(40)) == out_N).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_head_is_logistic_regression(classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(classes)
    truth_N = np.arange(120) % classes
    vectors_ND = (generator.standard_normal((120, 6)) + 2 * np.eye(classes, 6)[truth_N] * [5, 1, 1, 1, 1, 0]).astype(
        np.float32
    )
    head, strength = fit_head(vectors_ND, truth_N, classes=classes, seed=0)
    scaler = StandardScaler().fit(vectors_ND)
    reference = LogisticRegression(C=strength, max_iter=5000).fit(scaler.transform(vectors_ND), truth_N)
    expected_NC = reference.predict_proba(scaler.transform(vectors_ND))
    np.testing.assert_allclose(head.probabilities(vectors_ND), expected_NC, atol=1e-3)


def test_scores_by_hand():
    scores = score(["a", "b", "c"], np.array([0, 0, 0, 1]), np.eye(3)[[0, 1, 0, 1]])
    assert scores.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert scores.accuracy == 0.75 and scores.most_common == 0.75
    assert scores.per_class()[1] == {"class": "b", "clips": 1, "precision": 0.5, "recall": 1.0}
    assert scores.per_class()[2] == {"class": "c", "clips": 0, "precision": None, "recall": None}


def test_training_the_encoder_lowers_its_loss_and_leaves_the_original(sounds, tiny_model):
    files = read_labels(sounds)
    config = FullConfig(epochs=3, encoder_learning_rate=1e-3)
    done = finetune(files, model=tiny_model, full=config, device="cpu")
    told = done.classifier.record["made"]["full"]
    assert len(told["inner_losses"]) == 4 and told["kept_epoch"] == int(np.argmin(told["inner_losses"]))
    assert told["kept_epoch"] > 0 and told["inner_losses"][told["kept_epoch"]] < told["inner_losses"][0]
    frozen = finetune(files, model=tiny_model, device="cpu")
    assert frozen.classifier.embedder.identity["weights"] != done.classifier.embedder.identity["weights"]
    assert done.classifier.record["made"]["accuracy_frozen"] == frozen.scores.accuracy
    again = finetune(files, model=tiny_model, full=config, device="cpu")
    assert again.classifier.embedder.identity == done.classifier.embedder.identity


def test_an_encoder_that_stayed_as_it_was_is_said_plainly(tiny_model, tmp_path):
    """Two files a class: one is held out, and nothing is left to choose an epoch on."""
    for name, place in (("low", 0), ("low", 1), ("high", 2), ("high", 3)):
        (tmp_path / "few" / name).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "few" / name / f"{place}.wav", tone(0.2, 200 + 300 * place), SAMPLE_RATE_HZ)
    words = ["finetune", tmp_path / "few", "-o", tmp_path / "out", "--model", tiny_model, "--full", "--epochs", "1"]
    done = uniwhisper(*words, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)["made"]
    assert made["full"]["kept_epoch"] == 0 and "untrained" in made["warning"]
    assert f"warning: {made['warning']}\n" in done.stderr
    assert made["warning"] in (tmp_path / "out" / "README.md").read_text()
    assert made["method"] == "linear head on frozen features"


def test_epochs_are_not_taken_and_forgotten_without_full(sounds, tiny_model, tmp_path):
    done = uniwhisper("finetune", sounds, "-o", tmp_path / "out", "--model", tiny_model, "--epochs", "3")
    assert done.returncode == 2 and "add --full" in done.stderr and not list(tmp_path.iterdir())


def test_a_trained_encoder_and_one_no_epoch_of_which_was_better_are_told_apart():
    assert unchanged({"kept_epoch": 2, "chosen_on": 5}) is None
    assert "5 clips" in unchanged({"kept_epoch": 0, "chosen_on": 5})


def test_a_csv_beside_other_folders_than_its_paths_name_says_which_file_is_missing(sounds, tiny_model, tmp_path):
    """Its paths are relative to it, and not to the folder that the command is called in."""
    paths = sorted(path.relative_to(sounds) for path in sounds.rglob("*.wav"))
    rows = "".join(f"{path},{path.parts[0]}\n" for path in paths)
    (tmp_path / "list.csv").write_text("path,label\n" + rows)
    done = uniwhisper("finetune", tmp_path / "list.csv", "-o", tmp_path / "out", "--model", tiny_model, cwd=sounds)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert f"24 of 24 files cannot be read, such as {tmp_path / paths[0]}: does not exist" in done.stderr
    assert "relative to the folder of the CSV" in done.stderr


@pytest.fixture(scope="module")
def made(sounds, tiny_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "classifier"
    (sounds / "noise" / "broken.wav").write_bytes(b"RIFF nothing")
    done = uniwhisper("finetune", sounds, "-o", folder, "--model", tiny_model, "--json")
    (sounds / "noise" / "broken.wav").unlink()
    assert done.returncode == 1, done.stderr  # one file could not be read
    assert done.stderr.startswith("device: ")
    told = json.loads(done.stdout)
    assert [Path(each["path"]).name for each in told["made"]["not_read"]] == ["broken.wav"]
    assert told["scores"]["accuracy"] > 0.9
    return folder


def test_the_folder_gives_the_scores_it_claims(made, sounds):
    """What is loaded from the folder is what was judged: its answers give the confusion matrix again."""
    assert {path.name for path in made.iterdir()} == {
        *("classifier.json", "head.safetensors", "encoder", "confusion.csv", "confusion.png", "README.md")
    }
    files = read_labels(sounds)
    out_N = held_out(files, range(24))
    classifier = Classifier.load(made, device="cpu")
    answers = classifier.classify([files.paths[row] for row in np.flatnonzero(out_N)])
    truth = [classifier.classes.index(files.labels[row]) for row in np.flatnonzero(out_N)]
    claimed = json.loads((made / "classifier.json").read_text())["scores"]["confusion"]
    assert score(classifier.classes, np.array(truth), answers.probabilities).confusion.tolist() == claimed
    table = list(csv.reader((made / "confusion.csv").open()))
    assert [[int(cell) for cell in row[1:]] for row in table[1:]] == claimed


def test_classify_names_failures_and_writes_probabilities(made, sounds, tmp_path):
    good, bad = sounds / "noise" / "0.wav", tmp_path / "absent.wav"
    arguments = ["classify", good, bad, "--classifier", made, "-o", tmp_path / "out.csv", "--top", "2"]
    done = uniwhisper(*arguments)
    assert done.returncode == 1 and "absent.wav" in done.stderr
    name, first, second = done.stdout.strip().split("\t")
    assert name == str(good) and first.startswith("noise ") and second.startswith("low tone ")
    (header, row) = csv.reader((tmp_path / "out.csv").open())
    assert header == ["path", "label", "low tone", "noise"]
    assert row[:2] == [str(good), "noise"] and abs(float(row[2]) + float(row[3]) - 1) < 1e-5
    told = json.loads(uniwhisper(*arguments[:5], "--json").stdout)
    assert told["files"][0]["label"] == "noise" and told["failed"][0]["path"] == str(bad)
    assert uniwhisper("classify", bad, "--classifier", made).returncode == 2


AWKWARD = {"a\nb": r"a\nb", "c\rd": r"c\rd", "e\tf": r"e\tf", "g\x1b[2Jh": r"g\x1b[2Jh", "i\u2028j é": r"i\u2028j é"}
"""Names that a file may have, and what they are called where a file is a line."""


def test_a_file_is_a_line_whatever_it_is_called(made, sounds, tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
        for name in AWKWARD:
            content = (sounds / "noise" / "0.wav").read_bytes() if folder == good else b"RIFF nothing"
            (folder / f"{name}.wav").write_bytes(content)
    arguments = ["classify", good, bad, "--classifier", made]
    done = uniwhisper(*arguments, "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    lines = [line.split("\t") for line in done.stdout.removesuffix("\n").split("\n")]
    shown = sorted(f"{name}.wav" for name in AWKWARD.values())
    assert sorted(Path(name).name for name, _ in lines) == shown
    assert all(label.startswith("noise ") for _, label in lines)
    failed = [line for line in done.stderr.split("\n") if line.startswith("failed: ")]
    assert sorted(line.split(": ")[1] for line in failed) == [str(bad / name) for name in shown]
    assert not set("\r\x1b\u2028") & set(done.stdout + done.stderr)
    # Programs get the names as they are.
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    told = json.loads(uniwhisper(*arguments, "--json").stdout)
    for named in ([row[0] for row in rows[1:]], [each["path"] for each in told["files"]]):
        assert sorted(named) == sorted(str(good / f"{name}.wav") for name in AWKWARD)
    assert {each["path"] for each in told["failed"]} == {str(bad / f"{name}.wav") for name in AWKWARD}


def test_a_reader_that_goes_away_costs_no_table(made, sounds, tmp_path):
    """`uniwhisper classify … -o table.csv | head`"""
    words = [sys.executable, "-m", "uniwhisper", "classify", str(sounds / "noise"), "--classifier", str(made)]
    with subprocess.Popen([*words, "-o", str(tmp_path / "out.csv")], stdout=subprocess.PIPE) as process:
        process.stdout.close()
    assert process.returncode == 1
    assert len(list(csv.reader((tmp_path / "out.csv").open()))) == 1 + len(list((sounds / "noise").rglob("*.wav")))


def test_mixed_folders_are_refused(made, tiny_model, tmp_path):
    import shutil

    shutil.copytree(made, tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "encoder")
    from uniwhisper.model.weights import packaged_default

    shutil.copytree(packaged_default(), tmp_path / "mixed" / "encoder")
    with pytest.raises(WeightsError, match="do not belong together"):
        Classifier.load(tmp_path / "mixed", device="cpu")
    with pytest.raises(WeightsError, match="no classifier"):
        Classifier.load(tiny_model, device="cpu")
    with pytest.raises(WeightsError, match=r"a folder with classifier.json[\s\S]*got: a file"):
        Classifier.load(made / "classifier.json", device="cpu")


def test_nothing_is_left_when_labels_are_bad(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.wav,x\n")
    done = uniwhisper("finetune", tmp_path / "list.csv", "-o", tmp_path / "out")
    assert done.returncode == 2 and [path.name for path in tmp_path.iterdir()] == ["list.csv"]
