"""Alarms from rows of which it is known what holds."""

import pytest

from pix2pix.reports.alarms import ALARMS, describe_changes, find_alarms
from pix2pix.reports.curves import Row

HEALTHY = {
    "train": {"d_real": 0.5, "d_fake": 0.5, "d_real_accuracy": 0.8, "d_fake_accuracy": 0.8},
    "val": {"source_dependence": 0.7, "shuffled_ratio": 1.3, "output_at_ends": 0.9, "target_at_ends": 0.9},
}
SIGNS = {
    "alarm_saturated": {"d_real": 0.01, "d_fake": 0.01, "d_real_accuracy": 1.0, "d_fake_accuracy": 1.0},
    "alarm_constant": {"source_dependence": 0.01, "shuffled_ratio": 1.0},
    "alarm_ignored": {"shuffled_ratio": 1.0},
    "alarm_ends": {"output_at_ends": 0.9, "target_at_ends": 0.1},
}


def rows(name: str, sick: range, epochs: int = 10, step: int = 100) -> list[Row]:
    found = []
    for epoch in range(1, epochs + 1):
        for split, values in HEALTHY.items():
            signs = SIGNS[name] if epoch in sick and split == ALARMS[name].split else {}
            found.append(Row(step * epoch, epoch, epoch, split, 1.0, 2e-4, 5.0, values | signs))
    return found


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_begins_after_three_rows_and_ends(name: str) -> None:
    assert find_alarms(rows(name, range(8, 11))) == {name: 8}, "no other alarm"
    assert find_alarms(rows(name, range(9, 11))) == {}, "two rows are not enough"
    assert find_alarms(rows(name, range(4, 10))) == {}, "it is over"
    assert find_alarms(rows(name, range(1, 11)), warmup=4) == {name: 5}
    assert find_alarms(rows(name, range(1, 11), step=10)) == {}, "an untrained network shows the same signs"


def test_what_is_said() -> None:
    said = list(describe_changes({"alarm_ends": 3}, {"alarm_constant": 5}))
    assert said[0].startswith("alarm since epoch 5: The output is constant: ")
    assert said[1].startswith("alarm over: no longer: Most output pixels are at the ends of the range")
    assert list(describe_changes({"alarm_ends": 3}, {"alarm_ends": 3})) == []
