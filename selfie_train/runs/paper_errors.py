"""What the SELFIE paper reports: best test error in percent, read off its figures (about +-0.2)."""

from __future__ import annotations

NOISE_RATES = (0.0, 0.1, 0.2, 0.3, 0.4)
_METHODS = ("default", "active-bias", "co-teaching", "selfie")

# (model, data set, noise): the errors at NOISE_RATES of each of _METHODS. None: beyond the figure's axis.
_FIGURES: dict[tuple[str, str, str], tuple[tuple[float | None, ...], ...]] = {
    ("densenet-25-12", "cifar10", "pair"): (
        (8.7, 10.1, 11.8, 13.6, 18.4),
        (8.4, 9.5, 10.8, 12.1, 17.6),
        (8.8, 10.0, 11.3, 12.7, 15.2),
        (8.6, 9.5, 10.6, 11.5, 13.3),
    ),
    ("densenet-25-12", "cifar10", "symmetric"): (
        (8.6, 11.5, 13.2, 14.8, 17.4),
        (8.5, 10.3, 12.2, 13.8, 15.6),
        (8.8, 10.0, 10.9, 12.4, 14.0),
        (8.6, 9.7, 10.9, 12.0, 13.5),
    ),
    ("densenet-25-12", "cifar100", "pair"): (
        (31.4, 34.9, 37.4, 43.6, 53.1),
        (31.2, 34.1, 36.6, 40.9, 50.7),
        (31.5, 33.2, 36.1, 41.4, 51.7),
        (31.8, 32.8, 34.1, 35.9, 41.3),
    ),
    ("densenet-25-12", "cifar100", "symmetric"): (
        (31.7, 35.0, 37.5, 40.3, 43.5),
        (31.1, 33.6, 36.6, 39.0, 42.1),
        (31.9, 32.9, 34.3, 35.1, 37.4),
        (31.7, 32.8, 33.8, 34.7, 37.1),
    ),
    ("densenet-25-12", "tiny-imagenet", "pair"): (
        (54.7, 56.4, 59.1, 63.4, 69.9),
        (54.4, 56.6, 58.9, 62.1, 68.1),
        (54.8, 56.3, 59.0, 63.6, 71.4),
        (54.9, 56.1, 57.9, 59.7, 64.7),
    ),
    ("densenet-25-12", "tiny-imagenet", "symmetric"): (
        (54.5, 56.7, 59.1, 62.2, 64.6),
        (55.0, 56.7, 58.7, 61.6, 64.0),
        (54.9, 55.7, 56.8, 58.5, 60.8),
        (54.7, 55.4, 56.4, 58.2, 60.3),
    ),
    ("vgg-19", "cifar10", "pair"): (
        (11.4, 14.1, 15.7, 17.6, 21.6),
        (11.4, 13.7, 15.3, 16.6, 20.7),
        (11.3, 14.0, 15.7, 21.8, None),
        (11.1, 13.5, 14.7, 15.6, 19.8),
    ),
    ("vgg-19", "cifar10", "symmetric"): (
        (11.5, 15.2, 18.9, 21.4, 24.8),
        (11.4, 14.7, 16.9, 19.4, 23.2),
        (11.4, 13.2, 15.4, 17.7, 24.8),
        (11.0, 13.2, 14.9, 16.7, 18.5),
    ),
    ("vgg-19", "cifar100", "pair"): (
        (39.3, 43.2, 44.5, 47.4, 54.8),
        (39.4, 42.8, 44.2, 45.9, 50.5),
        (38.8, 41.4, 45.4, 51.0, None),
        (38.0, 40.9, 42.9, 45.2, 49.3),
    ),
    ("vgg-19", "cifar100", "symmetric"): (
        (39.3, 44.9, 48.3, 54.3, 59.5),
        (39.3, 44.2, 47.7, 53.5, 61.4),
        (38.8, 42.8, 47.6, 52.9, 64.3),
        (38.0, 42.2, 44.9, 48.3, 54.8),
    ),
    ("vgg-19", "tiny-imagenet", "pair"): (
        (70.0, 71.1, 72.3, 75.3, 78.0),
        (68.0, 70.0, 71.4, 76.0, 77.4),
        (68.7, 71.8, 72.8, 74.5, 79.1),
        (67.4, 69.3, 71.2, 72.1, 74.9),
    ),
    ("vgg-19", "tiny-imagenet", "symmetric"): (
        (69.9, 71.9, 73.6, 77.5, 82.7),
        (67.9, 69.6, 73.6, 77.1, 83.4),
        (68.8, 71.1, 75.9, 82.0, 87.4),
        (67.3, 69.6, 71.4, 75.7, 78.8),
    ),
}
_ANIMAL_10N = {
    "densenet-25-12": (17.90, 17.62, 17.46, 16.98),
    "vgg-19": (20.62, 19.47, 19.81, 18.40),
}


def paper_errors(model: str, dataset: str, noise_kind: str, method: str) -> tuple[float | None, ...] | None:
    """Best test errors (percent) at NOISE_RATES; None where the paper has no such figure."""
    figures = _FIGURES.get((model, dataset, noise_kind))
    return figures[_METHODS.index(method)] if figures and method in _METHODS else None


def paper_error(
    model: str, dataset: str, noise_kind: str, noise_rate: float | None, method: str
) -> float | None:
    """The paper's best test error (percent) in one setting; None where it has none."""
    if dataset == "animal-10n" and noise_kind == "none" and model in _ANIMAL_10N and method in _METHODS:
        return _ANIMAL_10N[model][_METHODS.index(method)]
    errors = paper_errors(model, dataset, noise_kind, method)
    if errors is None or noise_rate not in NOISE_RATES:
        return None
    return errors[NOISE_RATES.index(noise_rate)]
