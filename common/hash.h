/*
 * hash: an open-addressing hash table from byte strings to pointers, for look-ups by server name
 * and the like, where peers choose the keys: SipHash-2-4 under a random key of each table's own.
 *
 * Keys are copied. Not thread-safe while it changes; concurrent look-ups in a finished table are.
 */
#ifndef SALLYPORT_COMMON_HASH_H
#define SALLYPORT_COMMON_HASH_H
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

struct sp_hash; /* opaque */

struct sp_hash *sp_hash_new(void);
void sp_hash_free(struct sp_hash *h); /* values are the caller's; NULL is fine */
/* Returns the value already there (and leaves it) or NULL when `value` (not NULL) was put in. */
void *sp_hash_put(struct sp_hash *h, const void *key, size_t key_len, void *value);
void *sp_hash_get(const struct sp_hash *h, const void *key, size_t key_len); /* NULL: none */
void *sp_hash_remove(struct sp_hash *h, const void *key, size_t key_len); /* the value, or NULL */
size_t sp_hash_count(const struct sp_hash *h);
/* Walks all entries: start with *cursor = 0; false at the end. The table must not change. */
bool sp_hash_next(const struct sp_hash *h, size_t *cursor, const char **ret_key,
                  size_t *ret_key_len, void **ret_value);
/* The hash itself, for tables of another shape. */
uint64_t sp_hash_siphash(const uint8_t key[16], const void *data, size_t len);
#endif
