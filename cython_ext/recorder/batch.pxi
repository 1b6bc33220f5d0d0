# Records encoded as rows: the result of drain() and encode_frames().

TRAJECTORY_COLUMNS = (
    "space_id", "batch", "id", "quality", "policy_version", "candidate_set", "latency_us", "propensity", "cost", "paid",
    "lowest_reward", "step_count", "route", "features", "context", "query", "parameters", "embedding",
)  # fmt: skip
STEP_COLUMNS = ("space_id", "trajectory_id", "ordinal", "offset_us", "reward", "activations", "attention")
FEEDBACK_COLUMNS = (
    "space_id", "batch", "trajectory_id", "sequence", "recorded_at", "quality", "source", "correction", "paid"
)  # fmt: skip


@cython.final
cdef class EncodedBatch:
    """Rows of the ledger, encoded, beside the arrays that loop A learns from."""

    cdef readonly int64_t batch
    cdef readonly int32_t space_id
    # binary COPY streams, header and trailer included; columns as the tuples above say
    cdef readonly bytes trajectories
    cdef readonly bytes steps
    cdef readonly bytes feedback
    # int64: where each row (of steps: each trajectory's rows) begins in its stream, and where the last one ends
    cdef readonly object trajectory_rows
    cdef readonly object step_rows
    cdef readonly object feedback_rows
    cdef readonly object trajectory_ids  # (n, 16) uint8
    cdef readonly object feedback_ids  # (m, 16) uint8
    cdef readonly object embeddings  # (n, dim) float32; None without a learner
    cdef readonly object qualities  # (n,) float32, NaN: not told
    cdef readonly object policy_versions  # (n,) int64, -1: none
    cdef readonly object step_trajectory  # (s,) int32
    cdef readonly object step_rewards  # (s,) float32
    cdef readonly object activation_step  # (k,) int32: the step of each row of step_activations
    cdef readonly object step_activations  # (k, dim) float32: only of steps that have dim activations
    cdef readonly bint sequence_given  # some feedback may have come before
    cdef readonly bint judged  # there is feedback, or a ranking or decision with a quality
    cdef object route_spans
    cdef uint8_t first[16]
    cdef uint8_t last[16]

    def __init__(self):
        raise TypeError("EncodedBatch is made by drain() and encode_frames()")

    @property
    def trajectory_count(self):
        return len(self.trajectory_ids)

    @property
    def step_count(self):
        return len(self.step_trajectory)

    @property
    def feedback_count(self):
        return len(self.feedback_ids)

    def __len__(self):
        return len(self.trajectory_ids) + len(self.feedback_ids)

    @property
    def first_id(self):
        """The smallest id, which is the earliest trajectory; None if there are none."""
        return UUID(bytes=self.first[:16]) if len(self.trajectory_ids) else None

    @property
    def last_id(self):
        return UUID(bytes=self.last[:16]) if len(self.trajectory_ids) else None

    @property
    def routes(self):
        """The route of each trajectory, None where there is none."""
        data = self.trajectories
        return [
            None if size < 0 else data[at : at + size].decode() for at, size in self.route_spans.tolist()
        ]


cdef cnp.ndarray empty(Py_ssize_t n, Py_ssize_t width, int kind):
    cdef cnp.npy_intp[2] shape
    shape[0], shape[1] = n, width
    return <cnp.ndarray> cnp.PyArray_EMPTY(2 if width else 1, shape, kind, 0)


cdef bytes shrunk(PyObject **data, Py_ssize_t size):
    """Take over a bytes object without other references, shortened in place."""
    cdef PyObject *raw = data[0]
    data[0] = NULL
    _PyBytes_Resize(&raw, size)
    result = <bytes> raw
    Py_DECREF(result)
    return result


cdef EncodedBatch encode(
    const sona_record **records, size_t n, size_t dim, int64_t batch, int32_t space_id, bint learn,
    int64_t correction
):
    cdef EncodedBatch out = EncodedBatch.__new__(EncodedBatch)
    cdef sona_sizes sizes
    cdef sona_rows rows
    cdef PyObject *trajectories = NULL
    cdef PyObject *steps = NULL
    cdef PyObject *feedback = NULL
    with nogil:
        sona_measure(records, n, dim, &sizes)
    cdef cnp.ndarray trajectory_rows = empty(sizes.trajectories + 1, 0, cnp.NPY_INT64)
    cdef cnp.ndarray step_rows = empty(sizes.trajectories + 1, 0, cnp.NPY_INT64)
    cdef cnp.ndarray feedback_rows = empty(sizes.feedback + 1, 0, cnp.NPY_INT64)
    cdef cnp.ndarray routes = empty(sizes.trajectories, 2, cnp.NPY_INT64)
    cdef cnp.ndarray ids = empty(sizes.trajectories, 16, cnp.NPY_UINT8)
    cdef cnp.ndarray feedback_ids = empty(sizes.feedback, 16, cnp.NPY_UINT8)
    cdef cnp.ndarray embeddings = empty(sizes.trajectories, dim, cnp.NPY_FLOAT32) if learn else None
    cdef cnp.ndarray qualities = empty(sizes.trajectories, 0, cnp.NPY_FLOAT32)
    cdef cnp.ndarray versions = empty(sizes.trajectories, 0, cnp.NPY_INT64)
    cdef cnp.ndarray step_trajectory = empty(sizes.steps, 0, cnp.NPY_INT32)
    cdef cnp.ndarray step_rewards = empty(sizes.steps, 0, cnp.NPY_FLOAT32)
    cdef cnp.ndarray activation_step = empty(sizes.full_steps, 0, cnp.NPY_INT32)
    cdef cnp.ndarray step_activations = empty(sizes.full_steps, dim, cnp.NPY_FLOAT32) if learn else None
    rows.trajectory_rows = <int64_t *> cnp.PyArray_DATA(trajectory_rows)
    rows.step_rows = <int64_t *> cnp.PyArray_DATA(step_rows)
    rows.feedback_rows = <int64_t *> cnp.PyArray_DATA(feedback_rows)
    rows.routes = <int64_t *> cnp.PyArray_DATA(routes)
    rows.ids = <uint8_t *> cnp.PyArray_DATA(ids)
    rows.feedback_ids = <uint8_t *> cnp.PyArray_DATA(feedback_ids)
    rows.first_id, rows.last_id = out.first, out.last
    rows.embeddings = <float *> cnp.PyArray_DATA(embeddings) if learn else NULL
    rows.qualities = <float *> cnp.PyArray_DATA(qualities)
    rows.versions = <int64_t *> cnp.PyArray_DATA(versions)
    rows.step_trajectory = <int32_t *> cnp.PyArray_DATA(step_trajectory)
    rows.step_rewards = <float *> cnp.PyArray_DATA(step_rewards)
    rows.activation_step = <int32_t *> cnp.PyArray_DATA(activation_step)
    rows.step_activations = <float *> cnp.PyArray_DATA(step_activations) if learn else NULL
    try:
        trajectories = new_bytes(NULL, sizes.trajectory_bytes)
        steps = new_bytes(NULL, sizes.step_bytes)
        feedback = new_bytes(NULL, sizes.feedback_bytes)
        rows.trajectories = <uint8_t *> PyBytes_AS_STRING(<object> trajectories)
        rows.steps = <uint8_t *> PyBytes_AS_STRING(<object> steps)
        rows.feedback = <uint8_t *> PyBytes_AS_STRING(<object> feedback)
        with nogil:
            sona_encode(kernels[0], records, n, dim, space_id, batch, correction, &rows)
        out.trajectories = shrunk(&trajectories, rows.trajectory_rows[sizes.trajectories] + 2)
        out.steps = shrunk(&steps, rows.step_rows[sizes.trajectories] + 2)
        out.feedback = shrunk(&feedback, rows.feedback_rows[sizes.feedback] + 2)
    finally:
        Py_XDECREF(trajectories)
        Py_XDECREF(steps)
        Py_XDECREF(feedback)
    out.batch, out.space_id = batch, space_id
    out.trajectory_rows, out.step_rows, out.feedback_rows = trajectory_rows, step_rows, feedback_rows
    out.trajectory_ids, out.feedback_ids, out.route_spans = ids, feedback_ids, routes
    out.embeddings, out.qualities, out.policy_versions = embeddings, qualities, versions
    out.step_trajectory, out.step_rewards = step_trajectory, step_rewards
    out.activation_step, out.step_activations = activation_step, step_activations
    out.sequence_given, out.judged = sizes.sequence_given, sizes.judged
    return out
