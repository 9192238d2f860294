/*
 * stapler_impl: what the files of common/stapler share. stapler.c: who is followed; stapler_ask.c:
 * questions, answers and when; stapler_line.c: whose turn it is. Private to them; loop thread.
 */
#ifndef SALLYPORT_COMMON_STAPLER_IMPL_H
#define SALLYPORT_COMMON_STAPLER_IMPL_H
#include "common/heap.h"
#include "common/stapler.h"
#include "common/tls_ocsp.h"

struct sp_hash;
struct sp_timer;

/* Who is asked. One that hangs must not keep the others waiting. */
struct sp_stapler_responder {
    char *url;
    size_t entries;
    size_t running;
    bool is_silent;                         /* the last question came to nothing */
    struct sp_stapler_entry *first, **last; /* waiting their turn */
    struct sp_stapler_responder *next;      /* in turn */
};

/* A credential that is followed. */
struct sp_stapler_holder {
    struct sp_tls_cred *cred;
    struct sp_stapler_entry *entry;
    uint64_t round; /* the sp_stapler_follow that named it last */
    struct sp_stapler_holder *next;
};

enum sp_stapler_word {
    SP_STAPLER_NOTHING,
    SP_STAPLER_STAPLED,
    SP_STAPLER_FAILING,
    SP_STAPLER_ENDED,
    SP_STAPLER_REVOKED
};

/* One certificate. */
struct sp_stapler_entry {
    struct sp_heap_item ask, end; /* milliseconds since 1970 */
    struct sp_stapler *stapler;
    struct sp_stapler_holder *holders;
    struct sp_stapler_responder
        *responder; /* NULL: there is nobody to ask, or nothing to ask with */
    struct sp_fetch *fetch;
    bool in_line;
    struct sp_stapler_entry *next_in_line;
    uint8_t *response; /* what is stapled; NULL: nothing */
    size_t response_len;
    int64_t expires;       /* of the response */
    int64_t revoked_as_of; /* older good ones are cached or replayed; 0: never was */
    unsigned failures;     /* in a row */
    enum sp_stapler_word said;
    struct sp_stapler_entry *next, **prev;
};

struct sp_stapler {
    struct sp_stapler_options options;
    char *responder;         /* the administrator's; NULL: those of the certificates */
    struct sp_hash *holders; /* by the credential's address: it cannot change while it is held */
    struct sp_hash *by_fingerprint;
    struct sp_stapler_entry *entries;
    struct sp_stapler_responder *responders;
    size_t running;
    uint64_t round;
    struct sp_heap asks, ends;
    struct sp_timer *tick;
    int64_t last_tick_ms;
};

/* stapler_ask.c */

/* False: no file of it has the issuer. */
bool sp_stapler_certificates(const struct sp_stapler_entry *e, struct sp_bytes *ret_cert,
                             struct sp_bytes *ret_issuer);
/* why NULL: it is stapled. Says each thing once, until something else is to be said. */
void sp_stapler_say(struct sp_stapler_entry *e, enum sp_stapler_word what, const char *why);
void sp_stapler_ask_at(struct sp_stapler_entry *e, int64_t at_ms);
/* Does what is due (of a timer: ctx is the stapler), and sets the timer. */
void sp_stapler_tick(void *ctx);

/* stapler_line.c */

void sp_stapler_stand_in_line(struct sp_stapler_entry *e);
struct sp_stapler_entry *sp_stapler_take_first(struct sp_stapler_responder *r);
/* It goes to the end of the row. NULL: nobody waits who may be asked for. */
struct sp_stapler_responder *sp_stapler_next_responder(struct sp_stapler *s);
struct sp_stapler_responder *sp_stapler_responder_of(struct sp_stapler *s, const char *url);
/* From its responder: it neither asks nor waits any more. */
void sp_stapler_part(struct sp_stapler_entry *e);
#endif
