"""Every named space keeps the contract of spaces: a new one is tested by its row in the table."""

from __future__ import annotations

import pytest

from nas.testing import SpaceContract
from nas.testing.searchers import practice_space
from search_spaces.catalog import SPACES
from search_spaces.space.space import Space
from tests.support.space_contracts import VARIANTS, contract_of

for _name in SPACES:
    globals()[f"Test_{_name}"] = contract_of(_name, {}, samples=8, trained=3)
    globals()[f"TestThousand_{_name}"] = pytest.mark.slow(contract_of(_name, {}, samples=1000, trained=1000))
for _name, (_space, _options) in VARIANTS.items():
    globals()[f"TestThousand_{_name}"] = pytest.mark.slow(contract_of(_space, _options, samples=1000, trained=50))


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_make_networks_and_genotypes_as_they_should(name: str) -> None:
    """The checks that need no exploration of the whole space; the others are among the slow ones."""
    space, options = VARIANTS[name]
    contract = contract_of(space, options, samples=3, trained=1)()
    contract.test_networks_count_what_their_modules_do()
    contract.test_networks_run_and_learn()
    contract.test_genotypes_survive_json_and_yaml()
    contract.test_notation_is_read_as_it_is_written()
    contract.test_a_mutation_changes_one_decision()
    contract.test_options_leave_the_choices_alone()


def test_no_space_of_the_table_is_missing() -> None:
    for name in SPACES:
        for prefix in ("Test_", "TestThousand_"):
            tested = globals()[prefix + name]
            assert issubclass(tested, SpaceContract)
            assert tested().make_space().name == name


class TestPractice(SpaceContract):
    """The small space that searchers are tried on."""

    small = {"image_size": 8}  # noqa: RUF012

    def make_space(self) -> Space:
        return Space(practice_space)

    def test_its_size_by_hand(self) -> None:
        layer = 2 * (2 + 2)  # a width, and two expansions or two kernels
        assert self.make_space().size() == 2 * (layer + layer**2 + layer**3) == 1168
