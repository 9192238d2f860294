/*
 * name_index: which tenant has this server name, for a hundred thousand of them: a table of places,
 * 12 bytes a slot, that leaves the names where they are, with their tenants.
 *
 * Peers choose what is looked up: SipHash under a random key. Immutable once filled, reference
 * counted; then safe for all threads.
 */
#ifndef SALLYPORT_GATEWAY_NAME_INDEX_H
#define SALLYPORT_GATEWAY_NAME_INDEX_H
#include <stddef.h>
#include <stdint.h>

struct gw_name_index; /* opaque */

/* A name is found as the number-th one of an owner; the index asks for its text: ctx is whatever
 * has the same names in the same places as what the index was filled from. */
#define GW_NAME_NONE UINT32_MAX
typedef const char *(*gw_name_text)(const void *ctx, uint32_t owner, uint32_t number);

/* room: for so many names. */
struct gw_name_index *gw_name_index_new(size_t room, gw_name_text text);
struct gw_name_index *gw_name_index_ref(struct gw_name_index *index);
void gw_name_index_unref(struct gw_name_index *index); /* NULL is fine */
/* GW_NAME_NONE: it was put in; else the owner who has it already. */
uint32_t gw_name_index_put(struct gw_name_index *index, const void *ctx, uint32_t owner,
                           uint32_t number);
/* The owner, or GW_NAME_NONE. */
uint32_t gw_name_index_get(const struct gw_name_index *index, const void *ctx, const char *name);
#endif
