/* Records in a file: each framed by its length and a checksum. */
#define _DEFAULT_SOURCE /* POSIX beside -std=c11 */
#include "recorder.h"

#include <errno.h>
#include <unistd.h>

void sona_frame_seal(const sona_kernels *kernels, sona_block *block)
{
    const uint32_t length = block->record.size;
    block->frame = (sona_frame){
        .length = length,
        .check = length ^ SONA_FRAME_CHECK,
        .crc = kernels->crc32c(0, (const uint8_t *)&block->record, (ptrdiff_t)length),
    };
}

int sona_frame_append(int file, int64_t at, const sona_block *block)
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
