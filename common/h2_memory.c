/* h2_memory: the memory of nghttp2's sessions, which is malloc's, but for two blocks of each: a
 * buffer of 16 KiB for frames, of which the first few bytes are used since DATA does not pass
 * through it, and the table of streams. From malloc they would come out of what a handshake has
 * just used and freed, and all of it would count; pages of their own are there only once they are
 * touched. */
#include "common/h2_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TABLE_SIZE 4096u
#define LARGE      16384u

static void *take_pages(struct sp_h2_pages *pages, size_t size)
{
    if (pages->at)
        return NULL;
    pages->at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages->at == MAP_FAILED) /* a process may have only so many maps */
        pages->at = NULL;
    else /* neighbours become one map, in which a touch could bring 2 MiB */
        (void)madvise(pages->at, size, MADV_NOHUGEPAGE);
    pages->len = size;
    return pages->at;
}

static void *take(size_t size, void *user)
{
    struct sp_h2_session *session = user;
    void *block = size >= LARGE ? take_pages(&session->frame_pages, size) : NULL;

    return block ? block : malloc(size);
}

static void *take_cleared(size_t count, size_t size, void *user)
{
    struct sp_h2_session *session = user;
    bool is_table = size && count == TABLE_SIZE / size && count > 1;
    void *block = is_table ? take_pages(&session->table_pages, count * size) : NULL;

    return block ? block : calloc(count, size);
}

static struct sp_h2_pages *pages_of(struct sp_h2_session *session, const void *block)
{
    if (block == session->frame_pages.at)
        return &session->frame_pages;
    return block == session->table_pages.at ? &session->table_pages : NULL;
}

static void give(void *block, void *user)
{
    struct sp_h2_pages *pages = block ? pages_of(user, block) : NULL;

    if (!pages) {
        free(block);
        return;
    }
    munmap(pages->at, pages->len);
    pages->at = NULL;
}

static void *resize(void *block, size_t size, void *user)
{
    struct sp_h2_pages *pages = block ? pages_of(user, block) : NULL;
    void *moved;

    if (!block)
        return take(size, user);
    if (!pages)
        return realloc(block, size);
    moved = malloc(size);
    if (moved) {
        memcpy(moved, block, size < pages->len ? size : pages->len);
        give(block, user);
    }
    return moved;
}

nghttp2_mem sp_h2_memory(struct sp_h2_session *session)
{
    return (nghttp2_mem){session, take, give, take_cleared, resize};
}

void sp_h2_memory_rest(struct sp_h2_session *session)
{
    /* Every frame has left, so nobody will read there before he writes. */
    if (session->frame_pages.at)
        (void)madvise(session->frame_pages.at, session->frame_pages.len, MADV_DONTNEED);
}
