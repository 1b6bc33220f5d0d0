# Answers that were shown, copied for who weighs their feedback before a cycle has learned it.


cdef inline bint is_answer(const sona_record *record) noexcept:
    """Whether a trajectory was answered from candidates or by a routing decision."""
    return record.flags & (SONA_HAS_CANDIDATES | SONA_HAS_PROPENSITY) != 0


cdef tuple shown_answer(sona_record *record):
    """(id, embedding, route, quality at the end, whether by a decision, its features, session, candidate set) of a record.

    Embedding and features as float32 bytes; route, quality and session may be None, the set is 0 for none.
    """
    cdef size_t at_data, at = sizeof(sona_record) + sona_padded(4 * <size_t> record.dim)
    cdef sona_item *item
    cdef object route = None, features = b"", session = None
    cdef const char *data = <const char *> record
    while at < record.size:
        item = <sona_item *> sona_record_at(record, at)
        at_data = <size_t> (<const char *> (item + 1) - data)
        if item.kind == SONA_ROUTE:  # the last one counts
            route = data[at_data : at_data + item.size].decode("utf-8")
        elif item.kind == SONA_FEATURES:
            features = data[at_data : at_data + item.size]
        elif item.kind == SONA_CONTEXT and item.size >= 8 and memcmp(data + at_data, b"session:", 8) == 0:
            session = data[at_data : at_data + item.size].decode("utf-8")  # the last one, as the ledger reads it
        at += sizeof(sona_item) + sona_padded(item.size)
    return (
        (<const char *> record.id)[:16],
        data[sizeof(sona_record) : sizeof(sona_record) + 4 * <size_t> record.dim],
        route,
        record.quality if record.flags & SONA_HAS_QUALITY else None,
        (record.flags & SONA_HAS_PROPENSITY) != 0,
        features,
        session,
        record.candidate_set if record.flags & SONA_HAS_CANDIDATES else 0,
    )
