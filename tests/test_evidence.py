"""Evidence on labels: the noise model, the score, cross-fitting, files that do not fit."""

import contextlib

import numpy as np
import pytest

import selfie_train.evidence.probe
from selfie_train.evidence import likelihood
from selfie_train.evidence.likelihood import maximise_likelihood, posterior
from selfie_train.evidence.mapped import pieces, taken
from selfie_train.evidence.neighbours import _largest, find_neighbours
from selfie_train.evidence.noise_model import fit_noise_model
from selfie_train.evidence.probabilities import read_probabilities
from selfie_train.evidence.probe import cross_fit, num_fits
from selfie_train.evidence.ranking import PRIOR, class_factors, ranked_scores, suspicion
from selfie_train.evidence.reliability import label_reliability
from selfie_train.evidence.score import choose_threshold, score_labels
from selfie_train.evidence.source import Evidence, stratified_folds
from selfie_train.evidence.uniform_noise import GivenWord, uniform_matrix


def silent(steps):
    """Progress that nobody sees."""


def clusters(seed, count=600, classes=3, rate=0.2, spread=1.2):
    """Features of Gaussian classes, true labels, and labels with symmetric noise."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    centres = rng.normal(0, 1.5, (classes, 8))
    features = (centres[true] + rng.normal(0, spread, (count, 8))).astype(np.float32)
    wrong = rng.random(count) < rate
    given = np.where(wrong, (true + rng.integers(1, classes, count)) % classes, true)
    return features, true, given


def evidence(probabilities, name="one", out_of_sample=True):
    return Evidence(name, "0" * 64, out_of_sample, np.asarray(probabilities, np.float32))


def probe(features, given, classes=3, seed=0):
    folds = stratified_folds(given, 5, seed)
    return cross_fit(features, given, classes, folds, find_neighbours(features, seed, silent), silent)[0]


def test_one_step_of_expectation_maximisation_is_the_obvious_loop():
    rng = np.random.default_rng(0)
    pooled = rng.dirichlet(np.ones(3), 40).astype(np.float32)
    given = rng.integers(0, 3, 40)
    start = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]])
    counts, loss = np.zeros((3, 3)), 0.0
    for row, label in zip(pooled.astype(np.float64), given, strict=True):
        joint = np.array([row[true] * start[true, label] for true in range(3)])
        loss -= np.log(joint.sum())
        counts[:, label] += joint / joint.sum()
    rate = 1 - np.trace(counts) / counts.sum()
    expected = counts + 10.0 * (np.eye(3) * (1 - rate) + (1 - np.eye(3)) * rate / 2)
    matrix, found = maximise_likelihood(pooled, given, 3, steps=1, start=start)
    np.testing.assert_allclose(matrix, expected / expected.sum(axis=1, keepdims=True), rtol=1e-12)
    assert found == pytest.approx(loss / 40)


def test_one_rate_for_all_pairs_of_classes_needs_no_matrix():
    rng = np.random.default_rng(0)
    pooled = rng.dirichlet(np.ones(4), 50).astype(np.float32)
    given, weights = rng.integers(0, 4, 50), rng.integers(0, 3, 50).astype(np.float64)
    rate = 0.15
    for _ in range(5):
        joint = pooled.astype(np.float64) * uniform_matrix(rate, 4).T[given]
        told = joint.sum(axis=1)
        right = joint[np.arange(50), given]
        loss = -(weights * np.log(told)).sum() / weights.sum()
        rate = 1 - (weights * right / told).sum() / weights.sum()
    word = GivenWord.of(pooled, given)
    np.testing.assert_allclose(word.likeliest_rate(5, record_weights=weights), (rate, loss), rtol=1e-12)
    expected = posterior(pooled, uniform_matrix(rate, 4), given)[np.arange(50), given]
    np.testing.assert_allclose(word.wrong(rate), 1 - expected, atol=1e-6)


def test_a_rate_for_each_pair_is_sought_only_where_it_could_gain_enough(monkeypatch):
    _, true, given = clusters(3, count=300)
    rows = np.full((300, 40), 0.005, np.float32)
    rows[np.arange(300), true] = 1 - 39 * 0.005
    monkeypatch.setattr(likelihood, "maximise_likelihood", None)  # 40 classes: 780 rates for 300 labels
    assert fit_noise_model([rows], given, 40).uniform


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_are_calibrated_and_find_the_wrong_labels(seed):
    features, true, given = clusters(seed)
    found = score_labels([evidence(probe(features, given))], given, 3)
    wrong = given != true
    assert found.score.mean() == pytest.approx(wrong.mean(), abs=0.05)
    assert found.rate.rate == pytest.approx(found.score.mean())
    assert found.rate.low <= found.rate.rate <= found.rate.high
    assert wrong[found.flagged].mean() > 0.8
    assert np.mean(found.relabelled(given) != true) < wrong.mean() / 2
    kept = found.without_doubtful(given)
    assert np.mean(kept[kept >= 0] != true[kept >= 0]) < wrong.mean() / 2
    assert np.abs(found.rate.transition_matrix.sum(axis=1) - 1).max() < 1e-9
    assert found.rate.wrong_by_given.sum() == pytest.approx(found.score.sum())


def bayes(seed, count=1500, classes=5, apart=6.0):
    """Centres, true labels, what is seen of each record, and P(true | seen), exactly."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, apart / np.sqrt(12), (classes, 12))
    true = rng.integers(0, classes, count)
    seen = centres[true] + rng.normal(0, 1, (count, 12))
    logits = seen @ centres.T - (centres**2).sum(axis=1) / 2
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return centres, true, seen, shares / shares.sum(axis=1, keepdims=True)


def test_noise_that_the_evidence_has_learnt_is_undone():
    _, true, _, shares = bayes(0)
    matrix = 0.65 * np.eye(5) + 0.35 * np.roll(np.eye(5), 1, axis=1)
    draws = np.random.default_rng(1).random(len(true))
    given = (draws[:, None] > matrix[true].cumsum(axis=1)).sum(axis=1)
    for learnt in (shares @ matrix, shares):  # P(given | x); P(true | x), which must be left as it is
        found = score_labels([evidence(learnt)], given, 5)
        assert found.rate.rate == pytest.approx(0.35, abs=0.05)
        assert (found.suggested == true).mean() > 0.9


def test_a_labeller_who_errs_where_images_are_ambiguous_is_found_out():
    centres, true, seen, shares = bayes(2)
    rng = np.random.default_rng(3)
    view = centres[true] + 2.5 * (0.5 * (seen - centres[true]) + 0.87 * rng.normal(0, 1, seen.shape))
    given = (view @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
    wrong = given != true
    found = score_labels([evidence(shares)], given, 5)
    assert found.rate.rate > 0.7 * wrong.mean()
    assert 2 * (found.flagged & wrong).sum() / (found.flagged.sum() + wrong.sum()) > 0.8


@pytest.mark.parametrize("apart", [2.0, 2.5])
def test_clean_labels_of_an_unsure_network_are_believed(apart):
    _, true, _, shares = bayes(9, apart=apart)
    assert np.mean(shares.argmax(axis=1) != true) > 0.1
    found = score_labels([evidence(shares)], true, 5)
    assert found.rate.rate < 0.03
    assert found.flagged.mean() < 0.02
    assert found.rate.low <= found.rate.rate < 0.05 < found.rate.high  # the other reading is told


def test_few_wrong_labels_do_not_become_more_by_relabelling():
    _, true, _, shares = bayes(9, apart=2.5)
    rng = np.random.default_rng(1)
    given = np.where(rng.random(len(true)) < 0.02, (true + rng.integers(1, 5, len(true))) % 5, true)
    found = score_labels([evidence(shares)], given, 5)
    assert (found.flagged & ~found.sure).any()
    assert np.mean(found.relabelled(given) != true) <= np.mean(given != true)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_how_sure_a_network_claims_to_be_does_not_decide_what_is_noise(sharpness):
    centres, true, seen, shares = bayes(7, apart=4.5)
    rng = np.random.default_rng(8)
    view = centres[true] + 1.6 * (0.3 * (seen - centres[true]) + 0.95 * rng.normal(0, 1, seen.shape))
    given = (view @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
    wrong = given != true
    claimed = shares**sharpness
    found = score_labels([evidence(claimed / claimed.sum(axis=1, keepdims=True))], given, 5)
    assert found.rate.low <= 0.7 * wrong.mean() <= found.rate.rate
    assert 2 * (found.flagged & wrong).sum() / (found.flagged.sum() + wrong.sum()) > 0.65


@pytest.mark.parametrize("uniform", [False, True])
def test_the_reliability_of_the_given_labels_is_the_obvious_loop(uniform):
    rng = np.random.default_rng(0)
    pooled = rng.dirichlet(np.ones(3), 50).astype(np.float32)
    matrix = uniform_matrix(0.2, 3) if uniform else rng.dirichlet(np.ones(3), 3)
    given = rng.integers(0, 3, 50)
    bins = [[] for _ in range(10)]
    for row, label in zip(pooled, given, strict=True):
        for other, share in enumerate(row @ matrix):
            bins[min(int(share * 10), 9)].append((share, other == label))
    expected = [np.mean(one, axis=0) for one in bins if one]
    found = label_reliability(pooled, matrix, given, uniform=uniform)
    np.testing.assert_allclose(np.transpose([found["predicted"], found["observed"]]), expected)
    assert sum(found["counted"]) == 150


def test_a_mapped_file_is_read_by_pieces(tmp_path):
    rows = np.arange(20.0).reshape(10, 2)
    np.save(tmp_path / "rows.npy", rows)
    for array in (rows, np.load(tmp_path / "rows.npy", mmap_mode="r")):
        found = list(pieces(array, 4))
        assert [begin for begin, _ in found] == [0, 4, 8]
        np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows)
        np.testing.assert_array_equal(taken(array, np.array([7, 1, 1, 4]), 3), rows[[7, 1, 1, 4]])


def test_probabilities_that_were_rounded_to_zero_rank_below_the_least_that_were_not():
    _, true, _, shares = bayes(5)
    given = np.where(np.random.default_rng(6).random(len(true)) < 0.2, (true + 1) % 5, true)
    found = score_labels([evidence(shares.astype(np.float16))], given, 5)
    assert found.rate.rate == pytest.approx((given != true).mean(), abs=0.04)


def test_scores_rank_where_no_noise_is_found():
    _, true, _, shares = bayes(4, apart=4.0)
    found = score_labels([evidence(shares)], true, 5)
    assert found.rate.rate < 0.02
    assert len(np.unique(found.score)) > 0.95 * len(true)


def test_clean_labels_are_left_alone():
    features, _, given = clusters(3, rate=0.0, spread=0.6)
    found = score_labels([evidence(probe(features, given))], given, 3)
    assert found.rate.rate < 0.02
    assert found.flagged.sum() <= 6


def test_a_records_own_label_takes_no_part_in_its_probabilities(monkeypatch):
    monkeypatch.setattr(selfie_train.evidence.probe, "PENALTIES", (500.0,))  # which its labels help to choose
    features, _, given = clusters(4, count=200)
    folds = stratified_folds(given, 5, 0)
    changed = given.copy()
    changed[folds == 2] = (changed[folds == 2] + 1) % 3
    steps = []
    neighbours = find_neighbours(features, 0, silent)
    before, votes_before = cross_fit(features, given, 3, folds, neighbours, steps.append)
    after, _ = cross_fit(features, changed, 3, folds, neighbours, silent)
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert (before[folds != 2] != after[folds != 2]).any()
    one = np.flatnonzero(folds == 2)[0]
    changed = np.where(np.arange(200) == one, (given + 1) % 3, given)
    _, votes_after = cross_fit(features, changed, 3, folds, neighbours, silent)
    np.testing.assert_array_equal(votes_before[one], votes_after[one])
    assert (votes_before != votes_after).any()
    assert len(steps) == num_fits(folds) == 1 + 10 + 5


def test_labels_are_not_remembered_through_the_targets_of_others():
    """With as many features as a fold has records, targets that had seen a label would tell it."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 400)).astype(np.float32)
    given = rng.integers(0, 2, 600)
    neighbours = find_neighbours(features, 0, silent)
    for told in cross_fit(features, given, 2, stratified_folds(given, 5, 0), neighbours, silent):
        assert abs((told.argmax(axis=1) == given).mean() - 0.5) < 0.08


@pytest.mark.parametrize("count", [2, 3])
def test_few_folds_will_do(count):
    features, true, given = clusters(6, count=100)
    folds = stratified_folds(given, count, 0)
    told, votes = cross_fit(features, given, 3, folds, find_neighbours(features, 0, silent), silent)
    assert (told.argmax(axis=1) == true).mean() > 0.9
    assert (votes.argmax(axis=1) == true).mean() > 0.7


def test_the_same_input_gives_the_same_bits():
    features, _, given = clusters(5)
    first, second = (score_labels([evidence(probe(features, given))], given, 3) for _ in range(2))
    np.testing.assert_array_equal(first.score, second.score)
    assert first.rate.low == second.rate.low


def test_neighbours_are_the_nearest_others():
    features, _, _ = clusters(6, count=120)
    found = find_neighbours(features, 0, silent)
    assert found.nearest.shape == (120, 50)
    assert (found.nearest != np.arange(120)[:, None]).all()
    assert (np.diff(found.cosines, axis=1) <= 0).all()
    np.testing.assert_array_equal(found.references, np.arange(120))


def test_votes_are_the_obvious_weighted_mean():
    features, _, given = clusters(6, count=120)
    found = find_neighbours(features, 0, silent)
    trust = np.random.default_rng(0).random(120).astype(np.float32)
    judged = np.arange(0, 120, 3)
    expected = []
    for record in judged:
        shares, total = np.zeros(3), 0.0
        for other, cosine in zip(found.nearest[record].tolist(), found.cosines[record], strict=True):
            vote = np.full(3, (1 - trust[other]) / 3)
            vote[given[other]] += trust[other]
            shares += np.exp(cosine / 0.1) * vote
            total += np.exp(cosine / 0.1)
        expected.append(0.98 * shares / total + 0.02 / 3)
    np.testing.assert_allclose(found.votes(judged, given, trust, 3), expected, rtol=1e-4)


def test_neighbours_whose_labels_are_wrong_have_less_weight():
    features, true, _ = clusters(8)
    given = np.where(np.random.default_rng(1).random(len(true)) < 0.4, (true + 1) % 3, true)
    neighbours = find_neighbours(features, 0, silent)
    votes = cross_fit(features, given, 3, stratified_folds(given, 5, 0), neighbours, silent)[1]
    all_right = np.ones(len(true), np.float32)
    believed = neighbours.votes(np.arange(len(true)), given, all_right, 3)
    assert (votes.argmax(axis=1) == true).mean() > 0.05 + (believed.argmax(axis=1) == true).mean()


@pytest.mark.parametrize(("rows", "columns", "count"), [(7, 40, 39), (9, 2000, 50), (3, 5, 1), (4, 1000, 20)])
def test_the_largest_values_of_a_row_are_those_that_sorting_finds(rows, columns, count):
    rng = np.random.default_rng(columns)
    for values in (rng.normal(size=(rows, columns)), rng.integers(0, 9, (rows, columns))):
        values = values.astype(np.float32)
        values[:, 3] = -np.inf
        expected = np.argsort(-values, axis=1, kind="stable")[:, :count]
        np.testing.assert_array_equal(_largest(values, count), expected)


def test_suspicion_is_the_obvious_sum_of_soft_products():
    features, _, given = clusters(4)
    model = fit_noise_model([probe(features, given)], given, 3)
    factors, soft = np.exp(class_factors(model, given)), 1 / np.sqrt(max(model.weights.sum(), 1))
    expected = []
    for row, label in zip(model.pooled.astype(np.float64), given, strict=True):
        joint = (row * factors) ** soft * model.transition_matrix[:, label]
        expected.append(np.log((joint.sum() - joint[label]) / joint[label]))
    np.testing.assert_allclose(suspicion(model, given), expected, atol=1e-4)


def test_where_labels_are_doubted_for_the_images_sake_the_pool_alone_ranks():
    centres, true, seen, shares = bayes(2)
    rng = np.random.default_rng(3)
    view = centres[true] + 2.5 * (0.5 * (seen - centres[true]) + 0.87 * rng.normal(0, 1, seen.shape))
    given = (view @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
    model = fit_noise_model([shares.astype(np.float32)], given, 5)
    likeliest = model.likeliest
    assert model.weights[0] > 2 * likeliest.weights[0]
    pooled = likeliest.pooled.astype(np.float64) ** (1 / np.sqrt(max(likeliest.weights[0], 1)))
    own = (pooled / pooled.sum(axis=1, keepdims=True))[np.arange(len(given)), given]
    np.testing.assert_array_equal(np.argsort(own)[:100], np.argsort(-suspicion(model, given))[:100])


def test_factors_of_the_classes_make_the_given_labels_likeliest():
    features, _, given = clusters(4)
    biased = probe(features, given) * np.float32([0.3, 1, 1])  # says too little of class 0
    model = fit_noise_model([biased / biased.sum(axis=1, keepdims=True)], given, 3)
    noise = model.transition_matrix[:, given].T

    def penalised(factors):
        told = model.pooled.astype(np.float64) * np.exp(factors)
        likelihoods = (told / told.sum(axis=1, keepdims=True) * noise).sum(axis=1)
        return PRIOR / 2 * factors @ factors - np.log(likelihoods).sum()

    found = class_factors(model, given)
    assert found[0] > 0.2 + found[1:].max()
    for step in np.vstack([np.eye(3), -np.eye(3)]) * 0.02:
        assert penalised(found) < penalised(found + step)


def test_scores_are_the_noise_models_own_in_another_order():
    features, _, given = clusters(5, rate=0.3)
    model = fit_noise_model([probe(features, given)], given, 3)
    found = ranked_scores(model, given)
    order = np.argsort(suspicion(model, given))
    assert (np.diff(found[order]) >= 0).all()
    np.testing.assert_allclose(np.sort(found), np.sort(model.score), atol=0.01)


def test_equal_records_have_equal_scores():
    features, _, given = clusters(5, count=200)
    once = probe(features, given)
    twice, labels = np.concatenate([once, once]), np.concatenate([given, given])
    found = ranked_scores(fit_noise_model([twice], labels, 3), labels)
    np.testing.assert_array_equal(found[:200], found[200:])


def test_the_surest_wrong_labels_still_rank():
    _, true, given = clusters(6, rate=0.1)
    rows = np.full((len(true), 3), 1e-4, np.float32)
    doubt = 10.0 ** -np.linspace(2, 30, len(true))  # 1 - 1e-30 is 1 in double precision, too
    rows[np.arange(len(true)), given] = np.where(given == true, 0.999, doubt)
    rows[np.arange(len(true)), true] = 0.999
    found = score_labels([evidence(rows / rows.sum(axis=1, keepdims=True))], given, 3)
    wrong = np.flatnonzero((given != true) & (doubt > 1e-11))
    assert len(wrong) > 10
    assert (np.diff(np.round(found.score[wrong], 9)) > 0).all()  # as issues.csv writes them


def test_a_flagged_label_is_suggested_another_class():
    features, _, given = clusters(9, classes=5, rate=0.4, spread=2.5)
    found = score_labels([evidence(probe(features, given, 5))], given, 5)
    assert found.flagged.any()
    np.testing.assert_array_equal(found.flagged, found.score >= found.threshold)
    assert (found.suggested[found.flagged] != given[found.flagged]).all()
    changed = found.relabelled(given) != given
    rows = np.arange(len(given))
    likelier = found.posterior[rows, found.suggested] > found.posterior[rows, given]
    np.testing.assert_array_equal(changed, found.sure)
    assert likelier[changed].all()


def test_the_threshold_of_a_precision_is_the_lowest_score_that_keeps_it():
    score = np.array([0.99, 0.9, 0.8, 0.4, 0.1])
    assert choose_threshold(score, 0.89) == 0.8
    assert choose_threshold(score, 1.0) > 1
    assert choose_threshold(score, None) == 0.8
    assert choose_threshold(np.array([0.3, 0.2]), None) == 0.5


def test_a_second_source_of_noise_is_given_little_weight():
    features, _, given = clusters(7)
    noise = np.random.default_rng(0).dirichlet(np.ones(3), len(given)).astype(np.float32)
    model = fit_noise_model([probe(features, given), noise], given, 3)
    assert model.weights[1] < 0.5 * model.weights[0]


def test_labels_may_all_be_wrong():
    given = np.array([1, 3, 0, 3, 0, 2, 0, 1, 3, 1])
    found = score_labels([evidence(np.eye(4)[(given + 1) % 4])], given, 4)
    assert found.rate.rate == pytest.approx(1, abs=0.01)


def test_in_sample_evidence_alone_is_refused():
    _, _, given = clusters(8, count=30)
    with pytest.raises(ValueError, match="did not train on the label"):
        score_labels([evidence(np.eye(3)[given], out_of_sample=False)], given, 3)


def test_weak_evidence_flags_little():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 2000)
    given = np.where(rng.random(2000) < 0.1, rng.integers(0, 10, 2000), true)
    logits = rng.normal(0, 1, (2000, 10)) + 0.9 * np.eye(10)[true]
    blurred = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = score_labels([evidence(blurred)], given, 10)
    assert found.is_weak
    assert found.flagged.sum() < 100
    assert found.threshold >= 0.9


BAD = {
    "another length": (np.full((9, 3), 1 / 3), "one row for each of 10"),
    "another class count": (np.full((10, 4), 0.25), "one column for each of 3 classes"),
    "no rows": (np.full(10, 0.5), "two dimensions"),
    "text": (np.array([["a", "b", "c"]] * 10), "numbers in two dimensions"),
    "nan": (np.full((10, 3), np.nan), "finite numbers, row 0"),
    "sums": (np.full((10, 3), 0.5), "sum to 1, row 0"),
    "logits": (np.array([[-1.0, 1.0, 1.0]] * 10), "values in 0..1, row 0"),
}


@pytest.mark.parametrize("kind", BAD)
def test_probabilities_that_do_not_fit_are_refused(tmp_path, kind):
    array, message = BAD[kind]
    np.save(tmp_path / "p.npy", array)
    with pytest.raises(ValueError, match=message):
        read_probabilities(tmp_path / "p.npy", np.zeros(10, np.int64), 3)


def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "p.npy").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"--probabilities needs a \.npy file"):
        read_probabilities(tmp_path / "p.npy", np.zeros(10, np.int64), 3)
    with contextlib.suppress(FileNotFoundError):
        read_probabilities(tmp_path / "none.npy", np.zeros(10, np.int64), 3)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_each_class_is_spread_over_the_folds(count):
    labels = np.repeat([0, 1, 2], [30, 1, 14])
    folds = stratified_folds(labels, count, 0)
    for label in (0, 2):
        sizes = np.bincount(folds[labels == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(folds, stratified_folds(labels, count, 0))
