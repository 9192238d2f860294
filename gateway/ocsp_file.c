#include "gateway/ocsp_impl.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"
#include "gateway/tenant_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* After the head, for each answer: until when it was current (8 bytes), the key (32), the length of
 * the tenant's id (1) and the id, the length of the response (4) and the response. Numbers are
 * big-endian. Nothing in it is believed: a response counts when a worker has verified it. */
static const char head[] = "sallyport ocsp 1\n";
#define HEAD_LEN   (sizeof head - 1)
#define FILE_MAX   ((size_t)1 << 30)
#define LIFE_MAX_S ((int64_t)366 * 86400) /* as client_validation.ocsp.max_age_s */

/* ---- writing ---- */

struct out {
    uint8_t *bytes;
    size_t len, room;
};

static void put(struct out *out, const void *data, size_t len)
{
    if (out->len + len > out->room) {
        out->room = 2 * (out->len + len);
        out->bytes = realloc(out->bytes, out->room);
        SP_REQUIRE(out->bytes);
    }
    memcpy(out->bytes + out->len, data, len);
    out->len += len;
}

static void put_number(struct out *out, uint64_t number, size_t bytes)
{
    uint8_t text[8];

    for (size_t i = 0; i < bytes; i++)
        text[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
    put(out, text, bytes);
}

static void put_entry(struct out *out, const struct gw_ocsp_entry *e, int64_t now)
{
    int64_t expires = e->status ? gw_ocsp_entry_expires(e) : e->status_since;
    size_t id_len = strlen(e->tenant->id);

    if (!e->response || expires <= now)
        return;
    put_number(out, (uint64_t)expires, 8);
    put(out, e->key.bytes, sizeof e->key.bytes);
    put_number(out, id_len, 1);
    put(out, e->tenant->id, id_len);
    put_number(out, e->response_len, 4);
    put(out, e->response, e->response_len);
}

void gw_ocsp_file_write(struct gw_ocsp *ocsp, int64_t now)
{
    struct out out = {NULL, 0, 0};
    struct sp_error err;
    char message[768];
    struct gw_ocsp_entry **all;
    size_t count;

    put(&out, head, HEAD_LEN);
    all = gw_ocsp_entries(ocsp, &count);
    for (size_t i = 0; i < count; i++) { /* no worker waits for all of them */
        pthread_mutex_lock(&ocsp->lock);
        put_entry(&out, all[i], now);
        pthread_mutex_unlock(&ocsp->lock);
    }
    free(all);
    ocsp->dirty = false;
    ocsp->saved_at = now;
    if (sp_file_replace(ocsp->cache_path, out.bytes, out.len, &err) != SP_OK)
        sp_log_message(ocsp->options.log, SP_LOG_WARNING, "cache",
                       "OCSP answers are not kept over a restart: %s",
                       sp_error_message(&err, message, sizeof message));
    free(out.bytes);
}

/* ---- reading ---- */

struct in {
    const uint8_t *at, *end;
};

/* NULL: there is less. */
static const uint8_t *get(struct in *in, size_t len)
{
    const uint8_t *at = in->at;

    if ((size_t)(in->end - at) < len)
        return NULL;
    in->at += len;
    return at;
}

static bool get_number(struct in *in, size_t bytes, uint64_t *ret)
{
    const uint8_t *at = get(in, bytes);

    *ret = 0;
    for (size_t i = 0; at && i < bytes; i++)
        *ret = *ret << 8 | at[i];
    return at != NULL;
}

struct record {
    uint64_t expires;
    struct gw_live_key key;
    char tenant_id[GW_TENANT_ID_MAX + 1];
    const uint8_t *response;
    size_t response_len;
};

static bool get_record(struct in *in, struct record *ret)
{
    const uint8_t *key, *id;
    uint64_t id_len, len;

    memset(ret, 0, sizeof *ret);
    if (!get_number(in, 8, &ret->expires) || ret->expires > INT64_MAX)
        return false;
    key = get(in, sizeof ret->key.bytes);
    if (!key || !get_number(in, 1, &id_len) || id_len > GW_TENANT_ID_MAX)
        return false;
    memcpy(ret->key.bytes, key, sizeof ret->key.bytes);
    id = get(in, id_len);
    if (!id || !get_number(in, 4, &len) || !len || len > SP_OCSP_RESPONSE_MAX)
        return false;
    memcpy(ret->tenant_id, id, id_len);
    ret->response = get(in, len);
    ret->response_len = len;
    return ret->response != NULL;
}

static void take_record(struct gw_ocsp *ocsp, const struct record *record, int64_t now)
{
    struct gw_ocsp_entry *e;

    if ((int64_t)record->expires <= now || (int64_t)record->expires - now > LIFE_MAX_S ||
        sp_hash_get(ocsp->entries, record->key.bytes, sizeof record->key.bytes))
        return;
    e = gw_ocsp_entry_new(ocsp, &record->key, record->tenant_id);
    if (!e)
        return;
    gw_ocsp_entry_set_response(e, record->response, record->response_len);
    e->status_since = (int64_t)record->expires;
    sp_heap_put(&ocsp->schedule, &e->due, e->status_since);
}

void gw_ocsp_file_read(struct gw_ocsp *ocsp, int64_t now)
{
    struct sp_file file;
    struct record record;
    struct sp_error err;
    char message[768];
    struct in in;

    if (sp_file_read(ocsp->cache_path, FILE_MAX, &file, &err) != SP_OK) {
        if (err.kind != SP_ERR_SYS || err.code != ENOENT)
            sp_log_message(ocsp->options.log, SP_LOG_WARNING, "cache", "%s",
                           sp_error_message(&err, message, sizeof message));
        return;
    }
    in = (struct in){file.data, file.data + file.len};
    if (file.len < HEAD_LEN || memcmp(get(&in, HEAD_LEN), head, HEAD_LEN) != 0) {
        sp_log_message(ocsp->options.log, SP_LOG_WARNING, "cache",
                       "%s: no file of ours: begun anew", ocsp->cache_path);
        in.at = in.end;
    }
    while (in.at < in.end && get_record(&in, &record))
        take_record(ocsp, &record, now);
    if (in.at < in.end)
        sp_log_message(ocsp->options.log, SP_LOG_WARNING, "cache",
                       "%s: damaged: the rest of it is left out", ocsp->cache_path);
    sp_file_done(&file);
}
