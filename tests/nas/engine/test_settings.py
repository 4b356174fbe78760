"""The one list of options: what it makes of Python's arguments, the command line, documents, and the reference."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import nas
from nas.cli.search import search_command
from nas.engine.options import SettingError, command_line_flags, option, options_of, options_table
from nas.engine.search import takes_options_of
from nas.engine.settings import SearchSettings

# As the first release wrote it into a study
RECORDED = (
    '{"space": "mobiledet", "hw": "edgetpu", "space_options": {"image_size": 96}, "limits": ["params <= 60000"],'
    ' "objectives": ["latency_ms:minimize", "map:maximize"], "data": "digits", "evaluator": {"steps": 50},'
    ' "score": "none", "searcher": "halving:evolution", "searcher_options": {"eta": 2}, "task": "", "rules": "exact",'
    ' "evaluations": 3, "forget": 0.25, "trials": 40, "train": 6, "references": false, "seed": 3, "repair": true,'
    ' "in_flight": 4, "warm_start": ""}'
)

SETTINGS = SearchSettings(
    space="mobiledet",
    hw="edgetpu",
    space_options={"image_size": 96},
    limits=("params <= 60000",),
    objectives=("latency_ms:minimize", "map:maximize"),
    training={"steps": 50},
    score="none",
    searcher="halving:evolution",
    searcher_options={"eta": 2},
    repeats=3,
    revisit_probability=0.25,
    trials=40,
    train=6,
    train_published=False,
    seed=3,
)


@dataclass(frozen=True)
class ColouredSettings(SearchSettings):
    """One line more than the settings of the project."""

    colour: str = option("red", "What the front is drawn in.")


def test_one_line_is_an_option_in_python_on_the_command_line_in_the_document_and_in_the_reference() -> None:
    seen: list[Any] = []

    def paint(settings: SearchSettings) -> Any:
        """Paint."""
        seen.append(settings)

    painted = takes_options_of(ColouredSettings)(paint)
    painted("mobiledet", colour="blue")
    assert seen[0].colour == "blue"
    assert "colour" in inspect.signature(painted).parameters
    assert "colour: What the front is drawn in." in (painted.__doc__ or "")

    command = typer.main.get_command(_app(ColouredSettings))
    assert "--colour" in [word for parameter in command.params for word in parameter.opts]
    help_text = CliRunner().invoke(_app(ColouredSettings), ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "What the front is drawn in." in help_text

    document = ColouredSettings(colour="green").to_document()
    assert document["colour"] == "green"
    assert ColouredSettings.from_document(document).colour == "green"
    assert ColouredSettings.from_document(SETTINGS.to_document()).colour == "red"  # what an older document lacks
    row = {"option": "colour", "command line": "--colour", "default": "red", "help": "What the front is drawn in."}
    assert row in options_table(ColouredSettings)


def _app(settings: type[SearchSettings]) -> typer.Typer:
    app = typer.Typer()
    app.command()(search_command(settings))
    return app


def test_search_takes_exactly_the_fields() -> None:
    assert list(inspect.signature(nas.search).parameters) == [f.name for f in fields(SearchSettings)]
    keyword_only = [n for n, p in inspect.signature(nas.search).parameters.items() if p.kind is p.KEYWORD_ONLY]
    assert keyword_only == [f.name for f in fields(SearchSettings) if f.name not in ("space", "hw")]


def test_every_option_has_a_help_and_a_word_of_its_own() -> None:
    options = options_of(SearchSettings)
    for named in options:
        assert named.option.help.endswith("."), named.name
    words = [word for named in options for word in command_line_flags(named)]
    assert len(set(words)) == len(words)


def test_a_misspelt_argument_is_answered_with_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'trials'"):
        nas.search("mobiledet", trails=3)  # type: ignore[call-arg]


def test_settings_survive_their_document() -> None:
    assert SearchSettings.from_document(json.loads(json.dumps(SETTINGS.to_document()))) == SETTINGS


def test_a_document_of_the_first_release_is_read_into_the_fields_of_today() -> None:
    assert SearchSettings.from_document(json.loads(RECORDED)) == SETTINGS
    assert SearchSettings.from_document({**json.loads(RECORDED), "fingerprint": "3176d421", "later": 1}) == SETTINGS


def test_words_of_the_first_release_still_mean_the_same() -> None:
    def keep(settings: SearchSettings) -> Any:
        return settings

    made: Any = takes_options_of(SearchSettings)(keep)("mobiledet", evaluations=3, forget=0.5, references=False)  # type: ignore[call-arg]
    assert (made.repeats, made.revisit_probability, made.train_published) == (3, 0.5, False)
    assert SearchSettings(evaluator={"steps": 5}).with_training_apart() == SearchSettings(training={"steps": 5})


def test_what_does_not_decide_the_result_is_not_in_the_document() -> None:
    document = replace(SETTINGS, workers=3, study="mine", cache=None, baselines=True).to_document()
    assert document == SETTINGS.to_document()
    assert {"workers", "study", "storage", "cache", "directory", "executor", "reporter"}.isdisjoint(document)


def test_a_device_is_measured_on_eight_times_unless_a_number_is_given() -> None:
    assert SETTINGS.verify_count == 0
    assert replace(SETTINGS, device="litert").verify_count == 8
    assert replace(SETTINGS, device="litert", verify=2).verify_count == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials must be at least 1, not 0"),
        ({"trials": "ten"}, "trials must be a whole number, not 'ten'"),
        ({"trials": True}, "trials must be a whole number, not True"),
        ({"train": -1}, "train must be at least 0, not -1"),
        ({"repeats": 0}, "repeats must be at least 1, not 0"),
        ({"in_flight": 0}, "in_flight must be at least 1, not 0"),
        ({"revisit_probability": 1.5}, r"revisit_probability must be 0 to 1, not 1\.5"),
        ({"revisit_probability": float("nan")}, "revisit_probability must be 0 to 1, not nan"),
        ({"repair": "yes"}, "repair must be True or False, not 'yes'"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"train": 0}, "nothing ranks the candidates"),
    ],
)
def test_values_that_make_no_sense_are_errors_in_the_words_of_a_user(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        replace(SETTINGS, **changes).check()
