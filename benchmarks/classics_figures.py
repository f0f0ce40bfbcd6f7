"""The figures of `classics.py`, each from a trained model and the images."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch
from classics_images import Images

from pipeline.priors import Spreads
from training.autoencoder import Autoencoder
from training.candidates import embed_rows
from training.conditions import Condition
from training.corruption import Rows
from training.importance import log_likelihood
from training.loop import to_rows
from training.matrix import TRAIN
from training.priors import prior_of

SAMPLES, IMAGES = 5_000, 1_000
DRAWN = 500  # digits of each class
DIGITS = 10


def autoencoder_error(model: Autoencoder, images: Images) -> float:
    """Squared error of a test image, its pixels between 0 and 1, summed: the mean over images."""
    codes = embed_rows(model, images.prepared(images.test))
    with torch.no_grad():
        given_back = model.decode(torch.from_numpy(codes)).numeric.numpy()
    true = images.test / images.brightest
    return float(((images.pixels(given_back) - true) ** 2).sum(axis=1).mean())


def stacked_error(model: Autoencoder, images: Images) -> float:
    """Per cent of the test images that the head which training used gets wrong."""
    assert model.targets is not None
    with torch.no_grad():
        codes = model.raw_code(*to_rows(images.prepared(images.test)))
        guessed = model.targets.layers[0](codes).argmax(dim=1).numpy()
    classes = np.array(model.targets.heads[0].classes)
    return 100 * float((classes[guessed] != images.digits).mean())


def importance_nats(model: Autoencoder, images: Images) -> float:
    """Negative log likelihood of a test image in nats, by importance sampling: the mean."""
    rows = to_rows(images.prepared(images.test[:IMAGES]))
    generator = torch.Generator()
    generator.manual_seed(0)
    return -float(log_likelihood(model, rows, samples=SAMPLES, generator=generator).mean())


def digits_recognised(model: Autoencoder, images: Images) -> float:
    """Per cent of drawn digits that a classifier of real images takes for what they should be."""
    from sklearn.neural_network import MLPClassifier

    rows = images.matrix.where(TRAIN)
    judge = MLPClassifier((256,), batch_size=256, max_iter=12, early_stopping=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 12 passes are enough, as the check below shows
        judge.fit(_shades(images, images.matrix.numeric[rows]), images.matrix.labels[rows, 0])
    right = judge.score(_shades(images, images.prepared(images.test).numeric), images.digits)
    if right < 0.97:
        raise RuntimeError(f"the judge must know digits, found {right:.1%} of real ones right")
    wanted = np.repeat(np.arange(DIGITS), DRAWN)
    drawn = _shades(images, draw_digits(model, images, wanted))
    return 100 * float((judge.predict(drawn) == wanted).mean())


def draw_digits(
    model: Autoencoder, images: Images, wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Images of the `wanted` digits as `generate` draws them, in prepared space [n, 784]."""
    told = model.condition_of(
        Rows(torch.zeros(len(wanted), 784), torch.zeros(len(wanted), 0), torch.zeros(0)),
        torch.from_numpy(wanted[:, None].astype(np.float64)),
    )
    assert isinstance(told, Condition)
    spreads = Spreads(prior_of(model, images.matrix), dim=model.spec.dim)
    drawn = spreads.draw(told.codes.numpy(), np.random.default_rng(0))
    with torch.no_grad():
        return model.decode(torch.from_numpy(drawn), told).numeric.numpy()


def _shades(images: Images, numeric: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return images.pixels(numeric).astype(np.float32)
