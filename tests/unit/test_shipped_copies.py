"""Files that stand in several folders, because each experiment stands alone, are the same bytes."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CLASSIFICATION, DETECTION = "experiments/eddy-classification", "experiments/eddy-detection"

# of each group the first is the one to edit
GROUPS = (
    (
        "rpac_ci/helpers/training_record.py",
        f"{CLASSIFICATION}/training_record.py",
        f"{DETECTION}/training_record.py",
    ),
    (f"{CLASSIFICATION}/sea_level.py", f"{DETECTION}/sea_level.py"),
    (f"{CLASSIFICATION}/ranks.py", f"{DETECTION}/ranks.py"),
    (f"{CLASSIFICATION}/requirements.in", f"{DETECTION}/requirements.in"),
    (f"{CLASSIFICATION}/requirements.lock", f"{DETECTION}/requirements.lock"),
)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: Path(group[0]).name)
def test_copies_are_equal(group: tuple[str, ...]) -> None:
    original = (ROOT / group[0]).read_bytes()
    for copy in group[1:]:
        same = (ROOT / copy).read_bytes() == original
        assert same, f"{copy} differs: run `cp {group[0]} {copy}`, and its tests"


def test_no_copy_is_forgotten() -> None:
    """Of the grouped files no experiment has a copy that the list above does not know."""
    known = {ROOT / path for group in GROUPS for path in group}
    names = {path.name for path in known if path.suffix == ".py"}
    found = {path for path in (ROOT / "experiments").glob("*/*.py") if path.name in names}
    assert found <= known
