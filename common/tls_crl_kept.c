#include "common/tls_crl_kept.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/tls_crl_judged.h"
#include "common/tls_crl_parse.h"

static bool has_known(const struct sp_tls_crl_judged *judged)
{
    for (size_t i = 0; judged && i < judged->file->count; i++)
        if (sp_tls_crl_judged_is_known(judged, i))
            return true;
    return false;
}

static bool is_same_file(const struct sp_tls_crl_judged *judged, const struct sp_tls_crl_file *file)
{
    return judged && !memcmp(judged->file->digest, file->digest, sizeof file->digest);
}

/* ---- what a URL has given ---- */

/* The newest list of that issuer; NULL: none. */
static const struct sp_tls_crl *newest_of(const struct sp_tls_crl_judged *judged,
                                          const gnutls_datum_t *issuer, bool only_known)
{
    const struct sp_tls_crl *best = NULL;

    for (size_t i = 0; i < judged->file->count; i++) {
        const struct sp_tls_crl *crl = &judged->file->crls[i];

        if (crl->issuer.size == issuer->size &&
            (sp_tls_crl_judged_is_known(judged, i) || !only_known) &&
            !memcmp(crl->issuer.data, issuer->data, issuer->size) &&
            (!best || crl->this_update > best->this_update))
            best = crl;
    }
    return best;
}

/* For each list of `old` that is proved there must be one of the same issuer that is not older. */
static enum sp_err check_not_older(const struct sp_tls_crl_judged *next, bool only_known,
                                   const struct sp_tls_crl_judged *old, struct sp_error *err)
{
    char then[SP_TIME_LEN], had[SP_TIME_LEN];

    for (size_t i = 0; old && i < old->file->count; i++) {
        const struct sp_tls_crl *crl = &old->file->crls[i];
        const struct sp_tls_crl *other = newest_of(next, &crl->issuer, only_known);

        if (!sp_tls_crl_judged_is_known(old, i))
            continue;
        if (!other)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "there is no CRL of '%s' in it, as there was before",
                                crl->issuer_text);
        if (other->this_update < crl->this_update)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "the CRL of '%s' in it is of %s, older than the one of %s that was "
                                "there before: it is replayed, or a cache serves what is old",
                                crl->issuer_text, sp_time_format(other->this_update, then),
                                sp_time_format(crl->this_update, had));
    }
    return SP_OK;
}

static enum sp_err check_not_early(const struct sp_tls_crl_file *file, int64_t now,
                                   struct sp_error *err)
{
    char when[SP_TIME_LEN];

    for (size_t i = 0; i < file->count; i++)
        if (file->crls[i].this_update > now)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "the CRL of '%s' in it is from the future (%s): see to the clocks "
                                "of this machine and of the CA",
                                file->crls[i].issuer_text,
                                sp_time_format(file->crls[i].this_update, when));
    return SP_OK;
}

/* Handshakes may have proved it meanwhile. */
static void settle(struct sp_tls_crl_kept *kept)
{
    if (!kept->pending || !has_known(kept->pending) ||
        check_not_older(kept->pending, true, kept->good, NULL) != SP_OK)
        return;
    sp_tls_crl_judged_unref(kept->good);
    kept->good = kept->pending;
    kept->pending = NULL;
}

static void keep(struct sp_tls_crl_kept *kept, struct sp_tls_crl_judged *next)
{
    bool all = true;

    for (size_t i = 0; i < next->file->count; i++)
        all = all && next->signers[i];
    sp_tls_crl_judged_unref(kept->pending);
    kept->pending = NULL;
    if (all) {
        sp_tls_crl_judged_unref(kept->good);
        kept->good = next;
    } else {
        kept->pending = next;
    }
}

enum sp_err sp_tls_crl_kept_offer(struct sp_tls_crl_kept *kept, struct sp_tls_crl_file *file,
                                  struct sp_tls_trust *trust, int64_t now, bool *ret_changed,
                                  struct sp_error *err)
{
    struct sp_tls_crl_judged *next;
    enum sp_err rc;

    settle(kept);
    *ret_changed = false;
    if (is_same_file(kept->pending, file) || (!kept->pending && is_same_file(kept->good, file)))
        return SP_OK;
    rc = check_not_early(file, now, err);
    if (rc == SP_OK)
        rc = sp_tls_crl_judge(file, trust, &next, err);
    if (rc != SP_OK)
        return rc;
    rc = check_not_older(next, false, kept->good, err);
    if (rc == SP_OK)
        rc = check_not_older(next, false, kept->pending, err);
    if (rc != SP_OK) {
        sp_tls_crl_judged_unref(next);
        return rc;
    }
    keep(kept, next);
    sp_tls_crl_kept_why(kept, NULL);
    *ret_changed = true;
    return SP_OK;
}

bool sp_tls_crl_kept_is_known(const struct sp_tls_crl_kept *kept)
{
    return has_known(kept->good) || has_known(kept->pending);
}

int64_t sp_tls_crl_kept_next_update(const struct sp_tls_crl_kept *kept)
{
    const struct sp_tls_crl_judged *judged = kept->pending ? kept->pending : kept->good;
    int64_t earliest = INT64_MIN;

    for (size_t i = 0; judged && i < judged->file->count; i++)
        if (earliest == INT64_MIN || judged->file->crls[i].next_update < earliest)
            earliest = judged->file->crls[i].next_update;
    return earliest;
}

bool sp_tls_crl_kept_equal(const struct sp_tls_crl_kept *a, const struct sp_tls_crl_kept *b)
{
    return a->good == b->good && a->pending == b->pending &&
           !strcmp(a->why ? a->why : "", b->why ? b->why : "");
}

void sp_tls_crl_kept_copy(struct sp_tls_crl_kept *to, const struct sp_tls_crl_kept *from)
{
    *to = (struct sp_tls_crl_kept){
        .good = from->good ? sp_tls_crl_judged_ref(from->good) : NULL,
        .pending = from->pending ? sp_tls_crl_judged_ref(from->pending) : NULL,
        .why = from->why ? sp_strdup(from->why) : NULL,
    };
}

void sp_tls_crl_kept_why(struct sp_tls_crl_kept *kept, const char *why)
{
    free(kept->why);
    kept->why = why ? sp_strdup(why) : NULL;
}

void sp_tls_crl_kept_done(struct sp_tls_crl_kept *kept)
{
    sp_tls_crl_judged_unref(kept->good);
    sp_tls_crl_judged_unref(kept->pending);
    free(kept->why);
    *kept = (struct sp_tls_crl_kept){.good = NULL};
}
