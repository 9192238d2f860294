/*
 * tls_ocsp: genuine responses that somebody changes, responses that the responder himself signed
 * after they were changed, and certificates that are changed. What must hold: what is believed was
 * signed as it stands, and says what is answered; what is not believed has its reason.
 */
#include "common/tls_ocsp.h"

#include "certs/mint.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/ocsp_maker.h"

#include <gnutls/gnutls.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define NOW        INT64_C(1800000000)
#define DAY        INT64_C(86400)
#define BASES      16
#define NONCE_SENT 0x10 /* of the mode: a nonce was sent */

static struct certs_pair *ca, *leaf, *leaf2, *delegate;
static struct sp_bytes included, leaf_der;
static struct base {
    struct ocsp_spec spec;
    struct ocsp_entry entries[2];
    enum sp_ocsp_status status;
    struct bytes tbs;
} bases[BASES];
static const uint8_t nonce[16] = "a nonce of ours";

static struct certs_pair *mint(const char *dn, bool is_ca, unsigned eku, struct certs_pair *issuer)
{
    const struct certs_spec spec = {.dn = dn,
                                    .ca = is_ca,
                                    .path_len = -1,
                                    .eku = eku,
                                    .not_before = NOW - DAY,
                                    .not_after = NOW + 9 * DAY,
                                    .ocsp_uri = "http://ocsp.example/"};
    struct certs_pair *pair = NULL;
    struct sp_error err;

    SP_REQUIRE(certs_mint(&spec, issuer, &pair, &err) == SP_OK);
    return pair;
}

static void make_base(struct base *base, unsigned i)
{
    const struct ocsp_entry good = {
        .cert = leaf, .issuer = ca, .this_update = NOW - DAY, .next_update = NOW + DAY};

    base->entries[0] = base->entries[1] = good;
    base->status = SP_OCSP_GOOD;
    base->spec = (struct ocsp_spec){.entries = base->entries,
                                    .count = 1,
                                    .produced_at = NOW - DAY,
                                    .signer = i & 1 ? delegate : ca,
                                    .by_key = i == 2,
                                    .certs = i & 1 ? &included : NULL,
                                    .cert_count = i & 1};
    if (i == 3 || i == 4) {
        base->entries[0].said = OCSP_SAYS_REVOKED;
        base->entries[0].revoked_at = NOW - 2 * DAY;
        base->entries[0].cause = (int)i;
        base->status = SP_OCSP_REVOKED;
    } else if (i == 5) {
        base->entries[0].cert = leaf2;
        base->entries[0].hash = base->entries[1].hash = GNUTLS_DIG_SHA256;
        base->spec.count = 2;
    } else if (i == 6) {
        base->spec.nonce = nonce;
        base->spec.nonce_len = sizeof nonce;
    } else if (i == 7) {
        base->entries[0].said = OCSP_SAYS_UNKNOWN;
        base->status = SP_OCSP_UNKNOWN;
    } else if (i >= 8 && i < 13) {
        base->status = SP_OCSP_INVALID;
        base->entries[0].next_update -= i == 8 ? DAY : 0;
        base->entries[0].this_update += i == 9 ? DAY + 301 : 0;
        base->entries[0].cert = i == 10 ? leaf2 : leaf;
        base->entries[0].critical = i == 11;
        base->spec.critical = i == 12;
        base->entries[0].next_update += i == 9 ? DAY : 0;
    }
    base->tbs.data = ocsp_make_tbs(&base->spec, &base->tbs.len);
}

/* Once a process. */
static void make_world(void)
{
    const struct ocsp_change staple = {
        .oid = "1.3.6.1.5.5.7.1.24", .value = "\x30\x03\x02\x01\x05", .value_len = 5};

    ca = mint("CN=CA", true, 0, NULL);
    leaf = mint("CN=leaf", false, CERTS_EKU_CLIENT, ca);
    leaf2 = mint("CN=leaf2", false, CERTS_EKU_CLIENT, ca);
    delegate = mint("CN=Responder", false, CERTS_EKU_OCSP_SIGNING, ca);
    included = ocsp_der(delegate);
    leaf_der.data = ocsp_reissue(leaf, ca, &staple, &leaf_der.len);
    for (unsigned i = 0; i < BASES; i++)
        make_base(&bases[i], i);
}

static void examine(const struct bytes *response, const struct sp_bytes *cert, unsigned mode,
                    struct sp_ocsp_answer *a)
{
    const struct sp_bytes bytes = {response->data, response->len};
    const struct sp_ocsp_query q = {.cert = *cert,
                                    .issuer = ocsp_der(ca),
                                    .now = NOW,
                                    .max_age_s = mode & 0x20 ? 3 * DAY : 0,
                                    .nonce = nonce,
                                    .nonce_len = mode & NONCE_SENT ? sizeof nonce : 0};

    sp_ocsp_examine(&bytes, &q, a);
    SP_REQUIRE(strlen(a->hash) == 71 && a->cause);
    SP_REQUIRE(!*a->detail == (a->status == SP_OCSP_GOOD || a->status == SP_OCSP_REVOKED));
    if (a->status == SP_OCSP_INVALID)
        return;
    SP_REQUIRE(*a->responder && a->expires > NOW && a->this_update <= NOW + 300 &&
               a->produced_at <= NOW + 300 && (q.max_age_s || a->next_update));
    SP_REQUIRE(!(mode & NONCE_SENT) || memmem(response->data, response->len, nonce, sizeof nonce));
}

/* Believed, so one of the genuine texts stands in it, and says the same. */
static void must_be_genuine(const struct bytes *response, const struct sp_ocsp_answer *a)
{
    bool found = false;

    if (a->status == SP_OCSP_INVALID)
        return;
    for (unsigned i = 0; i < BASES && !found; i++)
        found = a->status == bases[i].status &&
                memmem(response->data, response->len, bases[i].tbs.data, bases[i].tbs.len);
    SP_REQUIRE(found);
}

static void fuzz_cert(struct script *script, const struct base *base, unsigned mode)
{
    struct bytes cert = bytes_copy(leaf_der.data, leaf_der.len), response;
    struct sp_bytes view, issuer = ocsp_der(ca);
    struct sp_ocsp_answer a;
    char url[64];
    uint8_t *request = NULL;
    size_t len;

    while (script->left)
        bytes_change(&cert, script);
    view = (struct sp_bytes){cert.data, cert.len};
    if (sp_ocsp_responder_url(&view, url, sizeof url))
        SP_REQUIRE(strlen(url) < sizeof url && strspn(url, "Hh") == 1 && !strpbrk(url, "\n\r\t "));
    else
        SP_REQUIRE(!*url);
    (void)sp_ocsp_must_staple(&view);
    if (sp_ocsp_request(&view, &issuer, nonce, mode & NONCE_SENT ? 16 : 0, &request, &len, NULL) ==
        SP_OK)
        SP_REQUIRE(len > 60 && request[0] == 0x30);
    free(request);
    response.data = ocsp_make_around(&base->spec, base->tbs.data, base->tbs.len, &response.len);
    examine(&response, &view, mode, &a);
    free(response.data);
    free(cert.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, len};
    unsigned mode = script_next(&script);
    const struct base *base;
    struct sp_ocsp_answer a;
    struct bytes b;
    bool untouched;

    if (!ca)
        make_world();
    base = &bases[mode >> 6 | (mode & 12)];
    switch (mode & 3) {
    case 0: /* the input is the response */
        b = bytes_copy(script.at, script.left);
        examine(&b, &leaf_der, mode, &a);
        must_be_genuine(&b, &a);
        break;
    case 1: /* changed on the way */
        b.data = ocsp_make_around(&base->spec, base->tbs.data, base->tbs.len, &b.len);
        untouched = !script.left && !(mode & NONCE_SENT);
        while (script.left)
            bytes_change(&b, &script);
        examine(&b, &leaf_der, mode, &a);
        SP_REQUIRE(!untouched || a.status == base->status);
        must_be_genuine(&b, &a);
        break;
    case 2: { /* signed like that */
        struct bytes tbs = bytes_copy(base->tbs.data, base->tbs.len);

        while (script.left && tbs.len < 60000)
            bytes_change(&tbs, &script);
        b.data = ocsp_make_around(&base->spec, tbs.data, tbs.len, &b.len);
        examine(&b, &leaf_der, mode, &a);
        free(tbs.data);
        break;
    }
    default:
        fuzz_cert(&script, base, mode);
        return 0;
    }
    free(b.data);
    return 0;
}
