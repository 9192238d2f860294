#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t sp_clock_wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t sp_clock_wall_s(void)
{
    return (int64_t)time(NULL);
}

const char *sp_time_format(int64_t seconds, char buf[SP_TIME_LEN])
{
    time_t t = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&t, &tm) || !strftime(buf, SP_TIME_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(buf, SP_TIME_LEN, "@%" PRId64, seconds);
    return buf;
}

/* The second a thread wrote last, which is mostly the one it writes next. */
struct second {
    time_t t;
    char text[SP_TIME_LEN - sizeof ".000Z"];
    size_t len; /* 0: none, or a year beyond what fits */
};

static const struct second *second_of(time_t t)
{
    static _Thread_local struct second last;
    struct tm tm;

    if (last.len && last.t == t)
        return &last;
    last.t = t;
    last.len = 0;
    if (gmtime_r(&t, &tm))
        last.len = strftime(last.text, sizeof last.text, "%Y-%m-%dT%H:%M:%S", &tm);
    return &last;
}

const char *sp_time_format_ms(int64_t milliseconds, char buf[SP_TIME_LEN])
{
    int rest = (int)(milliseconds % 1000);
    /* rounds down before 1970 as well */
    const struct second *second = second_of((time_t)(milliseconds / 1000 - (rest < 0)));
    char *end = buf + second->len;

    rest += rest < 0 ? 1000 : 0;
    memcpy(buf, second->text, second->len);
    *end++ = '.';
    *end++ = (char)('0' + rest / 100);
    *end++ = (char)('0' + rest / 10 % 10);
    *end++ = (char)('0' + rest % 10);
    *end++ = 'Z';
    *end = '\0';
    return buf;
}

bool sp_time_parse(const char *text, int64_t *ret_seconds)
{
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    char again[SP_TIME_LEN];
    struct tm tm = {.tm_isdst = 0};
    int64_t seconds;

    for (size_t i = 0; i < sizeof form; i++) /* the NUL included */
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    if (sscanf(text, "%d-%d-%dT%d:%d:%dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec) != 6)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    seconds = (int64_t)timegm(&tm);
    /* timegm makes 2 March of 30 February: only what comes out again is a date. */
    if (seconds < 0 || strcmp(sp_time_format(seconds, again), text) != 0)
        return false;
    *ret_seconds = seconds;
    return true;
}

const char *sp_time_span(int64_t seconds, char buf[SP_TIME_LEN])
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    uint64_t span = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
    size_t unit = 0;

    while (unit < 3 && span < (uint64_t)units[unit].seconds)
        unit++;
    span /= (uint64_t)units[unit].seconds;
    snprintf(buf, SP_TIME_LEN, "%" PRIu64 " %s%s", span, units[unit].name, span == 1 ? "" : "s");
    return buf;
}

uint64_t sp_clock_thread_us(void)
{
    struct timespec spent;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}
