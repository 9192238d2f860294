#include "common/tls_rules.h"

#include "common/clock.h"
#include "common/tls_x509.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509-ext.h>
#include <stdio.h>
#include <string.h>

#define DN_TEXT     200
#define NO_END      INT64_C(253402300799) /* 9999-12-31T23:59:59Z, RFC 5280 4.1.2.5 */
#define PATH_CERTS  (SP_CHAIN_MAX_CERTS + 1)
#define TIME_BROKEN (-1)

/* The certificates of the path with the anchor on top; index 0 is the leaf. */
static unsigned with_anchor(const struct sp_tls_path *path, gnutls_x509_crt_t all[PATH_CERTS])
{
    unsigned count = path->count;

    memcpy(all, path->crts, count * sizeof all[0]);
    if (path->anchor && !path->anchor_is_leaf)
        all[count++] = path->anchor;
    return count;
}

/* "" for the leaf, "'CN=...' " for what is above it: the sentence begins with its subject. */
static const char *of_whom(gnutls_x509_crt_t crt, bool is_leaf, char buf[DN_TEXT + 4])
{
    char dn[DN_TEXT];

    buf[0] = '\0';
    if (!is_leaf)
        snprintf(buf, DN_TEXT + 4, "'%s' ", sp_tls_x509_subject(crt, dn, sizeof dn));
    return buf;
}

static int64_t end_of(gnutls_x509_crt_t crt)
{
    time_t end = gnutls_x509_crt_get_expiration_time(crt);

    return end == GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION ? NO_END : (int64_t)end;
}

struct time_count {
    unsigned all, expired, early;
};

static void judge_time(gnutls_x509_crt_t crt, bool is_leaf, int64_t now, struct time_count *count,
                       struct sp_tls_findings *f)
{
    int64_t begin = (int64_t)gnutls_x509_crt_get_activation_time(crt);
    int64_t end = end_of(crt);
    char whose[DN_TEXT + 4], span[SP_TIME_LEN], at[SP_TIME_LEN];

    if (end == TIME_BROKEN || begin == TIME_BROKEN) {
        sp_tls_findings_add(f, SP_REASON_EXPIRED, "%sdoes not say how long it is valid",
                            of_whom(crt, is_leaf, whose));
        return;
    }
    count->all++;
    if (now > end) {
        count->expired++;
        sp_tls_findings_add(f, SP_REASON_EXPIRED, "%sexpired %s ago (%s)",
                            of_whom(crt, is_leaf, whose), sp_time_span(now - end, span),
                            sp_time_format(end, at));
    }
    if (now < begin) {
        count->early++;
        sp_tls_findings_add(f, SP_REASON_NOT_YET_VALID, "%snot valid before %s (in %s)",
                            of_whom(crt, is_leaf, whose), sp_time_format(begin, at),
                            sp_time_span(begin - now, span));
    }
    f->not_before = begin > f->not_before ? begin : f->not_before;
    f->not_after = end < f->not_after ? end : f->not_after;
}

void sp_tls_rules_times(const struct sp_tls_path *path, int64_t now, struct sp_tls_findings *f)
{
    gnutls_x509_crt_t all[PATH_CERTS];
    unsigned count = with_anchor(path, all);
    struct time_count times = {0};
    const char *hint = NULL;
    size_t used;

    for (unsigned i = 0; i < count; i++)
        judge_time(all[i], i == 0, now, &times, f);
    /* One certificate may well have been forgotten; all of them at once is rather the clock. */
    if (times.all > 1 && times.expired == times.all)
        hint = "; every certificate of the chain has expired: is the clock of this machine right?";
    if (times.all > 1 && times.early == times.all)
        hint = "; no certificate of the chain is valid yet: is the clock of this machine right?";
    f->all_times_off = hint;
    if (!hint || (f->detail_of != SP_REASON_EXPIRED && f->detail_of != SP_REASON_NOT_YET_VALID))
        return;
    used = strlen(f->detail);
    snprintf(f->detail + used, sizeof f->detail - used, "%s", hint);
}

void sp_tls_rules_strength(const struct sp_tls_path *path, bool leaf_only, unsigned min_key_bits,
                           struct sp_tls_findings *f)
{
    gnutls_x509_crt_t all[PATH_CERTS];
    unsigned count = with_anchor(path, all);
    char whose[DN_TEXT + 4], buf[128];

    for (unsigned i = 0; i < (leaf_only ? 1 : count); i++) {
        const char *weakness = sp_tls_x509_weak_key(all[i], min_key_bits, buf, sizeof buf);
        bool is_top = i + 1 == count;

        if (!weakness &&
            !(is_top && (path->anchor || gnutls_x509_crt_check_issuer(all[i], all[i]))))
            weakness = sp_tls_x509_weak_signature(all[i], buf, sizeof buf);
        if (weakness)
            sp_tls_findings_add(f, SP_REASON_WEAK_ALGORITHM, "%s%s%s",
                                of_whom(all[i], i == 0, whose),
                                i == 0 ? "" : "is weak: ", weakness);
    }
}

/* GnuTLS compares DNS names, mail and IP addresses; a limit on anything else it does not see. */
static bool is_compared(unsigned type)
{
    return type == GNUTLS_SAN_DNSNAME || type == GNUTLS_SAN_RFC822NAME ||
           type == GNUTLS_SAN_IPADDRESS;
}

typedef int (*subtree_cb)(gnutls_x509_name_constraints_t nc, unsigned index, unsigned *type,
                          gnutls_datum_t *name);

/* Whether one of the subtrees limits names of a kind that nobody compares and that a certificate
 * below has. All have a directory name: their subject. */
static bool limits_unchecked(gnutls_x509_name_constraints_t nc, subtree_cb next,
                             const gnutls_x509_crt_t *below, unsigned below_count)
{
    gnutls_datum_t name;
    unsigned type;

    for (unsigned i = 0; next(nc, i, &type, &name) >= 0; i++) {
        if (type == GNUTLS_SAN_DN)
            return true;
        for (unsigned j = 0; !is_compared(type) && j < below_count; j++)
            if (sp_tls_x509_has_name(below[j], (gnutls_x509_subject_alt_name_t)type))
                return true;
    }
    return false;
}

static void judge_constraints_of(gnutls_x509_crt_t ca, const gnutls_x509_crt_t *below,
                                 unsigned below_count, struct sp_tls_findings *f)
{
    gnutls_x509_name_constraints_t nc;
    char dn[DN_TEXT];
    int rc;

    SP_REQUIRE(gnutls_x509_name_constraints_init(&nc) == 0);
    rc = gnutls_x509_crt_get_name_constraints(ca, nc, 0, NULL);
    if (rc < 0 && rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        sp_tls_findings_add(f, SP_REASON_CONSTRAINT_VIOLATION,
                            "the name constraints of '%s' cannot be read: %s",
                            sp_tls_x509_subject(ca, dn, sizeof dn), gnutls_strerror(rc));
    else if (rc >= 0 &&
             (limits_unchecked(nc, gnutls_x509_name_constraints_get_permitted, below,
                               below_count) ||
              limits_unchecked(nc, gnutls_x509_name_constraints_get_excluded, below, below_count)))
        sp_tls_findings_add(f, SP_REASON_CONSTRAINT_VIOLATION,
                            "'%s' limits names of a kind (directory names, URIs) whose "
                            "constraints cannot be checked",
                            sp_tls_x509_subject(ca, dn, sizeof dn));
    gnutls_x509_name_constraints_deinit(nc);
}

void sp_tls_rules_constraints(const struct sp_tls_path *path, struct sp_tls_findings *f)
{
    gnutls_x509_crt_t all[PATH_CERTS];
    unsigned count = with_anchor(path, all);

    for (unsigned i = 1; i < count; i++)
        judge_constraints_of(all[i], all, i, f);
}

void sp_tls_rules_ca_purpose(const struct sp_tls_path *path, enum sp_purpose purpose,
                             struct sp_tls_findings *f)
{
    gnutls_x509_crt_t all[PATH_CERTS];
    unsigned count = with_anchor(path, all);
    bool client = purpose == SP_PURPOSE_CLIENT;
    char dn[DN_TEXT], has[200];

    for (unsigned i = 1; i < count; i++)
        if (sp_tls_x509_eku(all[i], client ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER,
                            has, sizeof has) == SP_TLS_EKU_LACKS)
            sp_tls_findings_add(f, SP_REASON_WRONG_PURPOSE,
                                "extended key usage of the CA '%s' is %s, %s is wanted",
                                sp_tls_x509_subject(all[i], dn, sizeof dn), has,
                                client ? "clientAuth" : "serverAuth");
}

/* A self-signed version 1 certificate has no extensions to say it is a CA; trusting it said so. */
static bool may_issue(gnutls_x509_crt_t crt, bool is_anchor)
{
    if (gnutls_x509_crt_get_ca_status(crt, NULL) > 0)
        return true;
    return is_anchor && gnutls_x509_crt_get_version(crt) == 1;
}

static void judge_authority(gnutls_x509_crt_t ca, gnutls_x509_crt_t below, bool is_anchor,
                            unsigned cas_below, struct sp_tls_findings *f)
{
    char dn[DN_TEXT], below_dn[DN_TEXT];
    int path_len = -1;
    unsigned usage, critical;

    sp_tls_x509_subject(ca, dn, sizeof dn);
    if (!may_issue(ca, is_anchor))
        sp_tls_findings_add(f, SP_REASON_CONSTRAINT_VIOLATION,
                            "'%s' was issued by '%s', which is not a CA",
                            sp_tls_x509_subject(below, below_dn, sizeof below_dn), dn);
    if (gnutls_x509_crt_get_key_usage(ca, &usage, &critical) >= 0 &&
        !(usage & GNUTLS_KEY_KEY_CERT_SIGN))
        sp_tls_findings_add(f, SP_REASON_CONSTRAINT_VIOLATION,
                            "key usage of '%s' does not let it sign certificates", dn);
    if (gnutls_x509_crt_get_basic_constraints(ca, &critical, NULL, &path_len) >= 0 &&
        path_len >= 0 && cas_below > (unsigned)path_len)
        sp_tls_findings_add(f, SP_REASON_CONSTRAINT_VIOLATION,
                            "'%s' allows a path of %d CAs below it, here are %u", dn, path_len,
                            cas_below);
}

void sp_tls_rules_authority(const struct sp_tls_path *path, struct sp_tls_findings *f)
{
    gnutls_x509_crt_t all[PATH_CERTS];
    unsigned count = with_anchor(path, all);

    for (unsigned i = 1; i < count; i++) {
        /* RFC 5280 4.2.1.9 would not count self-issued ones (a key rolled over); GnuTLS counts
         * them, and what it refuses is refused. */
        judge_authority(all[i], all[i - 1], path->anchor && i + 1 == count, i - 1, f);
    }
}

void sp_tls_rules_names(const struct sp_tls_path *path, struct sp_tls_findings *f)
{
    static const gnutls_x509_subject_alt_name_t types[] = {
        GNUTLS_SAN_DNSNAME, GNUTLS_SAN_RFC822NAME, GNUTLS_SAN_IPADDRESS, GNUTLS_SAN_URI};
    gnutls_x509_crt_t all[PATH_CERTS];
    gnutls_x509_name_constraints_t nc;
    char dn[DN_TEXT];
    bool constrained = false;

    SP_REQUIRE(gnutls_x509_name_constraints_init(&nc) == 0);
    for (unsigned i = with_anchor(path, all); i-- > 1;) {
        int rc = gnutls_x509_crt_get_name_constraints(all[i], nc, GNUTLS_EXT_FLAG_APPEND, NULL);
        bool fits = rc >= 0 || rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE;

        constrained = constrained || rc >= 0;
        for (size_t t = 0; constrained && t < sizeof types / sizeof types[0]; t++)
            /* GnuTLS takes a CA's common name for a host name when it has no other; as its own
             * verification does not, it is not asked. */
            if (i == 1 || sp_tls_x509_has_name(all[i - 1], types[t]))
                fits = fits && gnutls_x509_name_constraints_check_crt(nc, types[t], all[i - 1]);
        if (!fits)
            sp_tls_findings_add(f, SP_REASON_CONSTRAINT_VIOLATION,
                                "a name in '%s' is outside the name constraints of its CAs",
                                sp_tls_x509_subject(all[i - 1], dn, sizeof dn));
    }
    gnutls_x509_name_constraints_deinit(nc);
}
