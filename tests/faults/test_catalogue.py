"""Every fault has a test that is there, and the page says what the tests are."""

from __future__ import annotations

import pytest

from tests.faults.catalogue import FAULTS, PAGE, ROOT, Fault, functions, page, shown_by


def test_all_forty_faults_are_listed_in_order() -> None:
    assert [fault.number for fault in FAULTS] == list(range(1, 41))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.number))
def test_a_fault_has_tests_and_each_one_named_is_there(fault: Fault) -> None:
    known = functions()
    assert set(fault.tests) <= known.keys()
    assert shown_by(fault, known) or fault.elsewhere
    for place in fault.elsewhere:
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_the_page_is_what_the_tests_are() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.faults.catalogue"
