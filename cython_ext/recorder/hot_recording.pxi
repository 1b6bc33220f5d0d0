# Recording: trajectories, their steps and outcomes, feedback.

cdef class RecordingPath(SharedPath):
    """The calls that record."""

    def begin_trajectory(
        self, embedding, *, query=None, ranking=None, decision=None, candidates=None, id=None, started_at=None
    ):
        """Start recording one interaction; the embedding is copied at once.

        Args:
            embedding: (dim,) float32; other floats are converted. It is stored in half precision; a very short one is
                stored multiplied by a power of two, so that its direction is kept.
            query: the text of the query, if it is to be stored.
            ranking: the ranking of the candidates; its ``version`` and ``candidate_set`` are stored.
            decision: the decision that chose the route; its ``route``, ``propensity``, ``cost`` and ``features`` are
                stored as well. If another route is taken in the end, call ``set_trajectory_route``, which drops the
                data of the decision's route.
            candidates: the candidate set of the route, if neither a ranking nor a decision has one: ids known to the
                store, or a mapping of ids to embeddings (dim,), which it then keeps. With the alternatives known, the
                learning gradient is exact.
            id: an id of the caller's own: a UUIDv7, or with ``started_at`` any text or UUID, from which one is made.
                The same id is stored once, however often it is recorded.
            started_at: when it began, of what was logged earlier: it is stored under that time. Its latency is unknown
                unless ``end_trajectory`` tells it.

        Raises:
            InvalidValue: the candidates are invalid, or are given twice.
            DimensionMismatch: the embedding is not as long as the space's.
            InvalidValue: a value is not finite, or beyond ±65504, or all of them are 0.
            TrajectoryError: the engine is closed.
        """
        cdef size_t embedding_bytes = 4 * <size_t> self.dim
        cdef cnp.ndarray values = floats(embedding, "embedding")
        cdef Py_ssize_t n = cnp.PyArray_DIM(values, 0)
        if n != self.dim:
            raise DimensionMismatch(self.dim, n)
        if self.ring is None or self.closed is not None or self.generation != sona_fork_generation():
            self.open_here()
        cdef bytes told = None if id is None and started_at is None else told_id(id, started_at)
        cdef Ring ring = self.ring
        cdef Trajectory t = Trajectory.__new__(Trajectory)
        t.ring = ring
        t.began = sona_monotonic_ns()
        t.block = take(ring, sona_padded(embedding_bytes), t.began, self.id_time())
        if told is not None:
            memcpy(t.block.record.id, PyBytes_AS_STRING(told), 16)
            t.logged, t.dated = started_at is not None, True
        cdef sona_record *record = &t.block.record
        cdef uint8_t *to = <uint8_t *> (record + 1)
        record.kind = SONA_TRAJECTORY
        record.dim = <uint32_t> n
        record.size += <uint32_t> sona_padded(embedding_bytes)
        if not sona_copy_checked(to, <const sona_f32 *> cnp.PyArray_DATA(values), n):
            raise out_of_range(values, "embedding")
        if not sona_keep_direction(<float *> to, n):  # the copy: a caller's memory may lie anywhere
            raise InvalidValue(
                "embedding is all 0: it points in no direction, so nothing could be learned from it or found by it; "
                "check the embedder, or leave such a query out"
            )
        if n & 1:
            memset(to + embedding_bytes, 0, 4)
        memcpy(t.name, record.id, 16)
        if query is not None:
            add_text(&t.block, SONA_QUERY, query, "query", 0, MAX_QUERY)
        if ranking is not None:
            set_policy(t.block, ranking, "ranking")
        if decision is not None:
            set_policy(t.block, decision, "decision")
            set_propensity(t.block, decision.propensity)
            set_cost(t.block, getattr(decision, "cost", None))
            t.account = getattr(decision, "account", None)
            add_features(&t.block, getattr(decision, "features", None))
            if decision.route is not None:
                add_text(&t.block, SONA_ROUTE, decision.route, "decision.route", 1, MAX_NAME)
        if candidates is not None:
            if self.shown is None or ranking is not None or t.block.record.flags & SONA_HAS_CANDIDATES:
                raise InvalidValue("candidates= goes with an engine, and with neither ranking= nor decision= that has a set of its own")
            named = self.shown(candidates)
            if named is not None:  # else the set is not stored: there was no room
                t.block.record.candidate_set = whole(named, "candidate_set")
                t.block.record.flags |= SONA_HAS_CANDIDATES
        t.begun = True
        return t

    def add_step(self, trajectory, activations=None, attention_weights=None, reward=0.0):
        """Record one step: activations, attention weights and reward.

        Args:
            activations: (dim,) float32, the vector of what was answered or chosen in this step, or none. A good step
                moves queries like this one towards it (``apply_micro_lora``, ``apply_base_lora``), a bad one away from
                it; the query's own embedding therefore teaches nothing. One of another length, as a model's hidden
                layer, is stored and exported, but no adapter learns from it.
            attention_weights: (any,) float32, or none; stored and exported.
            reward: in [-1e6, 1e6].
        """
        self.step(trajectory, activations, attention_weights, reward)

    def add_trajectory_step(self, trajectory, activations=None, attention_weights=None, reward=0.0):
        """The same as ``add_step``."""
        self.step(trajectory, activations, attention_weights, reward)

    cdef int step(self, trajectory, activations, attention_weights, reward) except -1:
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            self.shared_call(trajectory, "add_step", activations, attention_weights, reward)
            return 0
        cdef double value = number(reward, "reward")
        cdef cnp.ndarray first = None
        cdef cnp.ndarray second = None
        cdef int64_t now
        if activations is not None:
            first = floats(activations, "activations")
        if attention_weights is not None:
            second = floats(attention_weights, "attention_weights")
        if not -1e6 <= value <= 1e6:
            raise InvalidValue(f"reward is {value!r}, expected a number from -1e6 to 1e6")
        with cython.critical_section(t):
            now = sona_monotonic_ns()
            self.opened(t)
            append_step(t, now, <float> value, first, second)
        return 0

    def set_trajectory_route(self, trajectory, route):
        """Set the chosen model or action; the last call counts.

        A route other than the decision's overrides the decision: its propensity, cost and candidates, which belong to a
        route that did not run, are dropped, and off-policy evaluation leaves the trajectory out. The first time is
        logged, ``overridden_count`` counts them.
        """
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "set_trajectory_route", route)
        cdef bint overridden = False
        with cython.critical_section(t):
            self.opened(t)
            add_text(&t.block, SONA_ROUTE, route, "route", 1, MAX_NAME)
            if is_overridden(&t.block.record, route):
                overridden = True
                t.block.record.flags &= ~(SONA_HAS_PROPENSITY | SONA_HAS_COST | SONA_HAS_CANDIDATES)
                t.block.record.propensity = t.block.record.cost = 0.0
                t.block.record.candidate_set = 0
        if overridden:
            self.overridden_count += 1
            (log.warning if self.overridden_count == 1 else log.debug)(
                "trajectory %s takes route %r, not the one that its decision chose: the decision's propensity and cost "
                "are dropped, and off-policy evaluation leaves it out", id_of(t), route
            )

    def add_trajectory_context(self, trajectory, context):
        """Add a label, such as ``user:42``."""
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "add_trajectory_context", context)
        with cython.critical_section(t):
            self.opened(t)
            add_text(&t.block, SONA_CONTEXT, context, "context", 0, MAX_LABEL)
            t.block.record.contexts += 1

    def set_trajectory_parameters(self, trajectory, parameters):
        """Set the parameters of the call, such as ``{"temperature": 0.2, "top_k": 40}``; the last call counts.

        Patterns learn which parameters went well: see ``SonaEngine.interpolate_parameters``.

        Args:
            parameters: numbers within ±1e15 by name, at most 100.
        """
        text = parameters_text(parameters)
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "set_trajectory_parameters", parameters)
        with cython.critical_section(t):
            self.opened(t)
            add_text(&t.block, SONA_PARAMETERS, text, "parameters", 0, MAX_QUERY)

    def end_trajectory(self, trajectory, quality=None, *, latency=None, cost=None):
        """Finish recording: the trajectory, a handle or its id, goes to the writer.

        Its latency is the time since it began, unless ``latency`` tells it, in seconds (NaN: unknown). ``cost`` is its
        real cost, in the unit of the costs and budgets of ``route``: the budget of its decision is paced by it, that of a
        space if the trajectory began, by its own time, since it was set.

        With durability ``memory`` this never waits: a full buffer refuses the trajectory, which is then ``refused``, and
        counts it in ``dropped_count``, unless ``IngestConfig.when_full`` is ``wait``. With ``spool`` it returns once the record is
        in a file, with ``sync`` once it is committed. While the engine is being closed, by another thread or by a
        signal handler, it is accepted, and written before ``close`` is done, or it raises.

        Raises:
            InvalidValue: quality is outside [0, 1], or latency or cost is negative or not finite.
            TrajectoryError: it has ended before, or no such id is open, here or as a shared one in the store; it belongs
                to another engine, or to the process that forked this one; or the engine is closed.
            StorageError: (spool) the record cannot be written; the trajectory stays open.
            DatabaseUnavailable: (sync) it is not committed; (wait) no room was made in time.
        """
        cdef double value = 0.0
        cdef double paid = 0.0
        cdef bint judged
        cdef sona_block *block
        cdef sona_record *record
        cdef int queued
        cdef object shown = None
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "end_trajectory", quality, latency, cost)
        if cost is not None:
            paid = amount(cost)
        cdef int32_t told_latency = -1 if latency is None else latency_of(latency)
        if quality is not None:
            value = fraction(quality, "quality")
        with cython.critical_section(t):
            record = self.opened(t)
            record.latency_us = told_latency
            if latency is None and not t.logged:
                record.latency_us = microseconds(sona_monotonic_ns() - t.began)
            if quality is not None:
                record.quality = <float> value
                record.flags |= SONA_HAS_QUALITY
            else:
                record.flags &= ~SONA_HAS_QUALITY
            record.flags &= ~SONA_HAS_PAID
            if cost is not None:
                record.paid = paid
                record.flags |= SONA_HAS_PAID
            judged = quality is not None and (record.flags & SONA_HAS_PROPENSITY) != 0  # the decision's route was taken
            block = t.block
            t.block = NULL
        if t.told:
            named.pop(t.name[:16], None)
        if not self.enabled:
            sona_block_give(self.ring.c, block)
            return
        try:
            if self.judged is not None and is_answer(record):
                shown = shown_answer(record)
            queued = self.store(block, self.confirm is not None)
        except BaseException:
            t.block = block
            if t.told:
                named[t.name[:16]] = t
            raise
        t.refused = queued == 0
        if queued and shown is not None:
            self.judged.append(shown)
        if t.account is not None and (cost is not None or quality is not None or t.dated):
            t.account.ended(value if judged else None, None if cost is None else paid, began_at(t) if t.dated else None)
        self.announce(queued, t.name[:16] if self.confirm is not None else None)

    def record_feedback(
        self, trajectory_id, *, quality=None, correction=None, source="user", sequence=None, retract=False, cost=None
    ):
        """Record a fact about a trajectory's quality, now or weeks after it; returns its sequence number.

        While recording is switched off (``set_enabled``) it is checked and forgotten, as trajectories are.

        Args:
            trajectory_id: a ``uuid.UUID`` or a handle; the trajectory may come later, or never.
            quality: in [0, 1].
            correction: the id of the candidate that would have been right.
            source: name of the source, such as ``user``. The highest sequence of a source counts.
            sequence: for facts that may be sent twice; by default the database's time in microseconds since 1970,
                estimated by ``set_clock_ahead``, strictly increasing. Before the database has told its time it is this
                machine's, and what is stored is corrected by more than a minute.
            retract: take back this source's earlier facts.
            cost: the real cost of the trajectory; of all facts the last that tells one counts.

        Raises:
            InvalidValue: it has neither quality nor correction nor retraction nor cost, or a value is out of range.
            TrajectoryError: the engine is closed.
            DatabaseUnavailable: the buffer is full, so it is not recorded; or (sync) it is not committed.
        """
        cdef double value = 0.0
        cdef int64_t order, at
        cdef bytes name
        cdef int queued
        cdef bint guessed, enabled = self.enabled
        if isinstance(trajectory_id, UUID):
            name = trajectory_id.bytes
        elif isinstance(trajectory_id, Trajectory):
            name = (<Trajectory> trajectory_id).name[:16]
        else:
            raise InvalidValue(f"trajectory_id is {trajectory_id!r}, expected a uuid.UUID")
        if retract and not (quality is None and correction is None and cost is None):
            raise InvalidValue("retract takes back earlier feedback: give nothing else with it")
        if not retract and quality is None and correction is None and cost is None:
            raise InvalidValue("feedback says nothing: give a quality, a correction or a cost, or retract earlier feedback")
        if quality is not None:
            value = fraction(quality, "quality")
        at = self.time_of_feedback(sequence is None, &guessed)
        order = at if sequence is None else whole(sequence, "sequence")
        if self.ring is None or self.closed is not None or self.generation != sona_fork_generation():
            self.open_here()
        cdef Ring ring = self.ring
        cdef sona_block *block = take(ring, 0, sona_monotonic_ns(), self.id_time())
        try:
            memcpy(block.record.id, PyBytes_AS_STRING(name), 16)
            block.record.kind = SONA_FEEDBACK
            block.record.sequence = order
            block.record.recorded_at = at
            if guessed:
                block.record.flags |= SONA_CLOCK_GUESSED
            if sequence is not None:
                block.record.flags |= SONA_SEQUENCE_GIVEN
            if quality is not None:
                block.record.quality = <float> value
                block.record.flags |= SONA_HAS_QUALITY
            set_cost(block, cost)
            add_text(&block, SONA_SOURCE, source, "source", 1, MAX_NAME)
            if correction is not None:
                add_text(&block, SONA_CORRECTION, correction, "correction", 1, MAX_NAME)
            if enabled:
                queued = self.store(block, True)
        except BaseException:
            sona_block_give(ring.c, block)
            raise
        if enabled:
            judges = quality is not None or correction is not None or cost is None  # a cost alone judges nothing
            if self.judged is not None and judges:
                if guessed and sequence is None:
                    order += self.correction  # known by now, if this thread has waited for the spool
                self.judged.append((name, source, order, value if quality is not None else None, correction))
            self.announce(queued, name)
        else:
            sona_block_give(ring.c, block)
        return order
