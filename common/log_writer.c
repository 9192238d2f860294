#include "common/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define GATHER_MS   5 /* so that lines leave together, and wake the thread once */
#define FIRST_ROOM  (16 * 1024)
#define STUCK_MS    100  /* a pipe that takes nothing for so long loses lines */
#define PATIENCE_MS 2000 /* of who waits for a file that hangs */
#define STACK_SIZE  (128 * 1024)

struct text {
    char *data;
    size_t len, cap;
};

enum state { RUNS, ENDING, ENDED, ABANDONED };

struct sp_log_writer {
    int fd; /* never changes; another file may be put behind it */
    sp_log_notice *notice;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows; never held while writing */
    pthread_cond_t more, written;
    struct text waiting;
    uint64_t put, done;          /* lines, lost ones included */
    unsigned long long overflow; /* lost since `waiting` became full */
    enum state state;
    bool hurry, switched;
    /* The thread's alone: */
    struct text writing;
    char notice_text[SP_LOG_NOTICE_MAX];
    size_t notice_len;
    unsigned long long lost; /* since the last notice */
    bool torn;               /* the last line written was cut: begin a new one */
};

static struct timespec in_ms(long ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += ms % 1000 * 1000000;
    at.tv_sec += ms / 1000 + at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

/* ---- the file ---- */

/* How much of iov was written before the file took no more. */
static size_t write_all(int fd, struct iovec *iov, int count)
{
    size_t done = 0;

    while (count) {
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        ssize_t n = writev(fd, iov, count);

        if (n < 0 && (errno == EINTR || (errno == EAGAIN && poll(&room, 1, STUCK_MS) > 0)))
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
        for (; count && (size_t)n >= iov->iov_len; iov++, count--)
            n -= (ssize_t)iov->iov_len;
        if (count) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return done;
}

static unsigned long long count_lines(const char *text, size_t len)
{
    unsigned long long lines = 0;

    for (const char *end = text + len;
         text < end && (text = memchr(text, '\n', (size_t)(end - text))); text++)
        lines++;
    return lines;
}

/* Writes out what is owed and then the lines, if there are any. */
static void write_out(struct sp_log_writer *w)
{
    const struct text *text = &w->writing;
    char newline[] = "\n";
    struct iovec iov[3] = {
        {newline, w->torn ? 1 : 0}, {w->notice_text, w->notice_len}, {text->data, text->len}};
    size_t debts = iov[0].iov_len + w->notice_len;
    size_t done = write_all(w->fd, iov, 3);

    if (done < debts) {
        /* What a full disk cut off in the middle is closed with a newline before the next line. */
        if (done)
            w->torn = w->notice_len && done > debts - w->notice_len;
        w->lost += count_lines(text->data, text->len);
        return;
    }
    done -= debts;
    w->torn = done && text->data[done - 1] != '\n';
    w->lost = count_lines(text->data + done, text->len - done);
}

/* ---- the thread ---- */

static void wait_for_lines(struct sp_log_writer *w)
{
    struct timespec until;

    while (!w->waiting.len && w->state == RUNS)
        pthread_cond_wait(&w->more, &w->lock);
    until = in_ms(GATHER_MS);
    while (!w->hurry && w->state == RUNS &&
           pthread_cond_timedwait(&w->more, &w->lock, &until) != ETIMEDOUT)
        continue;
}

static void release(struct sp_log_writer *w)
{
    close(w->fd);
    free(w->waiting.data);
    free(w->writing.data);
    pthread_cond_destroy(&w->written);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* What is to be written next, when there is something. The notice is made here, under the lock:
 * who makes it is gone once the writer is abandoned. */
static void take(struct sp_log_writer *w)
{
    w->writing = w->waiting;
    w->waiting = (struct text){.len = 0};
    w->torn = w->torn && !w->switched;
    w->notice_len = w->lost ? w->notice(w->ctx, w->lost, w->notice_text) : 0;
    w->hurry = w->switched = false;
}

/* Until the end, whose round has no lines any more and tells of those that were lost last. */
static void *writer_main(void *arg)
{
    struct sp_log_writer *w = arg;

    pthread_mutex_lock(&w->lock);
    while (w->state < ENDED) {
        unsigned long long overflow;
        uint64_t put;
        bool is_last;

        wait_for_lines(w);
        if (w->state == ABANDONED)
            break;
        take(w);
        is_last = w->state == ENDING && !w->writing.len;
        put = w->put;
        overflow = w->overflow;
        w->overflow = 0;
        pthread_mutex_unlock(&w->lock);
        write_out(w);
        w->lost += overflow;
        free(w->writing.data);
        w->writing = (struct text){.len = 0};
        pthread_mutex_lock(&w->lock);
        w->done = put;
        if (is_last && w->state == ENDING)
            w->state = ENDED;
        pthread_cond_broadcast(&w->written);
    }
    if (w->state == ABANDONED) { /* nobody else has it any more */
        pthread_mutex_unlock(&w->lock);
        release(w);
        return NULL;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int start_thread(struct sp_log_writer *w)
{
    sigset_t all, before;
    pthread_attr_t attr;
    int rc;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the others */
    rc = pthread_create(&w->thread, &attr, writer_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rc;
}

enum sp_err sp_log_writer_new(int fd, sp_log_notice *notice, void *ctx,
                              struct sp_log_writer **ret_writer, struct sp_error *err)
{
    struct sp_log_writer *w = sp_calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    int rc;

    w->fd = fd;
    w->notice = notice;
    w->ctx = ctx;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->more, &monotonic);
    pthread_cond_init(&w->written, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rc = start_thread(w);
    if (rc) {
        w->fd = -1;
        release(w);
        return sp_error_sys(err, rc, "cannot start the thread that writes the log");
    }
    *ret_writer = w;
    return SP_OK;
}

/* ---- who has something to say ---- */

static bool append(struct text *text, const char *line, size_t len)
{
    if (text->len + len > SP_LOG_WAITING_MAX)
        return false;
    if (text->len + len > text->cap) {
        size_t cap = text->cap ? 2 * text->cap : FIRST_ROOM;
        char *data = realloc(text->data, cap);

        if (!data)
            return false;
        text->data = data;
        text->cap = cap;
    }
    memcpy(text->data + text->len, line, len);
    text->len += len;
    return true;
}

void sp_log_writer_put(struct sp_log_writer *w, const char *line, size_t len)
{
    bool is_first, hurry;

    pthread_mutex_lock(&w->lock);
    is_first = !w->waiting.len;
    if (!append(&w->waiting, line, len))
        w->overflow++;
    w->put++;
    hurry = !w->hurry && w->waiting.len > SP_LOG_WAITING_MAX / 4;
    w->hurry = w->hurry || hurry;
    pthread_mutex_unlock(&w->lock);
    if (is_first || hurry)
        pthread_cond_signal(&w->more);
}

static void flush_locked(struct sp_log_writer *w)
{
    struct timespec until = in_ms(PATIENCE_MS);
    uint64_t put = w->put;
    int rc = 0;

    while (w->done < put && rc != ETIMEDOUT) {
        w->hurry = true;
        pthread_cond_signal(&w->more);
        rc = pthread_cond_timedwait(&w->written, &w->lock, &until);
    }
}

void sp_log_writer_flush(struct sp_log_writer *w)
{
    pthread_mutex_lock(&w->lock);
    flush_locked(w);
    pthread_mutex_unlock(&w->lock);
}

int sp_log_writer_switch(struct sp_log_writer *w, int new_fd)
{
    int rc;

    pthread_mutex_lock(&w->lock);
    flush_locked(w);
    do {
        rc = dup3(new_fd, w->fd, O_CLOEXEC) < 0 ? errno : 0;
    } while (rc == EINTR || rc == EBUSY);
    w->switched = w->switched || !rc;
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void sp_log_writer_free(struct sp_log_writer *w)
{
    struct timespec until = in_ms(PATIENCE_MS);
    int rc = 0;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->state = ENDING;
    pthread_cond_signal(&w->more);
    while (w->state != ENDED && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&w->written, &w->lock, &until);
    if (w->state != ENDED) { /* it hangs in a write, for as long as it likes */
        w->state = ABANDONED;
        pthread_detach(w->thread);
        pthread_mutex_unlock(&w->lock);
        return;
    }
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    release(w);
}
