/*
 * heap: what is due first, by a time of the caller's (any unit). Items are embedded in their
 * owners, who take them out before they go. One thread.
 */
#ifndef SALLYPORT_COMMON_HEAP_H
#define SALLYPORT_COMMON_HEAP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_heap_item {
    int64_t due;
    size_t place; /* 0: in no heap; zeroed at first */
};

struct sp_heap { /* zeroed at first */
    struct sp_heap_item **items;
    size_t count, room;
};

/* Puts it in, or moves it when it is there already. */
void sp_heap_put(struct sp_heap *heap, struct sp_heap_item *item, int64_t due);
void sp_heap_remove(struct sp_heap *heap, struct sp_heap_item *item); /* fine when it is not in */
struct sp_heap_item *sp_heap_first(const struct sp_heap *heap);       /* NULL: empty */
void sp_heap_done(struct sp_heap *heap); /* items still in it are the caller's */
#endif
