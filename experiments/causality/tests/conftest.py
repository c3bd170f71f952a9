"""Four small files in the layout of the published ones."""

from pathlib import Path

import numpy as np
import pytest

from climate import Files

YEARS = range(1990, 2010)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Twenty years each, drawn at random; NINO3.4 has a gap after them, rain begins later."""
    rng = np.random.default_rng(4)
    months = [(year, month) for year in YEARS for month in range(1, 13)]
    draws = {name: rng.normal(size=len(months)) for name in Files._fields}
    rows = {
        "nino12": ["YEAR,JAN,…"] + [
            ",".join([str(year), *(f"{20 + v:.3f}" for v in draws["nino12"][12 * n : 12 * n + 12])])
            for n, year in enumerate(YEARS)
        ],
        "nino34": ["YEAR,MON,Dec year,MEAN"] + [
            f"{year},{month},{year}.0,{26 + v:.2f}"
            for (year, month), v in zip(months, draws["nino34"], strict=True)
        ] + ["2010,1,2010.0,NaN"],
        "soi": ["Southern Oscillation Index (SOI),,", "Date,Year,Value"] + [
            f"{year}{month:02d},{year},{v:.1f}"
            for (year, month), v in zip(months, draws["soi"], strict=True)
        ],
        "rain": ["t,air,nino"] + [
            f"{year + (month - 1) / 12:.6f},{10 * v:.4f},0"
            for (year, month), v in zip(months, draws["rain"], strict=True)
            if (year, month) >= (1991, 5)
        ],
    }  # fmt: skip
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Files(*(tmp_path / f"{name}.csv" for name in Files._fields))
