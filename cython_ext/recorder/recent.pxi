# Rankings that were shown, copied for who weighs their feedback before a cycle has learned it.


cdef inline bint is_ranking(const sona_record *record) noexcept:
    """Whether a trajectory was answered from candidates, and not by a routing decision."""
    return record.flags & (SONA_HAS_CANDIDATES | SONA_HAS_PROPENSITY) == SONA_HAS_CANDIDATES


cdef tuple shown_ranking(sona_record *record):
    """(id, embedding as float32 bytes, the route shown or None, quality at the end or None) of a finished record."""
    cdef size_t at_text, at = sizeof(sona_record) + sona_padded(4 * <size_t> record.dim)
    cdef sona_item *item
    cdef object route = None
    cdef const char *data = <const char *> record
    while at < record.size:
        item = <sona_item *> sona_record_at(record, at)
        if item.kind == SONA_ROUTE:  # the last one counts
            at_text = <size_t> (<const char *> (item + 1) - data)
            route = data[at_text : at_text + item.size].decode("utf-8")
        at += sizeof(sona_item) + sona_padded(item.size)
    return (
        (<const char *> record.id)[:16],
        data[sizeof(sona_record) : sizeof(sona_record) + 4 * <size_t> record.dim],
        route,
        record.quality if record.flags & SONA_HAS_QUALITY else None,
    )
