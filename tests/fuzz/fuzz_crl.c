/*
 * tls_crl_parse: a genuine list that somebody changes, as DER and as PEM, and bytes of any kind.
 * What must hold: a list whose signature is good lists what the genuine one lists, and whatever is
 * read can be looked up.
 */
#include "common/tls_crl_parse.h"

#include "certs/mint.h"
#include "tests/fuzz/mutate.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define NOW     INT64_C(1800000000)
#define REVOKED 3
#define CAS     2 /* one whose signatures are verified over a digest, one over the text */

static struct world {
    struct certs_pair *ca, *revoked[REVOKED];
    struct bytes pem, der;
    gnutls_pubkey_t key;
    struct sp_tls_crl_file *file; /* what the genuine one says */
} worlds[CAS];

static struct certs_pair *mint(bool is_ca, enum certs_key key, const struct certs_pair *issuer)
{
    const struct certs_spec spec = {
        .dn = is_ca ? "CN=CA" : "CN=leaf", .ca = is_ca, .path_len = -1, .key = key};
    struct certs_pair *pair = NULL;
    struct sp_error err;

    SP_REQUIRE(certs_mint(&spec, issuer, &pair, &err) == SP_OK);
    return pair;
}

static gnutls_pubkey_t key_of(const struct certs_pair *pair)
{
    char *pem = certs_pair_certificate_pem(pair);
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_crt_t crt;
    gnutls_pubkey_t key;

    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0 && gnutls_pubkey_init(&key) == 0 &&
               gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM) == 0 &&
               gnutls_pubkey_import_x509(key, crt, 0) == 0);
    gnutls_x509_crt_deinit(crt);
    free(pem);
    return key;
}

static bool is_signed_by(const struct sp_tls_crl *crl, const struct world *w)
{
    if (crl->is_digest)
        return gnutls_pubkey_verify_hash2(w->key, crl->sign, 0, &crl->signed_part,
                                          &crl->signature) >= 0;
    return gnutls_pubkey_verify_data2(w->key, crl->sign, 0, &crl->signed_part, &crl->signature) >=
           0;
}

/* Once a process. */
static void make_world(struct world *w, enum certs_key kind)
{
    gnutls_datum_t text, der;
    struct sp_error err;
    char *pem;

    w->ca = mint(true, kind, NULL);
    w->key = key_of(w->ca);
    for (int i = 0; i < REVOKED; i++)
        w->revoked[i] = mint(false, CERTS_P256, w->ca);
    pem = certs_mint_crl_pem(w->ca, (const struct certs_pair *const *)w->revoked, REVOKED,
                             NOW - 3600, NOW + 3600);
    SP_REQUIRE(pem);
    w->pem = bytes_copy(pem, strlen(pem));
    text = (gnutls_datum_t){(unsigned char *)pem, (unsigned)strlen(pem)};
    SP_REQUIRE(gnutls_pem_base64_decode2("X509 CRL", &text, &der) == 0);
    w->der = bytes_copy(der.data, der.size);
    gnutls_free(der.data);
    free(pem);
    SP_REQUIRE(sp_tls_crl_parse(w->der.data, w->der.len, &w->file, &err) == SP_OK &&
               w->file->count == 1 && w->file->crls[0].count == REVOKED &&
               is_signed_by(&w->file->crls[0], w));
}

static void must_be_genuine(const struct sp_tls_crl *crl, const struct sp_tls_crl *genuine)
{
    SP_REQUIRE(crl->count == genuine->count && crl->this_update == genuine->this_update &&
               crl->next_update == genuine->next_update &&
               crl->issuer.size == genuine->issuer.size &&
               !memcmp(crl->issuer.data, genuine->issuer.data, crl->issuer.size));
    for (size_t i = 0; i < crl->count; i++)
        SP_REQUIRE(!memcmp(&crl->entries[i], &genuine->entries[i], sizeof crl->entries[i]));
}

static void look(const struct sp_tls_crl *crl)
{
    SP_REQUIRE(crl->issuer_text && crl->issuer.data && crl->signature.data &&
               crl->signed_part.data);
    for (size_t i = 0; i < crl->count; i++) {
        const struct sp_tls_crl_entry *one = &crl->entries[i], *found;
        uint8_t padded[SP_TLS_CRL_SERIAL_MAX + 1] = {0};

        SP_REQUIRE(one->len && one->len <= SP_TLS_CRL_SERIAL_MAX);
        memcpy(padded + 1, one->serial, one->len);
        found = sp_tls_crl_find(crl, padded, one->len + 1U);
        SP_REQUIRE(found && found->len == one->len &&
                   !memcmp(found->serial, one->serial, one->len));
        padded[one->len] ^= 1;
        found = sp_tls_crl_find(crl, padded, one->len + 1U);
        SP_REQUIRE(!found || memcmp(found->serial, one->serial, one->len) || one->len == 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, len};
    unsigned mode = script_next(&script);
    const struct world *w = &worlds[mode >> 7];
    struct sp_tls_crl_file *file = NULL;
    struct sp_error err = {.text = ""};
    struct bytes b;

    if (!worlds[0].ca) {
        make_world(&worlds[0], CERTS_P256);
        make_world(&worlds[1], CERTS_ED25519);
    }
    if ((mode & 3) == 0) {
        b = bytes_copy(script.at, script.left);
    } else {
        const struct bytes *from = (mode & 3) == 1 ? &w->pem : &w->der;

        b = bytes_copy(from->data, from->len);
        if (mode & 4) /* two in one file */
            bytes_splice(&b, b.len, 0, from->data, from->len);
        while (script.left)
            bytes_change(&b, &script);
    }
    if (sp_tls_crl_parse(b.data, b.len, &file, &err) == SP_OK) {
        SP_REQUIRE(file && file->count);
        for (size_t i = 0; i < file->count; i++) {
            look(&file->crls[i]);
            if (is_signed_by(&file->crls[i], w))
                must_be_genuine(&file->crls[i], &w->file->crls[0]);
        }
        sp_tls_crl_file_unref(file);
    } else {
        SP_REQUIRE(!file && err.kind != SP_OK && *err.text);
    }
    free(b.data);
    return 0;
}
