"""Probes and the choice of their settings: against scikit-learn, against each other alone, and at chance."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from uniwhisper.evaluation import ladder, selection
from uniwhisper.evaluation.axes import Axes
from uniwhisper.evaluation.folds import Standardiser, make_folds
from uniwhisper.evaluation.linear import LinearProbe
from uniwhisper.evaluation.metrics import loss_of_logits, mean_average_precision
from uniwhisper.evaluation.probe import Problem, Setting, Stack, Trainer

SEEDS = {"linear": 1, "mlp": 5}


def blobs(seed: int, *, classes: int = 3, clips: int = 90, width: int = 6, distance: float = 6.0):
    generator = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width)) * distance
    return (centres[labels] + generator.normal(size=(clips, width))).astype(np.float32), labels


def ask(measure, reference, labels, queries, *, groups=None, targets=None, metric="accuracy", classes=None):
    """Logits [seed] of one fold."""
    vectors = np.concatenate([reference, queries])
    places = np.concatenate([labels, np.zeros(len(queries), dtype=np.int64)])
    folds = make_folds(["in"] * len(reference) + ["out"] * len(queries), ["out"])
    groups = groups or [str(clip) for clip in range(len(vectors))]
    given = selection.answer(
        [measure], vectors, places if targets is None else targets, places, groups, folds,
        metric=metric, classes=classes or int(labels.max()) + 1, seed=0,
    )[measure]  # fmt: skip
    return given.logits[0], given.choices[0]


def train(stack, problems, setting, *, classes, hidden, checkpoints):
    """Logits after each number of epochs, `[checkpoint][problem]`, of one training that goes on."""
    trainer, answers = Trainer(stack, problems, setting, classes=classes, hidden=hidden), []
    for before, epochs in zip((0, *checkpoints), checkpoints, strict=False):
        trainer.train(epochs - before)
        answers.append(trainer.ask())
    return answers


@pytest.mark.parametrize("measure", ["linear", "mlp"])
def test_probes_learn_what_is_separable(measure):
    reference, labels = blobs(0)
    queries, truth = blobs(1)
    logits, choice = ask(measure, reference, labels, queries)
    assert len(logits) == SEEDS[measure] and all((each.argmax(axis=1) == truth).all() for each in logits)
    assert not choice.underfit and max(choice.curve["inner"]) == 1


def test_only_the_hidden_layer_learns_what_is_not_linear():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(800, 2)).astype(np.float32)
    labels = (vectors[:, 0] * vectors[:, 1] > 0).astype(np.int64)
    score = {}
    for measure in ("linear", "mlp"):
        logits, _ = ask(measure, vectors[:500], labels[:500], vectors[500:])
        score[measure] = np.mean([(each.argmax(axis=1) == labels[500:]).mean() for each in logits])
    assert score["linear"] < 0.65 and score["mlp"] > 0.9


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_linear_probe_is_the_logistic_regression_of_scikit_learn(classes, strength):
    """Folds of different sizes and penalties, solved side by side."""
    from sklearn.linear_model import LogisticRegression

    folds, penalties = [], []
    for seed, clips in ((0, 300), (1, 230)):
        reference, labels = blobs(seed, distance=0.6, clips=clips, classes=classes, width=12)
        queries, _ = blobs(seed + 5, distance=0.6, clips=100, classes=classes, width=12)
        standardise = Standardiser.fit(reference)
        folds.append((standardise(reference), labels, standardise(queries)))
        penalties.append(1 / (strength * clips))
    solution = LinearProbe(Stack.of(folds), classes).solve(penalties, tolerance=1e-5)
    assert all(solution.solved)
    for (reference, labels, queries), logits in zip(folds, solution.logits(), strict=True):
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(reference, labels)
        theirs = model.predict_proba(queries)
        ours = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
        if classes == 2:  # scikit-learn penalises the log-odds, which are our two columns' difference
            model = LogisticRegression(C=2 * strength, tol=1e-8, max_iter=10_000).fit(reference, labels)
            theirs = model.predict_proba(queries)
        np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_the_linear_probe_of_several_classes_is_one_regression_per_class():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    reference, queries = (generator.normal(size=(n, 5)).astype(np.float32) for n in (200, 50))
    targets = (reference[:, :3] + generator.normal(size=(200, 3)) > 0.5).astype(np.float32)
    probe = LinearProbe(Stack.of([(reference, targets, queries)]), 3)
    (logits,) = probe.solve([0.01], tolerance=1e-5).logits()
    for column in range(3):
        model = LogisticRegression(C=1 / (0.01 * 200), tol=1e-8).fit(reference, targets[:, column])
        np.testing.assert_allclose(logits[:, column], model.decision_function(queries), atol=1e-2)


def test_the_path_to_a_penalty_does_not_matter():
    """From the answers to stronger penalties, and with other folds left behind: the same optimum."""
    folds = [(*blobs(seed, distance=0.6, clips=200), blobs(9)[0]) for seed in (0, 1)]
    warm = LinearProbe(Stack.of(folds), 3)
    warm.solve([1.0, 1.0])
    warm.keep([1])
    (along,) = warm.solve([0.01], tolerance=1e-6).logits()
    (cold,) = LinearProbe(Stack.of(folds[1:]), 3).solve([0.01], tolerance=1e-6).logits()
    np.testing.assert_allclose(along, cold, atol=1e-2)


def test_axes_can_be_undone_and_put_no_direction_above_the_rest():
    generator = np.random.default_rng(0)
    mixed = (generator.normal(size=(500, 8)) @ generator.normal(size=(8, 8)) * 3).astype(np.float32)
    mixed[:, 7] = mixed[:, 0]  # a direction that is not there
    standard = Standardiser.fit(mixed)(mixed)
    axes = Axes.fit(standard)
    turned = axes(standard)
    assert turned.shape == (500, 7) and np.mean(turned**2) == pytest.approx(1, rel=1e-4)
    covariance = turned.T @ turned / 500
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    back = np.linalg.lstsq(turned, standard, rcond=None)[0]
    np.testing.assert_allclose(turned @ back, standard, atol=1e-3)


def test_axes_of_clips_that_are_all_alike_leave_them():
    assert Axes.fit(np.zeros((4, 3), dtype=np.float32))(np.ones((2, 3), dtype=np.float32)).shape == (2, 3)


def test_problems_that_are_kept_go_on_as_if_alone_with_their_state():
    stack = Stack.of([(*blobs(0), blobs(1)[0])])
    problems = [Problem(0, seed) for seed in range(3)]
    fewer, all_of_them = (Trainer(stack, problems, Setting(3e-3, 0.5), classes=3, hidden=8) for _ in range(2))
    for trainer in (fewer, all_of_them):
        trainer.train(2)
    fewer.keep([2, 0])
    for trainer in (fewer, all_of_them):
        trainer.train(3)
    whole = all_of_them.ask()
    for kept, place in zip(fewer.ask(), (2, 0), strict=True):
        np.testing.assert_allclose(kept, whole[place], atol=1e-4)


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize("several", [False, True])
def test_a_step_is_that_of_torchs_own_layers_loss_and_optimizer(hidden, several):
    """Gradients written out, slices and threads: against one problem as anybody would train it."""
    clips, width, classes, epochs = 150, 6, 3, 3
    reference, labels = blobs(0, clips=clips, distance=0.5)
    targets = (np.random.default_rng(3).random((clips, classes)) < 0.4).astype(np.float32) if several else labels
    stack = Stack.of([(reference, targets, blobs(1)[0])] * 2)
    problems = [Problem(fold, seed) for fold in (0, 1) for seed in (0, 1, 2)]
    trainer = Trainer(stack, problems, Setting(1e-2, 0.5), classes=classes, hidden=hidden, averaging=None)
    trainer.train(epochs)

    layers = [torch.nn.Linear(width, hidden or classes)]
    layers += [torch.nn.Linear(hidden, classes)] if hidden else []
    model = torch.nn.Sequential(*layers) if not hidden else torch.nn.Sequential(layers[0], torch.nn.GELU(), layers[1])
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in layers:
            for shape, part in ((layer.weight.T.shape, layer.weight), ((1, layer.out_features), layer.bias)):
                drawn = (torch.rand(shape, generator=generator) * 2 - 1) / layer.in_features**0.5
                part.copy_(drawn.T.reshape(part.shape))
    optimizer = torch.optim.AdamW(
        [
            {"params": [layer.weight for layer in layers], "weight_decay": 0.5},
            {"params": [layer.bias for layer in layers], "weight_decay": 0.0},
        ],
        lr=1e-2,
    )
    shuffled = np.random.default_rng([2, clips])
    order = np.concatenate([shuffled.permutation(clips) for _ in range(6)])
    loss = torch.nn.functional.cross_entropy
    if several:
        loss = lambda y, t: torch.nn.functional.binary_cross_entropy_with_logits(y, t, reduction="none").sum(1).mean()  # noqa: E731
    for step in range(epochs * 2):
        rows = order[128 * step : 128 * (step + 1)]
        optimizer.zero_grad()
        loss(model(torch.from_numpy(reference[rows])), torch.from_numpy(targets[rows])).backward()
        optimizer.step()
    expected = model(torch.from_numpy(blobs(1)[0])).detach().numpy()
    for row, problem in enumerate(problems):
        if problem.seed == 2:
            np.testing.assert_allclose(trainer.ask()[row], expected, atol=1e-4)


def test_a_slice_that_fails_is_an_error_and_leaves_the_number_of_threads():
    stack, threads = Stack.of([(*blobs(0), blobs(1)[0])]), torch.get_num_threads()
    problems = [Problem(0, seed) for seed in range(6)]

    def fails(_, targets_PB):
        raise ArithmeticError(f"{len(targets_PB)} problems")

    torch.set_num_threads(2)
    try:
        trainer = Trainer(stack, problems, Setting(1e-2, 0.5), classes=3, hidden=0, loss=fails)
        with pytest.raises(ArithmeticError, match="2 problems"):
            trainer.train(1)
        with ThreadPoolExecutor(1) as later:
            assert torch.get_num_threads() == later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("hidden", [0, 16])
def test_problems_trained_together_are_those_trained_alone(hidden):
    """Folds of different sizes and several seeds side by side must not touch each other."""
    folds = [(*blobs(seed, clips=clips), blobs(9, clips=20)[0]) for seed, clips in ((0, 150), (1, 150), (2, 140))]
    problems = [Problem(fold, seed) for fold in range(3) for seed in (0, 1)]
    setting = Setting(3e-3, 0.5)
    (together,) = train(Stack.of(folds), problems, setting, classes=3, hidden=hidden, checkpoints=(4,))
    for problem, logits in zip(problems, together, strict=True):
        # Alone, but padded as in company: an epoch has as many steps as the largest fold needs.
        alone_stack = Stack.of([folds[0], folds[problem.fold]])
        ((alone,),) = train(
            alone_stack, [Problem(1, problem.seed)], setting, classes=3, hidden=hidden, checkpoints=(4,)
        )
        np.testing.assert_allclose(logits, alone, atol=1e-4)
    assert not np.allclose(together[0], together[1], atol=1e-3), "seeds must differ"


def test_what_answers_is_the_mean_of_the_last_weights_by_the_published_recursion():
    """Against the weights after each step, taken from one-step trainings that answer by their last weights, and the
    recursion written out as a weighted sum. The layer is linear in its weights, so averaging logits is the same."""
    reference, labels = blobs(0, distance=0.5)
    stack = Stack.of([(reference, labels, blobs(1)[0])])
    setting, steps, g = Setting(3e-2, 0.5), 7, 2
    averaged, last = (
        Trainer(stack, [Problem(0, 0)], setting, classes=3, hidden=0, averaging=averaging) for averaging in (g, None)
    )
    assert stack.steps_per_epoch == 1
    path = []
    for _ in range(steps):
        last.train(1)
        path.append(last.ask()[0])
    averaged.train(3)
    averaged.train(steps - 3)
    shares = np.array([(g + 1) / (t + g) for t in range(1, steps + 1)])
    weights = [shares[t] * np.prod(1 - shares[t + 1 :]) for t in range(steps)]
    assert sum(weights) == pytest.approx(1) and weights[0] < weights[-1]
    expected = np.tensordot(weights, path, axes=1)
    np.testing.assert_allclose(averaged.ask()[0], expected, atol=1e-5)
    assert not np.allclose(path[-1], expected, atol=1e-2)


def test_probes_asked_for_together_answer_as_if_alone():
    reference, labels = blobs(0, distance=0.5)
    queries = blobs(1, distance=0.5)[0]
    vectors = np.concatenate([reference, queries])
    folds = make_folds(["in"] * 90 + ["out"] * 90, ["out"])
    targets, groups = np.concatenate([labels, labels]), [str(clip) for clip in range(180)]
    both = selection.answer(
        ["linear", "mlp"], vectors, targets, targets, groups, folds, metric="accuracy", classes=3, seed=0
    )
    for measure, given in both.items():
        alone, choice = ask(measure, reference, labels, queries)
        assert given.choices[0] == choice
        np.testing.assert_allclose(given.logits[0], alone, atol=1e-5)


def test_checkpoints_are_points_of_one_training():
    stack = Stack.of([(*blobs(0), blobs(1)[0])])
    many = train(stack, [Problem(0, 0)], Setting(1e-3, 0.0), classes=3, hidden=8, checkpoints=(1, 2, 5))
    for epochs, logits in zip((1, 2, 5), many, strict=True):
        ((alone,),) = train(stack, [Problem(0, 0)], Setting(1e-3, 0.0), classes=3, hidden=8, checkpoints=(epochs,))
        np.testing.assert_array_equal(alone, logits[0])


def test_probes_are_at_chance_on_shuffled_labels():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(900, 8)).astype(np.float32)
    labels = generator.integers(4, size=900)
    for measure in ("linear", "mlp"):
        logits, _ = ask(measure, vectors[:500], labels[:500], vectors[500:], classes=4)
        right = np.mean([(each.argmax(axis=1) == labels[500:]).mean() for each in logits])
        assert abs(right - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)


def test_settings_are_chosen_without_the_scored_fold():
    reference, labels = blobs(0, distance=0.5)
    near, far = blobs(1, distance=0.5)[0], 1000 * blobs(2, distance=5.0)[0]
    for measure in ("linear", "mlp"):
        chosen = [ask(measure, reference, labels, queries)[1] for queries in (near, far)]
        assert chosen[0] == chosen[1]


def test_no_answer_depends_on_the_other_scored_clips():
    reference, labels = blobs(0, distance=0.5)
    query, others = blobs(1, clips=1)[0], 100 * blobs(2)[0]
    alone, _ = ask("mlp", reference, labels, query)
    company, _ = ask("mlp", reference, labels, np.concatenate([query, others]))
    np.testing.assert_allclose(company[0][0], alone[0][0], rtol=1e-4, atol=1e-4)


def test_groups_are_never_on_both_sides_when_a_setting_is_chosen(monkeypatch):
    """Every clip has a twin; parted twins would flatter the settings that learn by heart."""
    reference, labels = blobs(0, clips=60)
    seen = []
    real = selection._stacks

    def watched(vectors, targets, parts, device):
        seen.append(parts)
        return real(vectors, targets, parts, device)

    monkeypatch.setattr(selection, "_stacks", watched)
    groups = [str(clip // 6) for clip in range(60)] + ["q"] * 90
    ask("linear", reference, labels, blobs(1)[0], groups=groups)
    (fitting, choosing) = seen[0][0]
    assert len(choosing) and not {groups[clip] for clip in fitting} & {groups[clip] for clip in choosing}
    assert set(fitting) | set(choosing) == set(range(60)), "the scored fold takes no part"


def test_a_curve_that_still_rises_is_trained_longer(monkeypatch):
    """XOR-like classes with far too few steps: the ladder must be climbed again, and an end of it must be told."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(1200, 6)).astype(np.float32)
    labels = (vectors[:, 0] * vectors[:, 1] > 0).astype(np.int64)
    monkeypatch.setattr(selection, "GRID", (Setting(1e-3, 0.0),))
    monkeypatch.setattr(selection, "LEAST_STEPS", 16)
    _, patient = ask("mlp", vectors[:1000], labels[:1000], vectors[1000:])
    monkeypatch.setattr(ladder, "DOUBLINGS", 0)
    _, hasty = ask("mlp", vectors[:1000], labels[:1000], vectors[1000:])
    assert hasty.underfit and hasty.chosen["epochs"] == 4
    assert patient.chosen["epochs"] > 4 and patient.curve["inner"][-1] > hasty.curve["inner"][-1] + 0.05
    assert patient.curve["inner"][:3] == hasty.curve["inner"], "it must go on, not begin anew"


def test_several_classes_per_clip():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(600, 5)).astype(np.float32)
    targets = (vectors[:, :3] > 0.5).astype(np.float32)
    logits, _ = ask("linear", vectors[:400], targets[:400].argmax(axis=1), vectors[400:], targets=targets, metric="mAP",
                    classes=3)  # fmt: skip
    assert np.mean([mean_average_precision(each, targets[400:]) for each in logits]) > 0.9


def test_mean_average_precision_is_that_of_scikit_learn_and_of_the_definition():
    from sklearn.metrics import average_precision_score

    generator = np.random.default_rng(0)
    truth = (generator.random((50, 4)) < 0.3).astype(np.float32)
    truth[:, 3] = 0
    scores = generator.normal(size=(50, 4))
    ours = mean_average_precision(scores, truth)
    assert ours == pytest.approx(np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in range(3)]))
    by_hand = []
    for c in range(3):
        hits = truth[np.argsort(-scores[:, c]), c]
        by_hand.append(np.sum(np.cumsum(hits) / np.arange(1, 51) * hits) / hits.sum())
    assert ours == pytest.approx(np.mean(by_hand))


def test_losses_are_those_of_torch():
    import torch
    import torch.nn.functional as F

    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(20, 4)), generator.integers(4, size=20)
    several = (generator.random((20, 4)) < 0.5).astype(np.float32)
    assert loss_of_logits(logits, labels) == pytest.approx(
        float(F.cross_entropy(torch.tensor(logits), torch.tensor(labels)))
    )
    assert loss_of_logits(logits, several) == pytest.approx(
        float(F.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(several, dtype=torch.float64)))
    )


def test_equal_scores_are_settled_by_the_loss_then_by_the_earlier():
    assert ladder.best([(0.9, -1.0), (1.0, -0.5), (1.0, -0.2), (1.0, -0.2)]) == 2


def test_a_rise_within_chance_is_not_a_rise():
    """Half a standard error of 100 clips at 0.5 is 0.025."""
    assert ladder.rises([(0.4, 0.0), (0.5, 0.0)], 100)
    assert not ladder.rises([(0.48, 0.0), (0.5, 0.0)], 100)
    assert not ladder.rises([(0.6, 0.0), (0.4, 0.0), (0.5, 0.0)], 100), "the best lies behind"


def test_epochs_that_gain_next_to_nothing_are_not_spent():
    """A quarter of a standard error of 100 clips at 0.5 is 0.0125."""
    assert ladder.enough([(0.4, 0.0), (0.49, 0.0), (0.5, 0.0)], 100) == 1
    assert ladder.enough([(0.4, 0.0), (0.48, 0.0), (0.5, 0.0)], 100) == 2
    assert ladder.enough([(0.5, 0.0), (0.4, 0.0), (0.3, 0.0)], 100) == 0


def test_penalties_are_tried_until_two_in_a_row_are_no_better():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(500, 40)).astype(np.float32)
    labels = (vectors[:, 0] + generator.normal(size=500) > 0).astype(np.int64)
    _, choice = ask("linear", vectors[:400], labels[:400], vectors[400:])
    inner, tried = choice.curve["inner"], choice.curve["penalties"]
    assert tried == list(selection.PENALTIES[: len(inner)]) and len(tried) < len(selection.PENALTIES)
    best = tried.index(choice.chosen["penalty"])
    assert best == len(tried) - 3 and inner[best] == max(inner)
