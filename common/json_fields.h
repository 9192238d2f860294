/*
 * json_fields: the memory side of json_bind's tables: what a struct holds before and after its
 * binding. Knows no JSON library. Pure functions, thread-safe. For json_bind.c; and for values that
 * are paths only sometimes.
 */
#ifndef SALLYPORT_COMMON_JSON_FIELDS_H
#define SALLYPORT_COMMON_JSON_FIELDS_H
#include "common/json_bind.h"

/* Sets what the rows hold when their keys are not there, also those inside objects that are not
 * there themselves. */
void sp_json_fields_defaults(const struct sp_json_field *fields, const char *file, void *base);
/* A path as `file` names it: a relative one starts at the folder of that file. The caller frees. */
char *sp_json_fields_path(const char *file, const char *value);
#endif
