/* Records in files: each framed by its length and a checksum. */
#define _DEFAULT_SOURCE /* POSIX beside -std=c11 */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct sona_spool {
    pthread_mutex_t lock;
    int file, sealed;
    int64_t segment_bytes;
    sona_spool_position at;
    sona_spool_position *ends; /* of the segments before the current one, as far as they may be asked for */
    size_t count, room;
    char folder[];
};

void sona_frame_seal(const sona_kernels *kernels, sona_block *block)
{
    const uint32_t length = block->record.size;
    block->frame = (sona_frame){
        .length = length,
        .check = length ^ SONA_FRAME_CHECK,
        .crc = kernels->crc32c(0, (const uint8_t *)&block->record, (ptrdiff_t)length),
    };
}

static int frame_append(int file, int64_t at, const sona_block *block)
{
    const uint8_t *bytes = (const uint8_t *)&block->frame;
    const size_t n = sizeof block->frame + block->frame.length;
    size_t done = 0;
    while (done < n) {
        const ssize_t written = pwrite(file, bytes + done, n - done, (off_t)(at + (int64_t)done));
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            const int error = written < 0 ? errno : EIO;
            /* Half a record must not stay in front of the next one. If even this fails, the next append writes over it. */
            if (done > 0 && ftruncate(file, (off_t)at) != 0)
                return error;
            return error;
        }
        done += (size_t)written;
    }
    return 0;
}

sona_spool *sona_spool_new(const char *folder, int64_t segment_bytes)
{
    const size_t length = strlen(folder) + 1;
    sona_spool *spool = calloc(1, sizeof *spool + length);
    if (spool == NULL)
        return NULL;
    pthread_mutex_init(&spool->lock, NULL);
    spool->file = -1;
    spool->segment_bytes = segment_bytes;
    memcpy(spool->folder, folder, length);
    return spool;
}

void sona_spool_let_go(sona_spool *spool)
{
    if (spool->file >= 0)
        close(spool->file);
    spool->file = -1;
    spool->sealed = 1;
}

void sona_spool_free(sona_spool *spool)
{
    if (spool == NULL)
        return;
    sona_spool_let_go(spool);
    free(spool->ends);
    free(spool);
}

/* Makes the next segment; under the lock. An existing file is never opened: it has records of another process. */
static int next_segment(sona_spool *spool)
{
    if (spool->count == spool->room) {
        const size_t room = 2 * spool->room + 4;
        sona_spool_position *ends = realloc(spool->ends, room * sizeof *ends);
        if (ends == NULL)
            return ENOMEM;
        spool->ends = ends;
        spool->room = room;
    }
    char path[PATH_MAX];
    const int length = snprintf(path, sizeof path, "%s/%08lld", spool->folder, (long long)spool->at.segment + 1);
    if (length < 0 || (size_t)length >= sizeof path)
        return ENAMETOOLONG;
    const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        return errno;
    if (spool->file >= 0) {
        close(spool->file);
        spool->ends[spool->count++] = spool->at;
    }
    spool->file = file;
    spool->at.segment++;
    spool->at.size = 0;
    return 0;
}

int sona_spool_append(sona_spool *spool, const sona_kernels *kernels, sona_block *block)
{
    sona_frame_seal(kernels, block);
    pthread_mutex_lock(&spool->lock);
    int error = spool->sealed ? SONA_SEALED : 0;
    if (error == 0 && (spool->file < 0 || spool->at.size >= spool->segment_bytes))
        error = next_segment(spool);
    if (error == 0)
        error = frame_append(spool->file, spool->at.size, block);
    if (error == 0) {
        spool->at.size += (int64_t)(sizeof block->frame + block->frame.length);
        spool->at.appended++;
    }
    pthread_mutex_unlock(&spool->lock);
    return error;
}

void sona_spool_seal(sona_spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    sona_spool_let_go(spool);
    pthread_mutex_unlock(&spool->lock);
}

sona_spool_position sona_spool_at(sona_spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    const sona_spool_position at = spool->at;
    pthread_mutex_unlock(&spool->lock);
    return at;
}

int sona_spool_ended(sona_spool *spool, int64_t segment, sona_spool_position *end)
{
    int found = 0;
    pthread_mutex_lock(&spool->lock);
    size_t before = 0;
    while (before < spool->count && spool->ends[before].segment < segment)
        before++;
    if (before > 0) {
        spool->count -= before;
        memmove(spool->ends, spool->ends + before, spool->count * sizeof *spool->ends);
    }
    if (spool->count > 0 && spool->ends[0].segment == segment) {
        *end = spool->ends[0];
        found = 1;
    }
    pthread_mutex_unlock(&spool->lock);
    return found;
}

/* Whether every length inside a record agrees with its size: the checksum vouches for the bytes, not for the space
 * they were written for. */
static int is_sound(const sona_record *record, size_t dim)
{
    if (record->size % 8 || (record->kind != SONA_TRAJECTORY && record->kind != SONA_FEEDBACK))
        return 0;
    if (record->dim != (record->kind == SONA_TRAJECTORY ? dim : 0))
        return 0;
    size_t at = sizeof *record + sona_padded(4 * (size_t)record->dim);
    size_t steps = 0, floats = 0, texts = 0, contexts = 0, full = 0, features = 0;
    while (at + sizeof(sona_item) <= record->size) {
        const sona_item *item = (const sona_item *)((const uint8_t *)record + at);
        at += sizeof *item + sona_padded(item->size);
        if (at > record->size)
            return 0;
        if (item->kind == SONA_FEATURES) {
            features += item->size == 4 * (uint64_t)record->features;
            continue;
        }
        if (item->kind != SONA_STEP) {
            texts += item->size;
            contexts += item->kind == SONA_CONTEXT;
            continue;
        }
        const sona_step *step = (const sona_step *)(item + 1);
        if (item->size < sizeof *step
            || item->size != sizeof *step + 4 * ((uint64_t)step->activations + step->attention))
            return 0;
        steps++;
        floats += (size_t)step->activations + step->attention;
        full += step->activations == dim;
    }
    return at == record->size && steps == record->step_count && floats == record->floats && texts == record->texts
           && contexts == record->contexts && full == record->full_steps
           && features == (record->features > 0);
}

int sona_frame_read(const sona_kernels *kernels, const uint8_t *bytes, size_t n, size_t dim,
                    const sona_record **record, size_t *used)
{
    sona_frame frame;
    if (n < sizeof frame)
        return SONA_FRAME_MORE;
    memcpy(&frame, bytes, sizeof frame);
    if ((frame.length ^ SONA_FRAME_CHECK) != frame.check || frame.length < sizeof **record)
        return SONA_FRAME_BAD;
    if (n - sizeof frame < frame.length)
        return SONA_FRAME_MORE;
    const sona_record *found = (const sona_record *)(bytes + sizeof frame);
    if (kernels->crc32c(0, (const uint8_t *)found, (ptrdiff_t)frame.length) != frame.crc
        || found->size != frame.length || !is_sound(found, dim))
        return SONA_FRAME_BAD;
    *record = found;
    *used = sizeof frame + frame.length;
    return SONA_FRAME_OK;
}
