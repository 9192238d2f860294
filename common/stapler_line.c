#include "common/stapler_impl.h"

#include <stdlib.h>
#include <string.h>

#define RUNNING_ONE_MAX 4 /* questions to one responder at a time; 1 while it does not answer */

void sp_stapler_stand_in_line(struct sp_stapler_entry *e)
{
    sp_heap_remove(&e->stapler->asks, &e->ask);
    e->in_line = true;
    e->next_in_line = NULL;
    *e->responder->last = e;
    e->responder->last = &e->next_in_line;
}

struct sp_stapler_entry *sp_stapler_take_first(struct sp_stapler_responder *r)
{
    struct sp_stapler_entry *e = r->first;

    r->first = e->next_in_line;
    if (!r->first)
        r->last = &r->first;
    e->in_line = false;
    return e;
}

static void leave_line(struct sp_stapler_entry *e)
{
    struct sp_stapler_responder *r = e->responder;
    struct sp_stapler_entry **at = &r->first;

    while (*at != e)
        at = &(*at)->next_in_line;
    *at = e->next_in_line;
    if (!*at)
        r->last = at;
    e->in_line = false;
}

struct sp_stapler_responder *sp_stapler_next_responder(struct sp_stapler *s)
{
    struct sp_stapler_responder **at = &s->responders, *found;

    while (*at && (!(*at)->first || (*at)->running >= ((*at)->is_silent ? 1 : RUNNING_ONE_MAX)))
        at = &(*at)->next;
    found = *at;
    if (!found)
        return NULL;
    *at = found->next;
    while (*at)
        at = &(*at)->next;
    *at = found;
    found->next = NULL;
    return found;
}

struct sp_stapler_responder *sp_stapler_responder_of(struct sp_stapler *s, const char *url)
{
    struct sp_stapler_responder *r = s->responders;

    while (r && strcmp(r->url, url) != 0)
        r = r->next;
    if (!r) {
        r = sp_calloc(1, sizeof *r);
        r->url = sp_strdup(url);
        r->last = &r->first;
        r->next = s->responders;
        s->responders = r;
    }
    r->entries++;
    return r;
}

void sp_stapler_part(struct sp_stapler_entry *e)
{
    struct sp_stapler *s = e->stapler;
    struct sp_stapler_responder *r = e->responder, **at = &s->responders;

    sp_heap_remove(&s->asks, &e->ask);
    if (!r)
        return;
    if (e->in_line)
        leave_line(e);
    if (e->fetch) {
        sp_fetch_cancel(e->fetch);
        e->fetch = NULL;
        r->running--;
        s->running--;
    }
    e->responder = NULL;
    if (--r->entries)
        return;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    free(r->url);
    free(r);
}
