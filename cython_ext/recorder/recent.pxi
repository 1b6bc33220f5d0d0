# Answers that were shown, copied for who weighs their feedback before a cycle has learned it.


cdef inline bint is_answer(const sona_record *record) noexcept:
    """Whether a trajectory was answered from candidates or by a routing decision."""
    return record.flags & (SONA_HAS_CANDIDATES | SONA_HAS_PROPENSITY) != 0


cdef tuple shown_answer(sona_record *record):
    """(id, embedding, route or None, quality at the end or None, whether by a decision, its features) of a record.

    Embedding and features as float32 bytes.
    """
    cdef size_t at_data, at = sizeof(sona_record) + sona_padded(4 * <size_t> record.dim)
    cdef sona_item *item
    cdef object route = None, features = b""
    cdef const char *data = <const char *> record
    while at < record.size:
        item = <sona_item *> sona_record_at(record, at)
        at_data = <size_t> (<const char *> (item + 1) - data)
        if item.kind == SONA_ROUTE:  # the last one counts
            route = data[at_data : at_data + item.size].decode("utf-8")
        elif item.kind == SONA_FEATURES:
            features = data[at_data : at_data + item.size]
        at += sizeof(sona_item) + sona_padded(item.size)
    return (
        (<const char *> record.id)[:16],
        data[sizeof(sona_record) : sizeof(sona_record) + 4 * <size_t> record.dim],
        route,
        record.quality if record.flags & SONA_HAS_QUALITY else None,
        (record.flags & SONA_HAS_PROPENSITY) != 0,
        features,
    )
