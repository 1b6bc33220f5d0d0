"""Import of a file: each row is recorded under its own time and id, so that a repetition records nothing twice."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from typing import Any, BinaryIO

import numpy as np

from sona_pg.domain.space import Space
from sona_pg.engine import SonaEngine
from sona_pg.engine.content_calls import require_content
from sona_pg.errors import InvalidValue
from sona_pg.store.database import Database
from sona_pg.transfer.checkpoint import Checkpoint, identity_of, load_checkpoint, save_checkpoint
from sona_pg.transfer.erased_rows import ErasedRows
from sona_pg.transfer.import_comparison import ImportComparison
from sona_pg.transfer.import_source import ImportWanted, open_source, part_of, read_part
from sona_pg.transfer.imported import Imported
from sona_pg.transfer.log_row import FIELDS, CandidateRow, LogRow
from sona_pg.transfer.parquet_rows import ParquetRows
from sona_pg.transfer.row_ids import FirstValues, RowIds
from sona_pg.transfer.row_source import Row, RowSource

BLOCK = 256  # rows that are embedded together
CHECKPOINT_EVERY = 1.0  # seconds
COMMIT_TIMEOUT = 300.0  # seconds to wait for the writer
STOP_TIMEOUT = 10.0  # the same, once the user has stopped the import
MOST_FIELDS = 100  # names of unknown fields that are counted
SHOWN = 1 << 20  # bytes of a refused row that are kept

Progress = Callable[[int, int], None]  # bytes read, bytes in all


def import_file(
    engine: SonaEngine,
    database: Database,
    space: Space,
    wanted: ImportWanted,
    progress: Progress = lambda done, total: None,
) -> Imported:
    """Record the rows of a file; return once they are committed.

    Args:
        engine: records them; with ``IngestConfig.when_full="wait"`` none is refused for want of room.
        database: of the engine.
        space: of the engine.
        wanted: the file.
        progress: called now and then.

    Raises:
        InvalidValue: the file cannot be read, the file of rejects is another file, or a mapped heading is missing.
        ConfigError: a row has a text alone, and there is no embedder of the space's dimension.
        DatabaseUnavailable: rows cannot be committed; the same call later goes on.
    """
    with open_source(wanted) as source:
        run = _Import(engine, database, space, wanted, source)
        try:
            return run.run(progress)
        finally:
            run.close()


class _Import:
    """One run of an import."""

    def __init__(
        self,
        engine: SonaEngine,
        database: Database,
        space: Space,
        wanted: ImportWanted,
        source: RowSource | ParquetRows,
    ) -> None:
        self._engine, self._database, self._space, self._wanted, self._source = engine, database, space, wanted, source
        path = wanted.path
        self._target = f"{space.space_id} {database.made_at(space).isoformat()}"
        self._file = f"{identity_of(path)} {wanted.reading}"
        self._checkpoint = path.with_name(path.name + ".import")
        self._rejects_path = wanted.rejects_path
        self._rejects: BinaryIO | None = None
        self._refused: list[dict[str, Any]] = []  # of this block
        names = wanted.mapping.names if wanted.mapping is not None and source.headings() is None else ()
        self._unseen = set(names)
        self._done = Imported()
        self._comparison = ImportComparison(
            engine, database, space, correct=wanted.corrections, listed_in=wanted.changed
        )
        self._ids = RowIds(database, space)
        self._erased = ErasedRows(database, space, undated=not wanted.erased_too)
        self._first = FirstValues() if wanted.corrections else None
        self._refused_before = 0  # by Postgres, up to the last commit
        self._everything: tuple[str, ...] | None = None
        self._retired: list[str] = []  # candidates since the last commit
        self._texts: dict[str, str] = {}  # of candidates, since the last commit
        self._recorded: Checkpoint | None = None  # place up to which all is recorded, if not yet committed

    def run(self, progress: Progress) -> Imported:
        began, done, source = time.monotonic(), self._done, self._source
        self._engine.flush(COMMIT_TIMEOUT)  # records that other processes left are none of this import
        before = self._written()
        self._refused_before = before["rejected"]
        known = load_checkpoint(self._checkpoint, self._target, self._file)
        line, offset = (known.line, known.offset) if known else (0, 0)
        if known is not None:
            done.rows, done.rejected, done.resumed_at = known.rows, known.rejected, known.line
            self._go_on_with_rejects(known.rejects_size)
            self._note_first_values(known)
        else:
            self._rejects_path.unlink(missing_ok=True)
            if self._wanted.changed is not None:
                self._wanted.changed.unlink(missing_ok=True)
        rows_before = done.rows
        saved = time.monotonic()
        try:
            rows = source.rows(line, offset)
            while block := list(islice(rows, BLOCK)):
                self._record(block)
                self._write_refused()
                self._recorded = self._place()
                progress(source.passed, source.size)
                if time.monotonic() > saved + CHECKPOINT_EVERY:
                    self._save(COMMIT_TIMEOUT)
                    saved = time.monotonic()
            self._commit(COMMIT_TIMEOUT)
        except KeyboardInterrupt:
            self._save(STOP_TIMEOUT)
            raise
        self._checkpoint.unlink(missing_ok=True)
        self._count(before)
        done.seconds = round(time.monotonic() - began, 3)
        done.rows_per_second = round((done.rows - rows_before) / max(done.seconds, 1e-3))
        done.unseen_headings = sorted(self._unseen)
        done.rejects = str(self._rejects_path) if done.rejected else None
        progress(source.size, source.size)
        return done

    def close(self) -> None:
        """Close the files of this run but its source."""
        if self._rejects is not None:
            self._rejects.close()
        if self._first is not None:
            self._first.close()

    def _written(self) -> dict[str, Any]:
        return dict(self._engine.metrics()["server"]["writer"])

    def _count(self, before: dict[str, Any]) -> None:
        after, done = self._written(), self._done
        done.recorded, done.known = self._ids.recorded, self._ids.known
        done.feedback = after["feedback"] - before["feedback"]
        done.rejected += after["rejected"] - before["rejected"]  # by Postgres: kept in the folder of the home

    def _commit(self, timeout: float) -> None:
        """Commit what is recorded, compare it with the records if some rows were known, and commit corrections."""
        self._engine.flush(timeout)
        if self._retired:
            self._engine.retire_candidates(list(dict.fromkeys(self._retired)))
            self._retired.clear()
        self._keep_texts()
        refused, compared = self._written()["rejected"], self._comparison
        if compared.compare(self._ids.commit(refused - self._refused_before)):
            self._engine.flush(timeout)
        self._refused_before = refused
        self._done.changed, self._done.corrected = compared.changed, compared.corrected
        self._done.first_changed = compared.first

    def _keep_texts(self) -> None:
        """Store the texts of candidates as their contents, beside what is known of them."""
        known = {one.id: one.content for one in self._engine.contents(list(self._texts))} if self._texts else {}
        told = {id_: {**known.get(id_, {}), "text": text} for id_, text in self._texts.items()}
        self._engine.keep_contents({id_: content for id_, content in told.items() if content != known.get(id_)})
        self._texts.clear()

    # -- rows -----------------------------------------------------------------------------------------------

    def _record(self, block: Sequence[Row]) -> None:
        parts: list[tuple[Row, LogRow | CandidateRow]] = []
        mapping = self._wanted.mapping
        for row in block:
            self._done.rows += 1
            if row.content is None:
                self._refuse(row, row.reason)
                continue
            self._unseen -= row.content.keys()
            try:
                content = row.content if mapping is None else mapping.apply(row.content)
                if not content.keys() <= FIELDS:
                    self._count_unknown(content)
                part = read_part(self._wanted, row, content)
                if self._first is not None and isinstance(part, LogRow):
                    self._first.require_same(part)
                if isinstance(part, LogRow) and self._erased.covers(part):
                    self._done.erased += 1
                    self._done.first_erased = self._done.first_erased or row.line
                    continue
                parts.append((row, part))
            except InvalidValue as exc:
                self._refuse(row, str(exc))
        texts = [part.text or "" for _, part in parts if part.embedding is None]
        made = iter(self._engine.embed(texts) if texts else ())
        self._ids.look_up([part for _, part in parts if isinstance(part, LogRow)])
        for row, part in parts:
            embedding = next(made) if part.embedding is None else part.embedding
            try:
                if isinstance(part, CandidateRow):
                    if part.text:
                        require_content(part.id, {"text": part.text})
                    self._engine.remember([part.id], np.reshape(embedding, (1, -1)), group=part.group)
                    if part.text:
                        self._texts[part.id] = part.text
                    if part.is_retired:
                        self._retired.append(part.id)
                    self._done.candidates += 1
                else:
                    self._record_trajectory(self._ids.recognized(part), embedding, row.line)
            except InvalidValue as exc:
                self._refuse(row, str(exc))

    def _note_first_values(self, known: Checkpoint) -> None:
        """Note the values of the rows before ``known``, which an earlier run has settled."""
        if self._first is None:
            return
        for row in self._source.rows():
            with suppress(InvalidValue):  # that run has refused it
                part = part_of(self._wanted, row)
                if isinstance(part, LogRow):
                    self._first.require_same(part)
            if self._source.place[1] >= known.offset:
                return

    def _record_trajectory(self, row: LogRow, embedding: Any, line: int) -> None:
        engine = self._engine
        candidates = self._all_candidates() if row.candidates == "all" else row.candidates
        t = engine.begin_trajectory(
            embedding, query=row.query, decision=row.decision, candidates=candidates or None, id=row.id,
            started_at=row.started_at,
        )  # fmt: skip
        try:
            for label in row.context:
                engine.add_trajectory_context(t, label)
            if row.route is not None and row.decision is None:
                engine.set_trajectory_route(t, row.route)
            for step in row.steps:
                engine.add_step_at(t, step.offset_us, step.activations, step.attention_weights, step.reward)
            if row.parameters is not None:
                engine.set_trajectory_parameters(t, row.parameters)
            engine.end_trajectory(t, row.quality, latency=row.latency, cost=row.cost)
        except InvalidValue:
            engine.let_go(t)
            raise
        self._ids.give(t.id, row)
        self._comparison.add(t.id, line, row)
        for fact in row.facts:
            engine.record_feedback(
                t, quality=fact.quality, correction=fact.correction, source=fact.source, sequence=fact.sequence,
                retract=fact.retract, cost=fact.cost,
            )  # fmt: skip

    def _all_candidates(self) -> tuple[str, ...]:
        """Return every candidate of the space: a choice among too many to list."""
        if self._everything is None:
            self._engine.flush(COMMIT_TIMEOUT)
            self._everything = tuple(self._database.new_candidates(self._space, 0))
        if not self._everything:
            raise InvalidValue('candidates is "all", and the space has none: import the candidates before')
        return self._everything

    def _count_unknown(self, content: dict[str, Any]) -> None:
        ignored = self._done.ignored_fields
        for name in content:  # in the order of the file
            if name not in FIELDS and (name in ignored or len(ignored) < MOST_FIELDS):
                ignored[name] = ignored.get(name, 0) + 1

    # -- rejects and checkpoints ----------------------------------------------------------------------------

    def _refuse(self, row: Row, reason: str) -> None:
        self._done.rejected += 1
        self._done.first_reason = self._done.first_reason or reason
        text = row.raw if row.text is None else row.text
        self._refused.append({"line": row.line, "reason": reason, "row": text[:SHOWN].decode("utf-8", "replace")})

    def _write_refused(self) -> None:
        """Write the refused rows of a block by line: those that are refused when recorded come after all others."""
        if self._refused and self._rejects is None:
            self._rejects = self._rejects_path.open("ab")
        for told in sorted(self._refused, key=itemgetter("line")):
            assert self._rejects is not None
            self._rejects.write(json.dumps(told).encode() + b"\n")
        self._refused.clear()

    def _go_on_with_rejects(self, size: int) -> None:
        """Keep the rejects of the committed part alone: those behind it are found again."""
        if size:
            self._rejects = self._rejects_path.open("ab")
            self._rejects.truncate(min(size, self._rejects_path.stat().st_size))
        else:
            self._rejects_path.unlink(missing_ok=True)

    def _place(self) -> Checkpoint:
        """Return the place behind the rows that were recorded or refused so far."""
        size = 0 if self._rejects is None else self._rejects.tell()
        return Checkpoint(self._target, self._file, *self._source.place, self._done.rows, self._done.rejected, size)

    def _save(self, timeout: float) -> None:
        """Commit what is recorded, and note the place behind it."""
        self._commit(timeout)
        if self._rejects is not None:
            self._rejects.flush()
            os.fsync(self._rejects.fileno())
        if self._recorded is not None:
            save_checkpoint(self._checkpoint, self._recorded)
