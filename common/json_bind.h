/*
 * json_bind: JSON files into structs, driven by tables; the only code that knows jansson.
 *
 * A table row names a key, its type, where it goes and its bounds. Unknown and duplicate keys are
 * errors; so is nesting deeper than 32 and a file above 16 MiB. Errors name the file, the place
 * and what is wanted:
 *     gateway.json:12:7: '}' expected near 'x'                           (syntax)
 *     gateway.json: $.log.level: "loud" is not one of error, warning, info, debug
 *     gateway.json: $.common.private_key: required, but missing
 * Strings in the result belong to the struct: sp_json_done frees all that a table's rows own. All
 * functions are pure apart from reading the file; thread-safe.
 */
#ifndef SALLYPORT_COMMON_JSON_BIND_H
#define SALLYPORT_COMMON_JSON_BIND_H
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

enum sp_json_type {
    SP_JSON_STRING,       /* char *; min/max are lengths (max 0: 4096) */
    SP_JSON_PATH,         /* char *; resolved against the folder of the file that names it */
    SP_JSON_BOOL,         /* bool */
    SP_JSON_UINT,         /* uint64_t; min..max */
    SP_JSON_ENUM,         /* int; names[] ends with NULL, the index is the value */
    SP_JSON_UINT_OR_AUTO, /* uint64_t; "auto" is 0; else min..max */
    SP_JSON_STRINGS,      /* struct sp_json_strings; min/max are counts */
    SP_JSON_PATHS,        /* struct sp_json_strings, each resolved as a path */
    SP_JSON_OBJECT,       /* embedded struct, its table in .fields */
    SP_JSON_ARRAY, /* struct sp_json_array of structs of .size, table in .fields; min/max counts */
    SP_JSON_ENUM_MAP, /* int[]: object whose keys are in key_names[] (index = slot) and whose values
                         are in names[]; slots not named keep default_uint */
};

struct sp_json_strings {
    char **items;
    size_t count;
};

struct sp_json_array {
    void *items; /* count structs of the row's .size, one after the other */
    size_t count;
};

struct sp_json_field {
    const char *key;
    enum sp_json_type type;
    size_t offset;
    bool required;
    bool or_one;                        /* strings, paths: one string stands for a list of one */
    bool or_number;                     /* strings: a whole number stands for its decimal text */
    uint64_t min, max;                  /* see the type */
    uint64_t default_uint;              /* bool, uint, enum, enum map */
    const char *default_string;         /* string; NULL: none */
    const char *const *names;           /* enum, enum map: values */
    const char *const *key_names;       /* enum map: keys */
    const struct sp_json_field *fields; /* object, array: the inner table; ends with key NULL */
    size_t size;                        /* array: sizeof one item */
    bool or_url; /* path, paths: "scheme:/..." and "pkcs11:..." are no paths and are left as they
                    are, for .check */
    size_t present_offset; /* != 0: a bool at this offset - 1 is set when the key is there */
    /* Extra check of a string (a path: resolved) or of each of an array; NULL: none. On failure say
     * what is wanted in err; json_bind adds the place. */
    enum sp_err (*check)(const char *value, struct sp_error *err);
};
/* What `or_url` takes for a URL: "scheme:/...", "pkcs11:...", whether or not it is a good one. */
bool sp_json_is_url(const char *value);
#define SP_JSON_PRESENT(type, member) (offsetof(type, member) + 1)

/* Reads `path`, checks syntax, binds the top object into `ret_struct` (whose memory the caller
 * zeroes) by `fields`. On failure everything bound so far is freed and the struct zeroed again
 * where rows point. Messages use `path` as given. */
SP_MUST_USE enum sp_err sp_json_load(const char *path, const struct sp_json_field *fields,
                                     void *ret_struct, struct sp_error *err);
/* The same from memory; relative paths are resolved against the folder of `name`. */
SP_MUST_USE enum sp_err sp_json_load_text(const char *name, const char *text, size_t len,
                                          const struct sp_json_field *fields, void *ret_struct,
                                          struct sp_error *err);
/* The same for what another version of a program may have written: keys that no row names are
 * passed over. */
SP_MUST_USE enum sp_err sp_json_load_line(const char *name, const char *text, size_t len,
                                          const struct sp_json_field *fields, void *ret_struct,
                                          struct sp_error *err);
/* All that the rows have bound, as bytes: equal for equal values of one table, whatever the file
 * looked like. Appended to *text; the caller frees .data. */
struct sp_json_bytes {
    char *data;
    size_t len, room;
};
void sp_json_flatten(const struct sp_json_field *fields, const void *bound_struct,
                     struct sp_json_bytes *bytes);
void sp_json_done(const struct sp_json_field *fields, void *bound_struct);

/* For checks made after binding: SP_ERR_CONFIG with .where = "file: $.path". */
enum sp_err sp_json_error(struct sp_error *err, const char *file, const char *json_path,
                          const char *fmt, ...) SP_PRINTF(4, 5);
#endif
