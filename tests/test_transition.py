"""Transition matrices: each kind by hand or by name, from CSV, as observed, and what is refused."""

import numpy as np
import pytest

from selfie_io.labels.transition import (
    observed_matrix,
    observed_noise_rate,
    read_matrix,
    transition_matrix,
)


def test_matrices_by_hand():
    third = transition_matrix("symmetric", 4, 0.3)
    np.testing.assert_allclose(third[1], [0.1, 0.7, 0.1, 0.1])
    np.testing.assert_allclose(
        transition_matrix("symmetry", 4, 0.4, include_true=True)[0], [0.7, 0.1, 0.1, 0.1]
    )
    np.testing.assert_allclose(
        transition_matrix("pairflip", 3, 0.4), [[0.6, 0.4, 0], [0, 0.6, 0.4], [0.4, 0, 0.6]]
    )


def test_asymmetric_confusions_by_name():
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    matrix = transition_matrix("asymmetric", 10, 0.3)
    moves = {names[i]: names[j] for i, j in np.argwhere(matrix == 0.3)}
    assert moves == {
        "truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat",
    }  # fmt: skip
    assert [names[i] for i in np.flatnonzero(matrix.diagonal() == 1)] == [
        "airplane", "automobile", "frog", "horse", "ship",
    ]  # fmt: skip


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
OTHER_NAMES = [
    ["Truck", "SHIP", "horse", "frog", "dog", "deer", "cat", "bird", "automobile", "airplane"],
    ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    ["Dogs", "cats", "boats", "lorry", "planes", "cars", "frogs", "horses", "deer", "birds"],
    [f"{number}_{name}" for number, name in enumerate(reversed(CIFAR10))],
    ["03 - cat", "05 dog", "aeroplane", "auto", "bird", "deer", "frog", "horse", "ship ", "truck"],
]


@pytest.mark.parametrize("names", [CIFAR10, *OTHER_NAMES])
def test_asymmetric_finds_cifar10_by_its_names(names):
    def usual(name):
        plain = "".join(letter for letter in name.lower() if letter.isalpha()).removesuffix("s")
        same = {"plane": "airplane", "aeroplane": "airplane", "car": "automobile", "auto": "automobile"}
        return {**same, "boat": "ship", "lorry": "truck"}.get(plain, plain)

    matrix = transition_matrix("asymmetric", 10, 0.3, class_names=names)
    moves = {usual(names[i]): usual(names[j]) for i, j in np.argwhere(matrix == 0.3)}
    assert moves == {
        "truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat",
    }  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        [str(label) for label in range(10)],
        ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"],
        [*CIFAR10[:9], "lorry driver"],
        ["plane", "airplane", *CIFAR10[2:]],  # one of them twice, and no automobile
        ["cat", "dog"],
        [f"class {label}" for label in range(100)],
    ],
)
def test_asymmetric_refuses_other_classes_and_names_the_way_out(names):
    with pytest.raises(ValueError, match=rf"must have the classes of CIFAR-10.*{names[1]}.*--matrix"):
        transition_matrix("asymmetric", len(names), 0.3, class_names=names)


CIFAR100 = """
beaver dolphin otter seal whale; aquarium_fish flatfish ray shark trout; orchid poppy rose sunflower tulip;
bottle bowl can cup plate; apple mushroom orange pear sweet_pepper; clock keyboard lamp telephone television;
bed chair couch table wardrobe; bee beetle butterfly caterpillar cockroach; bear leopard lion tiger wolf;
bridge castle house road skyscraper; cloud forest mountain plain sea;
camel cattle chimpanzee elephant kangaroo; fox porcupine possum raccoon skunk;
crab lobster snail spider worm; baby boy girl man woman;
crocodile dinosaur lizard snake turtle; hamster mouse rabbit shrew squirrel;
maple_tree oak_tree palm_tree pine_tree willow_tree; bicycle bus motorcycle pickup_truck train;
lawn_mower rocket streetcar tank tractor
"""


def test_cifar100_moves_to_the_next_class_of_the_superclass():
    groups = [group.split() for group in CIFAR100.split(";")]
    names = sorted(name for group in groups for name in group)
    assert len(names) == 100
    matrix = transition_matrix("asymmetric", 100, 0.4)
    moves = {names[i]: names[j] for i, j in np.argwhere(matrix == 0.4)}
    expected = {}
    for group in groups:
        ordered = sorted(group)
        expected.update(zip(ordered, ordered[1:] + ordered[:1], strict=True))
    assert moves == expected
    shuffled = np.random.default_rng(0).permutation(100)
    mixed = [f"{names[place].replace('_', ' ').title()}" for place in shuffled]
    by_name = transition_matrix("asymmetric", 100, 0.4, class_names=mixed)
    np.testing.assert_array_equal(by_name, matrix[np.ix_(shuffled, shuffled)])


def test_observed_matrix_by_hand():
    matrix = observed_matrix([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], 3)
    np.testing.assert_array_equal(matrix, [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]])


def test_matrix_from_csv(tmp_path):
    path = tmp_path / "T.csv"
    matrix = transition_matrix("symmetric", 3, 0.1)
    np.savetxt(path, matrix, delimiter=",", fmt="%.6f")
    np.testing.assert_allclose(read_matrix(path), matrix, atol=1e-6)
    path.write_text("\ufeff1, 0\r\n0.5,0.5\r\n\r\n", encoding="utf-8")
    np.testing.assert_array_equal(read_matrix(path), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,0\n0.5,x\n", r"T\.csv: line 2: 'x' is not a number"),
        ("1,0\n1\n", r"row 1 has 1 values, the matrix has 2 rows"),
        ("1,0\n0.5,0.4\n", r"T\.csv: row 1: .* sum to 1, got 0\.9"),
        ("1,0\n0.5,nan\n", r"row 1, column 1: .*nan"),
        ("", r"num_classes=0"),
        ("\x00\xff", r"T\.csv"),
    ],
)
def test_bad_csv(tmp_path, content, message):
    (tmp_path / "T.csv").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_matrix(tmp_path / "T.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gaussian", 10, 0.1), "symmetric, symmetry, pair, pairflip, asymmetric; got 'gaussian'"),
        (("pair", 1, 0.1), "num_classes=1"),
        (("pair", 10.0, 0.1), "num_classes=10.0"),
        (("pair", 10, 1.01), r"\[0, 1\], got 1.01"),
        (("pair", 10, -0.1), "got -0.1"),
        (("pair", 10, float("nan")), "got nan"),
        (("pair", 10, "0.1"), "got '0.1'"),
        (("asymmetric", 20, 0.1), "CIFAR-10.*got 20"),
    ],
)
def test_bad_kinds(arguments, message):
    with pytest.raises(ValueError, match=message):
        transition_matrix(*arguments)


def test_include_true_is_for_symmetric_alone():
    with pytest.raises(ValueError, match="'pair'"):
        transition_matrix("pair", 10, 0.1, include_true=True)


def test_bad_observations():
    with pytest.raises(ValueError, match="noisy must have 2 values, got 1"):
        observed_matrix([0, 1], [0], 2)
    with pytest.raises(ValueError, match="clean must have at least one label"):
        observed_matrix([], [], 2)
    with pytest.raises(ValueError, match=r"noisy must be in 0..1, got 5 at position 1"):
        observed_matrix([0, 1], [0, 5], 2)
    with pytest.raises(ValueError, match="got none"):
        observed_noise_rate([], [])


def test_a_matrix_of_tens_of_thousands_of_classes_is_refused_before_it_is_made():
    for make in (
        lambda: transition_matrix("pair", 65_536, 0.4),
        lambda: observed_matrix([0], [0], 65_536),
    ):
        with pytest.raises(ValueError, match="at most 10,000 classes, got 65,536: it would take 34 GB"):
            make()
