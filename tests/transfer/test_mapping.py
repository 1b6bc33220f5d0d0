"""Columns as newcomers have them: decimal commas, dates of their own, labels without prefix, minutes."""

from __future__ import annotations

import json

import pytest

from sona_pg.errors import InvalidValue
from sona_pg.transfer import RowMapping
from tests.transfer.command_line import run

TIMES = "%m/%d/%Y %I:%M %p"


def test_decimal_commas_and_american_dates_are_read_as_told(folder):
    (folder / "survey.csv").write_text(
        "embedding;Grade;Minutes;Customer;Plan;Asked\n[1, 2];5,5;1,5;42;pro;10/31/2026 02:22 PM\n"
    )
    words = ["import", "survey.csv", "--dim", "2", "--scale", "1:10", "--timezone", "Europe/Berlin"]
    for told in ("Grade=quality", "Minutes=latency*60", "Customer=context:user", "Plan=context", "Asked=started_at"):
        words += ["--map", told]
    refused = run(*words)
    assert refused.exit_code == 2
    assert "--date-format" in refused.stderr or "--decimal" in refused.stderr
    done = run(*words, "--decimal", ",", "--date-format", TIMES)
    assert done.exit_code == 0, done.output
    (row,) = [json.loads(line) for line in run("export").stdout.splitlines()]
    assert (row["quality"], row["latency"], row["context"]) == (0.5, 90.0, ["user:42", "pro"])
    assert row["started_at"].startswith("2026-10-31T13:22:00")
    assert run("forget", "--user", "42", "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("mapping", "row", "reason"),
    [
        ({"decimal": ","}, {"quality": "1.234,5"}, "expected a number such as 1234,5"),
        ({"date_format": TIMES}, {"started_at": "31.10.2026 14:22"}, "written as --date-format"),
        ({"date_format": TIMES}, {"started_at": "1764123102"}, "written as --date-format"),
    ],
)
def test_a_cell_that_is_written_in_another_way_is_refused(mapping, row, reason):
    with pytest.raises(InvalidValue, match=reason):
        RowMapping(**mapping).apply(row)


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({"decimal": ";"}, "expected . or ,"),
        ({"date_format": "%H:%M"}, "year, month and day"),
        ({"date_format": "%Y-%m-%d %H:%M %Z"}, "use %z, an offset"),
        ({"date_format": "%Q"}, "year, month and day"),
        ({"names": {"a": "route:user"}}, "only labels have a prefix"),
        ({"names": {"a": "context:"}}, "only labels have a prefix"),
        ({"names": {"a": "quality*2"}}, "latency or cost times a number"),
        ({"names": {"a": "latency*0"}}, "latency or cost times a number"),
        ({"names": {"a": "latency*x"}}, "latency or cost times a number"),
        ({"names": {"a": "words"}}, "no field of an import"),
    ],
)
def test_a_mapping_without_meaning_is_refused(mapping, reason):
    with pytest.raises(InvalidValue, match=reason):
        RowMapping(**mapping)


def test_a_percent_sign_before_a_letter_is_no_zone():
    told = RowMapping(date_format="%Y-%m-%d %%Z %z").apply({"started_at": "2026-10-14 %Z +0200"})
    assert told["started_at"] == "2026-10-14T00:00:00+02:00"


@pytest.mark.parametrize("written", ["1_0", "nan", "1\u0662", "0x1"])
def test_a_text_that_only_python_reads_as_a_number_is_not_multiplied(written):
    assert RowMapping({"Minutes": "latency*60"}).apply({"Minutes": written}) == {"latency": written}


def test_a_prefix_is_put_before_each_label_of_a_list():
    mapping = RowMapping({"Customers": "context:user", "Session": "context:session"})
    assert mapping.apply({"Customers": '["a", 7]', "Session": "s"}) == {"context": ["user:a", "user:7", "session:s"]}
    assert mapping.apply({"Session": None}) == {"context": []}
    assert mapping.apply({"text": "?"}) == {"text": "?"}


def test_an_import_without_mapping_names_the_columns_and_makes_no_space(folder):
    (folder / "survey.csv").write_text("My question,Stars\nWhere?,4\nWhen?,5\n")
    done = run("import", "survey.csv", "--space", "survey", "--dim", "256")
    assert done.exit_code == 2
    assert "no row can be used: it has neither embedding nor text" in done.stderr
    assert "the columns 'My question', 'Stars' are no fields" in done.stderr
    assert "--map 'My question=FIELD'" in done.stderr
    assert "was not made" in done.stderr
    assert "survey" not in run("space", "list").stdout


def test_an_import_says_how_it_will_be_learned(folder):
    (folder / "logs").write_text('{"started_at": 1764123102, "embedding": [1, 2], "quality": 0.5}\n')
    done = run("import", "logs", "--space", "my space", "--dim", "2")
    assert "facts of space 'my space' that wait to be learned: 1;" in done.stderr
    assert "sona-pg learn --space 'my space'" in done.stderr
    run("learn", "--space", "my space")
    assert "to be learned" not in run("import", "logs", "--space", "my space").stderr
