#include "gateway/balance.h"

#include "common/error.h"
#include "common/loop.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* So many may wait for a worker; beyond them whoever accepts keeps what it has. */
#define WAITING_MAX 64
#define CACHE_LINE  64

struct waiting {
    int fd;
    struct sp_addr peer;
};

struct place {
    alignas(CACHE_LINE) atomic_size_t load; /* connections, those that wait included */
    alignas(CACHE_LINE) pthread_mutex_t lock;
    _Atomic(struct sp_async *) wake; /* NULL: takes no part */
    struct waiting waiting[WAITING_MAX];
    size_t first, count; /* a ring */
};

struct gw_balance {
    struct place *places;
    size_t count;
};

struct gw_balance *gw_balance_new(size_t workers)
{
    struct gw_balance *balance = sp_calloc(1, sizeof *balance);

    balance->places = aligned_alloc(CACHE_LINE, workers * sizeof *balance->places);
    SP_REQUIRE(balance->places);
    for (size_t i = 0; i < workers; i++) {
        balance->places[i] = (struct place){.count = 0};
        pthread_mutex_init(&balance->places[i].lock, NULL);
    }
    balance->count = workers;
    return balance;
}

void gw_balance_free(struct gw_balance *balance)
{
    if (!balance)
        return;
    for (size_t i = 0; i < balance->count; i++)
        pthread_mutex_destroy(&balance->places[i].lock);
    free(balance->places);
    free(balance);
}

void gw_balance_join(struct gw_balance *balance, size_t worker, struct sp_async *wake)
{
    struct place *place = &balance->places[worker];

    pthread_mutex_lock(&place->lock);
    atomic_store(&place->wake, wake); /* whoever gives one holds the lock, so none is sent later */
    pthread_mutex_unlock(&place->lock);
}

void gw_balance_leave(struct gw_balance *balance, size_t worker)
{
    struct sp_addr peer;
    int fd;

    gw_balance_join(balance, worker, NULL);
    while (gw_balance_next(balance, worker, &fd, &peer)) {
        close(fd);
        gw_balance_gone(balance, worker);
    }
}

static size_t load_of(const struct place *place)
{
    return atomic_load_explicit(&place->load, memory_order_relaxed);
}

static bool give(struct place *place, int fd, const struct sp_addr *peer)
{
    struct sp_async *wake;
    bool taken;

    pthread_mutex_lock(&place->lock);
    wake = atomic_load(&place->wake);
    taken = wake && place->count < WAITING_MAX;
    if (taken) {
        place->waiting[(place->first + place->count++) % WAITING_MAX] = (struct waiting){fd, *peer};
        atomic_fetch_add_explicit(&place->load, 1, memory_order_relaxed);
        sp_async_send(wake);
    }
    pthread_mutex_unlock(&place->lock);
    return taken;
}

bool gw_balance_keeps(struct gw_balance *balance, size_t worker, int fd, const struct sp_addr *peer)
{
    struct place *own = &balance->places[worker], *least = own;

    for (size_t i = 0; i < balance->count; i++) {
        struct place *place = &balance->places[i];

        if (load_of(place) < load_of(least) && atomic_load(&place->wake))
            least = place;
    }
    if (least != own && give(least, fd, peer))
        return false;
    atomic_fetch_add_explicit(&own->load, 1, memory_order_relaxed);
    return true;
}

bool gw_balance_next(struct gw_balance *balance, size_t worker, int *ret_fd,
                     struct sp_addr *ret_peer)
{
    struct place *place = &balance->places[worker];
    bool found;

    pthread_mutex_lock(&place->lock);
    found = place->count > 0;
    if (found) {
        const struct waiting *next = &place->waiting[place->first];

        *ret_fd = next->fd;
        *ret_peer = next->peer;
        place->first = (place->first + 1) % WAITING_MAX;
        place->count--;
    }
    pthread_mutex_unlock(&place->lock);
    return found;
}

void gw_balance_gone(struct gw_balance *balance, size_t worker)
{
    atomic_fetch_sub_explicit(&balance->places[worker].load, 1, memory_order_relaxed);
}
