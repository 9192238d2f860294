#include "tests/support/forge.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/tls_chain.h"
#include "common/tls_trust.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <gnutls/x509-ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(call) ck_assert_msg((call) >= 0, #call)

static void set_ids(struct forge *f, int i, int issuer)
{
    uint8_t id[64];
    size_t len = sizeof id;

    OK(gnutls_x509_crt_get_key_id(f->crt[i], 0, id, &len));
    OK(gnutls_x509_crt_set_subject_key_id(f->crt[i], id, len));
    if (issuer == i)
        return;
    len = sizeof id;
    if (gnutls_x509_crt_get_subject_key_id(f->crt[issuer], id, &len, NULL) >= 0)
        OK(gnutls_x509_crt_set_authority_key_id(f->crt[i], id, len));
}

/* authorityCertIssuer with a serial number, by hand: gnutls_x509_aki_set_cert_issuer crashes. */
static void set_aki_issuer(gnutls_x509_crt_t crt, const char *dn)
{
    gnutls_datum_t name;
    gnutls_x509_dn_t parsed;
    uint8_t der[128];
    size_t len;

    OK(gnutls_x509_dn_init(&parsed));
    OK(gnutls_x509_dn_set_str(parsed, dn, NULL));
    OK(gnutls_x509_dn_export2(parsed, GNUTLS_X509_FMT_DER, &name));
    len = name.size;
    ck_assert_uint_lt(len, 100); /* so that every length is one byte */
    memcpy(
        der,
        (const uint8_t[]){0x30, (uint8_t)(len + 7), 0xa1, (uint8_t)(len + 2), 0xa4, (uint8_t)len},
        6);
    memcpy(der + 6, name.data, len);
    memcpy(der + 6 + len, "\x82\x01\x01", 3);
    OK(gnutls_x509_crt_set_extension_by_oid(crt, "2.5.29.35", der, len + 9, 0));
    gnutls_x509_dn_deinit(parsed);
    gnutls_free(name.data);
}

static void set_extensions(struct forge *f, int i, const struct forge_form *form, int issuer)
{
    gnutls_x509_crt_t crt = f->crt[i];
    unsigned usage = form->ca ? GNUTLS_KEY_KEY_CERT_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE;

    OK(gnutls_x509_crt_set_basic_constraints(crt, form->ca, form->path_len_plus_1 - 1));
    OK(gnutls_x509_crt_set_key_usage(crt, form->usage ? form->usage : usage));
    if (!form->ca) {
        OK(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0));
        OK(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0));
    }
    if (form->uri)
        OK(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_URI, form->uri,
                                                (unsigned)strlen(form->uri), GNUTLS_FSAN_APPEND));
    if (form->ext)
        OK(gnutls_x509_crt_set_extension_by_oid(crt, form->ext->oid, form->ext->der, form->ext->len,
                                                form->ext->critical));
    if (!form->no_ids)
        set_ids(f, i, issuer);
    if (form->aki_of) {
        uint8_t id[64];
        size_t len = sizeof id;

        OK(gnutls_x509_crt_get_subject_key_id(f->crt[form->aki_of - 1], id, &len, NULL));
        OK(gnutls_x509_crt_set_authority_key_id(crt, id, len));
    }
    if (form->aki_issuer)
        set_aki_issuer(crt, form->aki_issuer);
}

/* The public exponent and the private one change places, which makes a key like any other. */
static void exchange_exponents(gnutls_x509_privkey_t *key)
{
    gnutls_datum_t m, e, d, p, q, u;

    OK(gnutls_x509_privkey_export_rsa_raw(*key, &m, &e, &d, &p, &q, &u));
    gnutls_x509_privkey_deinit(*key);
    OK(gnutls_x509_privkey_init(key));
    OK(gnutls_x509_privkey_import_rsa_raw(*key, &m, &d, &e, &p, &q, &u));
    gnutls_free(m.data);
    gnutls_free(e.data);
    gnutls_free(d.data);
    gnutls_free(p.data);
    gnutls_free(q.data);
    gnutls_free(u.data);
}

int forge_cert(struct forge *f, int issuer, struct forge_form form)
{
    int i = f->count++;
    const uint8_t serial[] = {0, 0x80, (uint8_t)(i + 1)};

    ck_assert_int_lt(i, FORGE_MAX);
    if (!f->now)
        f->now = sp_clock_wall_s();
    issuer = f->issuer[i] = issuer < 0 ? i : issuer;
    OK(gnutls_x509_crt_init(&f->crt[i]));
    OK(gnutls_x509_privkey_init(&f->key[i]));
    if (form.same_key_as)
        OK(gnutls_x509_privkey_cpy(f->key[i], f->key[form.same_key_as - 1]));
    else if (form.rsa)
        OK(gnutls_x509_privkey_generate(f->key[i], GNUTLS_PK_RSA, 2048, 0));
    else
        OK(gnutls_x509_privkey_generate(f->key[i], GNUTLS_PK_ECDSA,
                                        GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    if (form.costly_e)
        exchange_exponents(&f->key[i]);
    OK(gnutls_x509_crt_set_key(f->crt[i], f->key[i]));
    OK(gnutls_x509_crt_set_version(f->crt[i], form.v1 ? 1 : 3));
    OK(gnutls_x509_crt_set_serial(f->crt[i], serial, sizeof serial));
    OK(gnutls_x509_crt_set_activation_time(f->crt[i],
                                           f->now + (form.begin ? form.begin : -FORGE_DAY)));
    OK(gnutls_x509_crt_set_expiration_time(f->crt[i], f->now + (form.end ? form.end : FORGE_DAY)));
    if (form.dn)
        OK(gnutls_x509_crt_set_dn(f->crt[i], form.dn, NULL));
    if (form.cn)
        OK(gnutls_x509_crt_set_dn_by_oid(f->crt[i], GNUTLS_OID_X520_COMMON_NAME, 0, form.cn,
                                         (unsigned)form.cn_len));
    if (!form.v1)
        set_extensions(f, i, &form, issuer);
    f->rsa[i] = form.rsa;
    OK(gnutls_x509_crt_sign2(f->crt[i], f->crt[issuer], f->key[issuer], GNUTLS_DIG_SHA256,
                             f->rsa[issuer] ? GNUTLS_PRIVKEY_SIGN_FLAG_RSA_PSS : 0));
    OK(gnutls_x509_crt_export2(f->crt[i], GNUTLS_X509_FMT_DER, &f->der[i]));
    return i;
}

void forge_undo(struct forge *f)
{
    int i = --f->count;

    gnutls_x509_crt_deinit(f->crt[i]);
    gnutls_x509_privkey_deinit(f->key[i]);
    gnutls_free(f->der[i].data);
}

void forge_free(struct forge *f)
{
    while (f->count)
        forge_undo(f);
}

void forge_chain(const struct forge *f, const int *sent, struct sp_chain *ret_chain)
{
    *ret_chain = (struct sp_chain){.count = 0};
    for (; *sent >= 0; sent++)
        ret_chain->certs[ret_chain->count++] =
            (struct sp_bytes){f->der[*sent].data, f->der[*sent].size};
}

struct sp_tls_trust *forge_trust(const struct forge *f, const int *trusted, size_t count)
{
    char path[] = "/tmp/sp-path-XXXXXX";
    const char *paths[] = {path};
    struct sp_tls_trust *trust = NULL;
    struct sp_error err = {0};
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(write(fd, f->der[trusted[i]].data, f->der[trusted[i]].size),
                         (ssize_t)f->der[trusted[i]].size);
    close(fd);
    ck_assert_msg(sp_tls_trust_load(paths, 1, false, &trust, &err) == SP_OK, "%s", err.text);
    unlink(path);
    return trust;
}
