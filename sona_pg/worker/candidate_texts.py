"""Texts of the candidates that a re-embedding makes new embeddings of: given by the caller, else stored contents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue
from sona_pg.store.content_rows import ContentStore

AT_ONCE = 512  # candidates whose texts are looked up together

# By id; None: it is left out. An empty mapping leaves all out.
CandidateTexts = Mapping[str, str | None] | Callable[[list[str]], Sequence[str | None]]


class TextLookup:
    """Looks up the texts of the candidates of a space."""

    def __init__(self, given: CandidateTexts | None, stored: ContentStore, space: Space) -> None:
        """Prefer the texts ``given``; those that it does not name are read from ``stored``."""
        self._given, self._stored, self._space = given, stored, space

    def of(self, ids: Sequence[str]) -> Iterator[tuple[list[str], list[str | None]]]:
        """Yield the ids and their texts in chunks; None: the candidate is to be left out.

        Raises:
            InvalidValue: a candidate has no text; or a callable gave too few or too many.
        """
        for start in range(0, len(ids), AT_ONCE):
            chunk = list(ids[start : start + AT_ONCE])
            yield chunk, self._texts(chunk)

    def require(self, ids: Sequence[str]) -> None:
        """Raise InvalidValue if a candidate is neither given a text nor has one in the store; callables are not asked.

        Raises:
            InvalidValue: see above; it names the first one.
        """
        if callable(self._given):
            return
        missing: list[str] = []
        for start in range(0, len(ids), AT_ONCE):
            missing += self._known(list(ids[start : start + AT_ONCE]))[1]
        if missing:
            raise InvalidValue(_told(self._space.name, missing))

    def _texts(self, ids: list[str]) -> list[str | None]:
        if callable(self._given):
            texts = list(self._given(ids))
            if len(texts) != len(ids):
                raise InvalidValue(
                    f"candidate_texts gave {len(texts)} texts for {len(ids)} ids: expected one each, or None"
                )
            return texts
        known, missing = self._known(ids)
        if missing:
            raise InvalidValue(_told(self._space.name, missing))
        return [known[id_] for id_ in ids]

    def _known(self, ids: list[str]) -> tuple[dict[str, str | None], list[str]]:
        """Return the texts by id, and the ids that have none."""
        assert not callable(self._given)
        if self._given is not None and not self._given:
            return dict.fromkeys(ids), []
        given = self._given or {}
        known = {id_: given[id_] for id_ in ids if id_ in given}
        left = [id_ for id_ in ids if id_ not in known]
        for stored in self._stored.read(self._space, left) if left else ():
            text = stored.content.get("text")
            if isinstance(text, str) and text.strip():
                known[stored.id] = text
        return known, [id_ for id_ in left if id_ not in known]


def _told(space: str, missing: list[str]) -> str:
    some = "candidate has no text" if len(missing) == 1 else "candidates have no text"
    return (
        f"space {space!r}: {len(missing)} {some}, {missing[0]!r} first: give texts by id (--candidate-texts, or "
        "candidate_texts= in Python), null for a candidate that is to be left out; an empty object {} leaves all out"
    )
