/*
 * scratch: a folder of one test's own, and other programs (openssl) as judges of what is in it.
 * Header only. The folder goes when scratch_free is called: a failed test leaves it to be looked
 * at.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_SCRATCH_H
#define SALLYPORT_TESTS_SUPPORT_SCRATCH_H
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SCRATCH_TEXT 65536

struct scratch {
    char path[256];
    char output[SCRATCH_TEXT]; /* of the last scratch_run, both streams */
};

static inline struct scratch *scratch_new(void)
{
    struct scratch *s = calloc(1, sizeof *s);
    const char *base = getenv("TMPDIR");

    ck_assert_ptr_nonnull(s);
    snprintf(s->path, sizeof s->path, "%.200s/sallyport-test-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(s->path));
    return s;
}

/* Runs a shell command inside the folder; returns its exit status. */
static inline int __attribute__((format(printf, 2, 3)))
scratch_run(struct scratch *s, const char *fmt, ...)
{
    char command[4096];
    int used = snprintf(command, sizeof command, "cd '%s' && exec 2>&1 && ", s->path);
    size_t len = 0;
    va_list args;
    FILE *pipe;
    int status;

    va_start(args, fmt);
    vsnprintf(command + used, sizeof command - (size_t)used, fmt, args);
    va_end(args);
    pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    while (len < sizeof s->output - 1) {
        size_t n = fread(s->output + len, 1, sizeof s->output - 1 - len, pipe);

        if (!n)
            break;
        len += n;
    }
    s->output[len] = '\0';
    status = pclose(pipe);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void scratch_write(struct scratch *s, const char *name, const char *text)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", s->path, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void scratch_free(struct scratch *s)
{
    char command[512];

    snprintf(command, sizeof command, "rm -rf '%s'", s->path);
    ck_assert_int_eq(system(command), 0);
    free(s);
}
#endif
