#include "common/heap.h"

#include "common/error.h"

#include <stdlib.h>

/* Places count from 1: the parent of p is p / 2. */

static void set(struct sp_heap *heap, size_t place, struct sp_heap_item *item)
{
    heap->items[place - 1] = item;
    item->place = place;
}

static void sift_up(struct sp_heap *heap, struct sp_heap_item *item, size_t place)
{
    while (place > 1 && heap->items[place / 2 - 1]->due > item->due) {
        set(heap, place, heap->items[place / 2 - 1]);
        place /= 2;
    }
    set(heap, place, item);
}

static void sift_down(struct sp_heap *heap, struct sp_heap_item *item, size_t place)
{
    for (;;) {
        size_t child = 2 * place;

        if (child < heap->count && heap->items[child]->due < heap->items[child - 1]->due)
            child++;
        if (child > heap->count || heap->items[child - 1]->due >= item->due)
            break;
        set(heap, place, heap->items[child - 1]);
        place = child;
    }
    set(heap, place, item);
}

/* Into a place whose own item has gone. */
static void settle(struct sp_heap *heap, struct sp_heap_item *item, size_t place)
{
    if (place > 1 && heap->items[place / 2 - 1]->due > item->due)
        sift_up(heap, item, place);
    else
        sift_down(heap, item, place);
}

void sp_heap_put(struct sp_heap *heap, struct sp_heap_item *item, int64_t due)
{
    item->due = due;
    if (item->place) {
        settle(heap, item, item->place);
        return;
    }
    if (heap->count == heap->room) {
        heap->room = heap->room ? 2 * heap->room : 16;
        heap->items = reallocarray(heap->items, heap->room, sizeof(struct sp_heap_item *));
        SP_REQUIRE(heap->items);
    }
    heap->count++;
    sift_up(heap, item, heap->count);
}

void sp_heap_remove(struct sp_heap *heap, struct sp_heap_item *item)
{
    size_t place = item->place;
    struct sp_heap_item *last;

    if (!place)
        return;
    last = heap->items[--heap->count];
    item->place = 0;
    if (last != item)
        settle(heap, last, place);
}

struct sp_heap_item *sp_heap_first(const struct sp_heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}

void sp_heap_done(struct sp_heap *heap)
{
    free(heap->items);
    *heap = (struct sp_heap){.items = NULL};
}
