/* See events.h. The fields and their numbers are those of TensorFlow's event.proto and summary.proto; numbers of more
 * than a byte are little-endian. */
#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Bytes ---- */

static void bytes_add(struct event *to, const void *bytes, size_t n) {
    to->bytes = array_grow(to->bytes, &to->capacity, to->n + n, 1);
    memcpy(to->bytes + to->n, bytes, n);
    to->n += n;
}

static void number_add(struct event *to, uint64_t value, int size) {
    for (int i = 0; i < size; i++) bytes_add(to, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

static void varint_add(struct event *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7) number_add(to, (value & 0x7f) | 0x80, 1);
    number_add(to, value, 1);
}

/* ---- Protocol buffers: a field is its number and kind, then its value ---- */

enum { VARINT = 0, FIXED64 = 1, BLOCK = 2, FIXED32 = 5 };
static void key_add(struct event *to, uint64_t field, uint64_t kind) { varint_add(to, field << 3 | kind); }

static void double_add(struct event *to, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    number_add(to, bits, 8);
}

static void double_field(struct event *to, uint64_t field, double value) {
    key_add(to, field, FIXED64);
    double_add(to, value);
}

static void block_field(struct event *to, uint64_t field, const void *bytes, size_t n) {
    key_add(to, field, BLOCK);
    varint_add(to, n);
    bytes_add(to, bytes, n);
}

enum {
    EVENT_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5,
    SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SCALAR = 2, VALUE_HISTOGRAM = 5,
    MIN = 1, MAX = 2, NUMBER = 3, SUM = 4, SQUARES = 5, LIMITS = 6, BUCKETS = 7, /* of a histogram */
};

void event_scalar(struct event *event, const char *tag, double value) {
    struct event v = {0};
    const float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    block_field(&v, VALUE_TAG, tag, strlen(tag));
    key_add(&v, VALUE_SCALAR, FIXED32);
    number_add(&v, bits, 4);
    block_field(event, SUMMARY_VALUE, v.bytes, v.n);
    free(v.bytes);
}

void event_counts(struct event *event, const char *tag, const double *counts, size_t n) {
    struct event v = {0}, h = {0};
    double number = 0, sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        number += counts[i];
        sum += counts[i] * (double)i;
        squares += counts[i] * (double)i * (double)i;
    }
    double_field(&h, MIN, -0.5);
    double_field(&h, MAX, (double)n - 0.5);
    double_field(&h, NUMBER, number);
    double_field(&h, SUM, sum);
    double_field(&h, SQUARES, squares);
    key_add(&h, LIMITS, BLOCK);
    varint_add(&h, 8 * n);
    for (size_t i = 0; i < n; i++) double_add(&h, (double)i + 0.5);
    key_add(&h, BUCKETS, BLOCK);
    varint_add(&h, 8 * n);
    for (size_t i = 0; i < n; i++) double_add(&h, counts[i]);
    block_field(&v, VALUE_TAG, tag, strlen(tag));
    block_field(&v, VALUE_HISTOGRAM, h.bytes, h.n);
    block_field(event, SUMMARY_VALUE, v.bytes, v.n);
    free(v.bytes);
    free(h.bytes);
}

/* ---- Records ---- */

/* CRC-32C (Castagnoli), rotated and shifted, since a record may hold CRCs itself. */
static uint32_t masked_crc(const unsigned char *bytes, size_t n) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static bool write_failed(const struct events *e, struct error *err) {
    return error_set(err, EXIT_OUTPUT, "%s: cannot write: %s; free some space and --resume", e->path,
                     strerror(errno));
}

static bool record_write(struct events *e, const struct event *data, struct error *err) {
    struct event record = {0};
    number_add(&record, data->n, 8);
    number_add(&record, masked_crc(record.bytes, 8), 4);
    bytes_add(&record, data->bytes, data->n);
    number_add(&record, masked_crc(data->bytes, data->n), 4);
    errno = 0;
    const bool written = fwrite(record.bytes, 1, record.n, e->file) == record.n && fflush(e->file) == 0;
    free(record.bytes);
    return written || write_failed(e, err);
}

static void time_add(struct event *event) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double_field(event, EVENT_TIME, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
}

bool events_write(struct events *e, struct event *event, int64_t step, struct error *err) {
    struct event whole = {0};
    if (event->n == 0) return true;
    time_add(&whole);
    key_add(&whole, EVENT_STEP, VARINT);
    varint_add(&whole, (uint64_t)step);
    block_field(&whole, EVENT_SUMMARY, event->bytes, event->n);
    free(event->bytes);
    *event = (struct event){0};
    const bool written = record_write(e, &whole, err);
    free(whole.bytes);
    return written;
}

/* ---- Files ---- */

static bool file_open(struct events *e, const char *path, const char *mode, struct error *err) {
    *e = (struct events){fopen(path, mode), string_format("%s", path)};
    if (e->file) return true;
    error_set(err, EXIT_OUTPUT, "%s: cannot open: %s; choose another --out", path, strerror(errno));
    events_close(e);
    return false;
}

void events_close(struct events *e) {
    if (e->file) fclose(e->file);
    free(e->path);
    *e = (struct events){0};
}

bool events_create(struct events *e, const char *path, struct error *err) {
    static const char version[] = "brain.Event:2";
    struct event first = {0};
    if (!file_open(e, path, "wb", err)) return false;
    time_add(&first);
    block_field(&first, EVENT_VERSION, version, sizeof version - 1);
    const bool written = record_write(e, &first, err);
    free(first.bytes);
    return written;
}

bool events_sync(struct events *e, struct error *err) {
    return fsync(fileno(e->file)) == 0 || write_failed(e, err);
}

static uint64_t number_take(const unsigned char *bytes, int size) {
    uint64_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

/* The data of the next record; NULL at the end, and where it is damaged. malloc'ed. */
static unsigned char *record_read(FILE *file, size_t *n) {
    enum { MOST = 1 << 26 }; /* more has nobody written */
    unsigned char head[12], tail[4];
    if (fread(head, 1, 12, file) != 12 || masked_crc(head, 8) != number_take(head + 8, 4)) return NULL;
    const uint64_t size = number_take(head, 8);
    if (size > MOST) return NULL;
    unsigned char *data = array_alloc((size_t)size + 1, 1);
    *n = (size_t)size;
    if (fread(data, 1, *n, file) == *n && fread(tail, 1, 4, file) == 4 && masked_crc(data, *n) == number_take(tail, 4))
        return data;
    free(data);
    return NULL;
}

/* Bytes that are read one after another; `end` where there are no more, or they are damaged. */
struct reader {
    const unsigned char *at, *end;
};

static uint64_t varint_take(struct reader *r) {
    uint64_t value = 0;
    for (int shift = 0; r->at < r->end && shift < 64; shift += 7) {
        const unsigned char byte = *r->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    r->at = r->end;
    return 0;
}

/* The field of this number: a number's value, or what is in a block. False if there is none. */
static bool field_find(struct reader r, uint64_t field, uint64_t *value, struct reader *block) {
    while (r.at < r.end) {
        const uint64_t key = varint_take(&r), kind = key & 7;
        const uint64_t number = kind == VARINT || kind == BLOCK ? varint_take(&r) : 0;
        const uint64_t size = kind == FIXED64 ? 8 : kind == FIXED32 ? 4 : kind == BLOCK ? number : 0;
        if (size > (uint64_t)(r.end - r.at)) return false;
        *value = number;
        *block = (struct reader){r.at, r.at + size};
        if (key >> 3 == field) return true;
        r.at += size;
    }
    return false;
}

/* Where the part of a file that stays ends; 0 if it does not begin as such a file does. */
static long events_survey(FILE *file, bool (*past)(const void *context, int64_t step, const char *tag),
                          const void *context) {
    long end = 0;
    size_t n;
    for (unsigned char *data; (data = record_read(file, &n)); free(data)) {
        struct reader block, whole = {data, data + n};
        uint64_t step = 0, unused;
        const bool first = end == 0, version = field_find(whole, EVENT_VERSION, &unused, &block);
        if (!field_find(whole, EVENT_STEP, &step, &block)) step = 0;
        char *tag = NULL;
        if (field_find(whole, EVENT_SUMMARY, &unused, &block) && field_find(block, SUMMARY_VALUE, &unused, &block) &&
            field_find(block, VALUE_TAG, &unused, &block))
            tag = string_format("%.*s", (int)(block.end - block.at), (const char *)block.at);
        const bool stays = first ? version : !past(context, (int64_t)step, tag ? tag : "");
        free(tag);
        if (stays) end = ftell(file);
        else {
            free(data);
            break;
        }
    }
    return end;
}

bool events_resume(struct events *e, const char *path, bool (*past)(const void *context, int64_t step, const char *tag),
                   const void *context, struct error *err) {
    FILE *old = fopen(path, "rb");
    const long end = old ? events_survey(old, past, context) : 0;
    if (old) fclose(old);
    if (end == 0) return events_create(e, path, err);
    if (!file_open(e, path, "ab", err)) return false;
    return ftruncate(fileno(e->file), end) == 0 || write_failed(e, err);
}
