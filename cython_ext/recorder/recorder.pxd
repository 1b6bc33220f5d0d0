"""The C side of the recorder; recorder.h documents each function."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from kernels cimport sona_f32, sona_kernels


cdef extern from "recorder.h" nogil:
    enum: SONA_TRAJECTORY, SONA_FEEDBACK
    enum: SONA_HAS_QUALITY, SONA_HAS_VERSION, SONA_HAS_CANDIDATES, SONA_HAS_PROPENSITY, SONA_SEQUENCE_GIVEN, SONA_HAS_COST
    enum: SONA_HAS_PAID, SONA_CLOCK_GUESSED
    enum: SONA_STEP, SONA_ROUTE, SONA_CONTEXT, SONA_QUERY, SONA_SOURCE, SONA_CORRECTION, SONA_FEATURES, SONA_PARAMETERS
    enum: SONA_MAX_RANK, SONA_MAX_STEPS, SONA_MAX_VECTOR
    enum: SONA_FRAME_OK, SONA_FRAME_MORE, SONA_FRAME_BAD

    ctypedef struct sona_record:
        uint8_t id[16]
        uint32_t size
        uint8_t kind, flags
        uint16_t step_count
        uint32_t dim, floats, texts, contexts, full_steps
        int32_t latency_us
        float quality, propensity, cost
        uint32_t features
        int64_t policy_version, candidate_set, sequence, recorded_at
        double paid

    ctypedef struct sona_item:
        uint32_t kind, size

    ctypedef struct sona_step:
        uint32_t offset_us
        float reward
        uint32_t activations, attention

    ctypedef struct sona_frame:
        uint32_t length

    ctypedef struct sona_block:
        size_t capacity
        sona_frame frame
        sona_record record

    ctypedef struct sona_sizes:
        size_t trajectories, steps, feedback, full_steps, trajectory_bytes, step_bytes, feedback_bytes
        bint sequence_given, judged

    ctypedef struct sona_rows:
        uint8_t *trajectories
        uint8_t *steps
        uint8_t *feedback
        int64_t *trajectory_rows
        int64_t *step_rows
        int64_t *feedback_rows
        int64_t *routes
        uint8_t *ids
        uint8_t *feedback_ids
        uint8_t *first_id
        uint8_t *last_id
        float *embeddings
        float *qualities
        float *step_rewards
        float *step_activations
        int64_t *versions
        int32_t *step_trajectory
        int32_t *activation_step

    ctypedef struct sona_ring:
        pass

    size_t sona_padded(size_t size)
    uint8_t *sona_record_at(sona_record *record, size_t offset)

    sona_ring *sona_ring_new(size_t capacity, size_t size)
    void sona_ring_free(sona_ring *ring)
    sona_block *sona_block_take(sona_ring *ring, size_t wanted)
    void sona_block_give(sona_ring *ring, sona_block *block)
    int sona_block_reserve(sona_block **block, size_t more)
    void sona_block_free(sona_block *block)
    enum: SONA_SEALED
    int sona_ring_push(sona_ring *ring, sona_block *block)
    void sona_ring_seal(sona_ring *ring)
    bint sona_ring_begin(sona_ring *ring)
    void sona_ring_end(sona_ring *ring)
    size_t sona_ring_peek(sona_ring *ring, sona_block **out, size_t rows, size_t size)
    void sona_ring_release(sona_ring *ring, sona_block **blocks, size_t n)
    size_t sona_ring_trim(sona_ring *ring, size_t keep)
    uint64_t sona_ring_pushed(const sona_ring *ring)
    uint64_t sona_ring_taken(const sona_ring *ring)
    uint64_t sona_ring_dropped(const sona_ring *ring)
    void sona_ring_count_drop(sona_ring *ring)
    uint64_t sona_ring_abandoned(const sona_ring *ring)
    void sona_ring_count_abandoned(sona_ring *ring)

    int64_t sona_monotonic_ns()
    int64_t sona_wall_us()
    int64_t SONA_UNMEASURED
    int sona_uuid7(int64_t now, int64_t since_1970, uint8_t *id)
    void sona_watch_forks()
    unsigned sona_fork_generation()

    void sona_measure(const sona_record *const *records, size_t n, size_t dim, sona_sizes *sizes)
    void sona_encode(const sona_kernels *kernels, const sona_record *const *records, size_t n, size_t dim,
                     int32_t space, int64_t batch, int64_t correction, const sona_rows *out)
    bint sona_copy_checked(uint8_t *to, const sona_f32 *values, size_t n)
    bint sona_keep_direction(float *values, size_t n)

    void sona_frame_seal(const sona_kernels *kernels, sona_block *block)
    int sona_frame_read(const sona_kernels *kernels, const uint8_t *data, size_t n, size_t dim,
                        const sona_record **record, size_t *used)

    ctypedef struct sona_spool:
        pass

    ctypedef struct sona_spool_position:
        int64_t segment, size
        uint64_t appended

    sona_spool *sona_spool_new(const char *folder, int64_t segment_bytes)
    void sona_spool_free(sona_spool *spool)
    int sona_spool_append(sona_spool *spool, const sona_kernels *kernels, sona_block *block)
    void sona_spool_seal(sona_spool *spool)
    void sona_spool_let_go(sona_spool *spool)
    sona_spool_position sona_spool_at(sona_spool *spool)
    bint sona_spool_ended(sona_spool *spool, int64_t segment, sona_spool_position *end)
