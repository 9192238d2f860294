/*
 * json_out: JSON to a stream, a member at a time, for what is shown whole (a page, a report) and
 * may be longer than a line of the log. The text is the same as the log's: sp_text_escape.
 *
 * Embedded in whoever writes; holds no memory. Commas and ends are its own business; that begins
 * and ends match is the caller's (SP_REQUIRE). One thread at a time.
 */
#ifndef SALLYPORT_COMMON_JSON_OUT_H
#define SALLYPORT_COMMON_JSON_OUT_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct sp_json_field;

#define SP_JSON_OUT_DEPTH 16
struct sp_json_out {
    FILE *out;
    unsigned depth;
    bool has_member; /* in the innermost object or array: a comma is due */
};

/* Inside an object `key` is wanted, inside an array and outside of everything it is NULL. */
void sp_json_out_object(struct sp_json_out *json, const char *key);
void sp_json_out_object_end(struct sp_json_out *json);
void sp_json_out_array(struct sp_json_out *json, const char *key);
void sp_json_out_array_end(struct sp_json_out *json);
void sp_json_out_str(struct sp_json_out *json, const char *key, const char *value); /* NULL: none */
void sp_json_out_int(struct sp_json_out *json, const char *key, int64_t value);
void sp_json_out_bool(struct sp_json_out *json, const char *key, bool value);
/* Unix seconds as in sp_time_format; 0: left out. */
void sp_json_out_time(struct sp_json_out *json, const char *key, int64_t seconds);
/* JSON as it is: the caller has made sure that it is some. */
void sp_json_out_raw(struct sp_json_out *json, const char *key, const char *text);

/* What a table has bound, defaults included: members of the object that was begun. Each string goes
 * through `show`, which returns what is written in its place (NULL: left out); NULL: as it is. */
typedef const char *(*sp_json_out_show)(void *ctx, const struct sp_json_field *field,
                                        const char *value);
void sp_json_out_bound(struct sp_json_out *json, const struct sp_json_field *fields,
                       const void *bound_struct, sp_json_out_show show, void *ctx);
#endif
