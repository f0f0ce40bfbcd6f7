"""Kernel PCA stands beside PCA among the baselines."""

import numpy as np

from training.baselines import Matrix, fit_kernel_pca, median_distance


def rings(rows: int = 600) -> tuple[Matrix, Matrix]:
    """Points on two rings about one centre [rows, 2], and which ring each is on [rows]."""
    random = np.random.default_rng(0)
    outer = np.arange(rows) % 2
    angle = random.uniform(0, 2 * np.pi, rows)
    radius = 1.0 + 3.0 * outer + random.normal(0, 0.1, rows)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return points.astype(np.float32), outer.astype(np.float32)


def test_kernel_pca_tells_rings_apart_that_no_line_does() -> None:
    points, outer = rings()
    codes = fit_kernel_pca(points, dim=4, seed=0).transform(points)
    inputs = np.column_stack([codes, np.ones(len(codes))])
    wanted = 2 * outer - 1
    guessed = inputs @ np.linalg.lstsq(inputs, wanted, rcond=None)[0]
    assert ((guessed > 0) == outer).mean() > 0.99


def test_kernel_pca_has_as_many_columns_as_it_was_asked_for_up_to_its_rows() -> None:
    points, _ = rings()
    assert fit_kernel_pca(points, dim=7, seed=0).transform(points).shape == (600, 7)
    assert fit_kernel_pca(points[:5], dim=7, seed=0).transform(points).shape == (600, 5)


def test_kernel_pca_repeats_by_its_seed() -> None:
    points, _ = rings()
    first, again = (fit_kernel_pca(points, dim=3, seed=1).transform(points) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_median_distance_does_not_grow_with_the_rows() -> None:
    points, _ = rings(4_000)
    few = median_distance(points[:1_000], seed=0)
    assert abs(median_distance(points, seed=0) - few) < 0.2
