"""Calls that erase a user's data, and that check the receipts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sona_pg.domain.erasure import Erasure, ErasurePlan, Receipt, Subject
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.engine.receipt_key import receipt_key
from sona_pg.errors import InvalidValue
from sona_pg.limits import LONGEST_LABEL, MOST_ERASED
from sona_pg.serving.arguments import require_count


class ErasureCalls(EngineLifetime):
    """Calls that remove the data of a user, of a session, or single trajectories, with all their influence."""

    def forget(
        self,
        *,
        user: str | None = None,
        session: str | None = None,
        trajectories: Sequence[UUID | str] | None = None,
        drop_expired: bool = False,
        drop_contents: bool = False,
        key: str | Path | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> Receipt:
        """Erase trajectories with their steps and feedback, and everything learned from them; return the receipt.

        The labels ``user:…`` and ``session:…`` of a trajectory's context say whose it is. Afterwards every server
        serves a state that equals, to the bit, a rebuild from a ledger that never had them; the versions that had
        learned from them are gone. Records of the subject from before now that another server commits later are erased
        before they are learned. Spaces that it was re-embedded from, or is being re-embedded into, are erased too: the
        receipt's ``copies`` names their erasures. Learners of the space wait meanwhile, recorders and readers do
        not. If the process is killed, the next call, or ``finish_erasures``, goes on.

        Args:
            user: whose data, as in the label ``user:…``; or
            session: of which session; or
            trajectories: the ids of single ones.
            drop_expired: what was learned from trajectories that retention has removed cannot be told apart; an exact
                erasure drops it, and is refused without this.
            drop_contents: also drop the contents of the candidates that ``forget_plan`` names: answers that the subject
                has probably written. Ids and embeddings of candidates stay.
            key: file of the key that signs the receipt; else ``SONA_PG_RECEIPT_KEY``, else one in the home folder.
            progress: called with the number of cycles run again and of all.

        Raises:
            InvalidValue: not exactly one subject is named.
            Conflict: learned trajectories have expired, and ``drop_expired`` is False; nothing has changed.
            LearningConflict: the rows are removed, but the live version changed again and again: call it once more.
        """
        subject = subject_of(user, session, trajectories)
        return self._session.erase(
            subject, receipt_key(key), drop_expired=drop_expired, drop_contents=drop_contents, progress=progress
        )

    def forget_plan(
        self,
        *,
        user: str | None = None,
        session: str | None = None,
        trajectories: Sequence[UUID | str] | None = None,
    ) -> ErasurePlan:
        """Return what ``forget`` would remove, which versions it would drop, and the candidates that stay.

        ``candidates`` are those that the subject has probably written, by a cautious guess: told as the right answer,
        stored since, and known to nobody else. Look before the erasure: nothing names them afterwards.
        """
        subject = subject_of(user, session, trajectories)
        session_ = self._session
        session_.require_database()
        return session_.database.erasures.plan(session_.space, subject)

    def finish_erasures(
        self,
        *,
        key: str | Path | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> int:
        """Finish erasures that were cut short after their rows were removed; return their number."""
        return self._session.finish_erasures(receipt_key(key), progress=progress)

    def erasures(self, limit: int = 20) -> list[Erasure]:
        """Return the latest erasures of the space, newest first, with their receipts."""
        session = self._session
        session.require_database()
        return session.database.erasures.listing(session.space, require_count(limit, what="limit"))

    def verify_receipt(self, receipt: Mapping[str, Any], *, key: str | Path | None = None) -> bool:
        """Whether a receipt was signed with the operator's key, is unchanged, and is the one that the store has.

        Raises:
            InvalidValue: it is no receipt.
        """
        try:
            told = Receipt.of(receipt)
            erasure_id = UUID(told.facts["erasure"])
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise InvalidValue("this is no receipt of an erasure: expected what forget returned, whole") from exc
        session = self._session
        session.require_database()
        stored = session.database.erasures.read(session.space, erasure_id)
        return told.is_signed_with(receipt_key(key)) and stored is not None and stored.receipt == told.as_dict()


def subject_of(user: str | None, session: str | None, trajectories: Sequence[UUID | str] | None) -> Subject:
    """Return the subject of an erasure; ``InvalidValue`` unless exactly one is named."""
    if sum(given is not None for given in (user, session, trajectories)) != 1:
        raise InvalidValue("name one of user, session and trajectories: whose data is to be erased")
    if user is not None:
        return Subject("user", _label("user", user))
    if session is not None:
        return Subject("session", _label("session", session))
    assert trajectories is not None
    if isinstance(trajectories, str) or not 0 < len(trajectories) <= MOST_ERASED:
        raise InvalidValue(f"trajectories: expected a list of 1 to {MOST_ERASED} ids")
    try:
        ids = {id_ if isinstance(id_, UUID) else UUID(id_) for id_ in trajectories}
    except (ValueError, AttributeError, TypeError) as exc:
        raise InvalidValue(f"trajectories are {trajectories!r:.100}: expected UUIDs") from exc
    return Subject("trajectories", ids=tuple(sorted(ids)))


def _label(kind: str, name: object) -> str:
    if not isinstance(name, str) or not name or "\0" in name or len(name.encode("utf-8", "replace")) > LONGEST_LABEL:
        raise InvalidValue(f"{kind}={name!r:.60} cannot be a name: expected 1 to {LONGEST_LABEL} bytes of text")
    return f"{kind}:{name}"
