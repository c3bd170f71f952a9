"""The synthetic series and its graph; the real files and what is made of them."""

import numpy as np
import pytest

from climate import ClimateError, Files, read_climate
from synthetic import MEMORY, TRUTH, make_series, true_links


def test_the_series_obeys_the_equations_its_graph_stands_for() -> None:
    values, again = make_series(7, 4000), make_series(8, 4000)
    left = values[3:] - np.array(MEMORY) * values[2:-1]
    for link in TRUTH:
        past = values[3 - link.lag : len(values) - link.lag, link.cause]
        left[:, link.effect] -= link.strength * np.array([link.shape(value) for value in past])
    # what the equations leave is the noise: unit variance, no memory, no lagged company
    np.testing.assert_allclose(left.std(axis=0), 1.0, atol=0.05)
    assert abs(np.corrcoef(left[1:].T, left[:-1].T)[:5, 5:]).max() < 0.06
    assert not np.array_equal(values, again)
    np.testing.assert_array_equal(values, make_series(7, 4000))


def test_a_longer_series_begins_like_a_shorter_one() -> None:
    np.testing.assert_array_equal(make_series(3, 50), make_series(3, 90)[:50])


def test_the_true_graph_has_each_link_at_its_lag_and_none_beyond_the_largest() -> None:
    links = true_links(3)
    assert links.sum() == len(TRUTH)
    assert all(links[link.lag - 1, link.cause, link.effect] for link in TRUTH)
    assert true_links(1).sum() == sum(link.lag == 1 for link in TRUTH)
    assert not np.diagonal(links, axis1=1, axis2=2).any()


def test_real_series_share_whole_years_and_are_standard_in_every_month(files: Files) -> None:
    climate = read_climate(files)
    assert climate.first_year == 1992  # rain begins in May 1991
    assert climate.values.shape == (18 * 12, 4)
    months = climate.values.reshape(18, 12, 4)
    np.testing.assert_allclose(months.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(months.std(axis=0), 1, atol=1e-9)


def test_each_month_goes_to_its_own_row(files: Files) -> None:
    before = read_climate(files).values
    text = files.soi.read_text(encoding="utf-8").splitlines()
    row = next(n for n, line in enumerate(text) if line.startswith("200007,"))
    text[row] = "200007,2000,9.0"
    files.soi.write_text("\n".join(text), encoding="utf-8")
    change = abs(read_climate(files).values - before)
    assert np.unravel_index(change.argmax(), change.shape) == ((2000 - 1992) * 12 + 6, 2)


def test_a_gap_and_an_odd_file_are_named(files: Files) -> None:
    lines = files.nino34.read_text(encoding="utf-8").splitlines()
    files.nino34.write_text("\n".join(lines[:60] + lines[61:]), encoding="utf-8")
    with pytest.raises(ClimateError, match=r"NINO3\.4: no value for 1994-12"):
        read_climate(files)
    files.nino34.write_text("YEAR,MON\n1990,January,x,y\n", encoding="utf-8")
    with pytest.raises(ClimateError, match=r"nino34\.csv: invalid literal"):
        read_climate(files)
    files.nino34.write_text("YEAR,MON\n", encoding="utf-8")
    with pytest.raises(ClimateError, match=r"nino34\.csv: no values"):
        read_climate(files)
