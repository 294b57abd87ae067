"""Reading exercises: what stands in the prefix is what the answer says, and nothing else is predicted."""

from itertools import groupby

import numpy as np

from uniwhisper.data.reading_text import no_reading_text
from uniwhisper.training.reading import ReadingMaterial

END, VOCABULARY = 999, 1000
COPY = (np.array([900, 901]),)
ASK = np.array([910, 911])


def material(**changes) -> ReadingMaterial:
    plain = {
        "prose": np.arange(100, 800), "copy_instructions": COPY, "questions": (), "layouts": (),
        "end": END, "vocabulary": VOCABULARY,
    }  # fmt: skip
    return ReadingMaterial(**{**plain, **changes})


def rows(made: ReadingMaterial, count: int = 200) -> list[tuple[list[int], list[int], list[int]]]:
    """(prefix, instruction, answer) of many exercises, taken apart by counts and labels."""
    tokens_BL, labels_BL, prefix_counts_B = made.batch(count, 160, [0, 1])
    taken = []
    for tokens_L, labels_L, prefix in zip(tokens_BL, labels_BL, prefix_counts_B, strict=True):
        answered = np.flatnonzero(labels_L >= 0)
        if len(answered) == 0:
            continue
        assert (np.diff(answered) == 1).all() and (labels_L[answered] == tokens_L[answered]).all()
        assert labels_L[answered[-1]] == END
        taken.append((tokens_L[:prefix].tolist(), tokens_L[prefix : answered[0]].tolist(), tokens_L[answered].tolist()))
    assert len(taken) > count // 2
    return taken


def test_a_copy_is_its_prefix_without_repeats_and_gaps():
    checked = 0
    for prefix, instruction, answer in rows(material()):
        assert instruction == COPY[0].tolist()
        sentence = answer[:-1]
        runs = [token for token, _ in groupby(prefix)]
        if len(set(sentence)) < len(sentence) or len(prefix) == 96:
            continue  # a token twice, or a prefix cut off, cannot be taken apart without knowing the gap
        heard = [token for token in runs if token in set(sentence)]
        gaps = set(runs) - set(sentence)
        assert len(gaps) <= 1
        assert heard == sentence
        checked += 1
    assert checked > 50


def test_a_question_mentions_its_answer_or_as_much_of_it_as_fits():
    said = np.array([5, 6, 7])
    asked = [row for row in rows(material(questions=(((ASK, said, (said,)),),))) if row[1] == ASK.tolist()]
    assert len(asked) > 80
    brief = 0
    for prefix, _, answer in asked:
        assert answer == [5, 6, 7, END]
        if {5, 6, 7} <= set(prefix):
            continue
        brief += 1
        assert prefix == [5, 6, 7][: len(prefix)]
    assert 10 < brief < 40  # one or two positions of one to eight, in half of the questions


def test_few_answers_are_read_though_another_kind_has_many():
    ages = tuple((ASK, np.array([answer]), (np.array([answer]),)) for answer in range(4))
    captions = tuple((ASK + 10, np.array([50]), (np.array([50]),)) for _ in range(400))
    asked = [row[1] for row in rows(material(questions=(ages, captions)), 2000) if row[1][0] in (ASK[0], ASK[0] + 10)]
    share = sum(row == ASK.tolist() for row in asked) / len(asked)
    assert abs(share - 2 / 22) < 0.03  # roots of 4 and 400


def test_a_layout_lasts_as_many_positions_as_it_says():
    layout = ((None, 3), (np.array([7, 8]), 5), (None, 2), (np.array([9]), 4))
    asked = [row for row in rows(material(layouts=((ASK, np.array([1]), layout),))) if row[1] == ASK.tolist()]
    assert len(asked) > 15
    for prefix, _, _ in asked:
        assert prefix[3:8] == [7, 8, 7, 8, 7]
        assert prefix[10:] == [9] * 4
        assert len(set(prefix[:3] + prefix[8:10])) == 1


def test_batches_are_a_function_of_the_seed():
    one, same, other = (material().batch(8, 64, [0, step]) for step in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not (one[0] == other[0]).all()


def test_there_is_always_something_to_copy():
    assert len(no_reading_text().copy_instructions) >= 5
