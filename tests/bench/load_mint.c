#include "tests/bench/load_mint.h"

#include "tests/bench/load.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum kind { ROOT, ISSUING, SERVER, CLIENT };

static _Noreturn void die_tls(const char *what)
{
    load_die("%s: %s", what, ERR_reason_error_string(ERR_get_error()));
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!extension || !X509_add_ext(cert, extension, -1))
        die_tls(value);
    X509_EXTENSION_free(extension);
}

static void set_extensions(X509 *cert, X509 *issuer, enum kind kind, const char *name)
{
    char san[128];
    bool ca = kind == ROOT || kind == ISSUING;

    extend(cert, issuer, NID_basic_constraints,
           kind == ROOT ? "critical,CA:TRUE,pathlen:1"
           : ca         ? "critical,CA:TRUE,pathlen:0"
                        : "critical,CA:FALSE");
    extend(cert, issuer, NID_key_usage, ca ? "critical,keyCertSign,cRLSign" : "digitalSignature");
    extend(cert, issuer, NID_subject_key_identifier, "hash");
    if (kind != ROOT)
        extend(cert, issuer, NID_authority_key_identifier, "keyid:always");
    if (ca)
        return;
    extend(cert, issuer, NID_ext_key_usage, kind == SERVER ? "serverAuth" : "clientAuth");
    snprintf(san, sizeof san, "DNS:%s", name);
    extend(cert, issuer, NID_subject_alt_name, san);
}

/* `issuer` NULL: signs itself. The caller owns certificate and key, and the chain is the issuer's:
 * its certificate, where it is not a root. */
static void mint(struct load_identity *identity, const struct load_identity *issuer, enum kind kind,
                 const char *name, unsigned number)
{
    X509 *cert = X509_new();
    X509_NAME *subject;

    identity->key = EVP_EC_gen("P-256");
    if (!cert || !identity->key)
        die_tls("mint");
    X509_set_version(cert, 2);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), 0x10000000ULL + number);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 30L * 24 * 3600);
    subject = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"Bench", -1, -1,
                               0);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer->cert) : subject);
    X509_set_pubkey(cert, identity->key);
    set_extensions(cert, issuer ? issuer->cert : cert, kind, name);
    if (!X509_sign(cert, issuer ? issuer->key : identity->key, EVP_sha256()))
        die_tls("sign");
    identity->cert = cert;
    identity->chain = NULL;
}

static STACK_OF(X509) * chain_of(X509 *intermediate)
{
    STACK_OF(X509) *chain = sk_X509_new_null();

    if (!chain || !sk_X509_push(chain, intermediate))
        load_die("out of memory");
    return chain;
}

void load_identity_fresh(struct load_identity *identity, const struct load_identity *issuer,
                         unsigned number)
{
    char name[64];

    snprintf(name, sizeof name, "client%u.bench.example", number);
    mint(identity, issuer, CLIENT, name, number);
    identity->chain = chain_of(issuer->cert);
}

void load_identity_read(struct load_identity *identity, const char *cert, const char *key)
{
    FILE *in = fopen(cert, "r");
    X509 *next;

    if (!in || !(identity->cert = PEM_read_X509(in, NULL, NULL, NULL)))
        load_die("%s: no certificate", cert);
    identity->chain = sk_X509_new_null();
    while ((next = PEM_read_X509(in, NULL, NULL, NULL)))
        sk_X509_push(identity->chain, next);
    ERR_clear_error();
    fclose(in);
    in = fopen(key, "r");
    if (!in || !(identity->key = PEM_read_PrivateKey(in, NULL, NULL, NULL)))
        load_die("%s: no key", key);
    fclose(in);
}

/* Certificate, the issuer's certificate (not a root's), and key, in one file. */
static void store(const struct load_options *options, const char *folder, unsigned number,
                  const struct load_identity *identity, const struct load_identity *issuer,
                  bool with_key)
{
    char path[4096];
    FILE *out;

    snprintf(path, sizeof path, "%s/%s/%06u.pem", options->out, folder, number);
    out = fopen(path, "w");
    if (!out)
        load_die("%s: cannot be written", path);
    PEM_write_X509(out, identity->cert);
    if (issuer)
        PEM_write_X509(out, issuer->cert);
    if (with_key)
        PEM_write_PKCS8PrivateKey(out, identity->key, NULL, NULL, 0, NULL, NULL);
    if (fclose(out) != 0)
        load_die("%s: cannot be written", path);
}

static void forget(struct load_identity *identity)
{
    X509_free(identity->cert);
    EVP_PKEY_free(identity->key);
}

static void make_folder(const struct load_options *options, const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", options->out, name);
    if (mkdir(path, 0700) < 0)
        load_die("%s: cannot be made", path);
}

/* servers/: every second tenant's own; cas/: roots, tenant t trusts number t % cas; clients/: one
 * for each of the first tenants, under an intermediate of his root. */
void load_mint(const struct load_options *options)
{
    struct load_identity service;
    char name[64];

    if (!options->cert || !options->key || !options->out || !options->cas)
        load_die("mint wants --cert --key --out --cas --count --clients");
    umask(0077);
    load_identity_read(&service, options->cert, options->key);
    make_folder(options, "servers");
    make_folder(options, "cas");
    make_folder(options, "clients");
    for (unsigned t = 0; t < options->count; t += 2) {
        struct load_identity server;

        snprintf(name, sizeof name, "t%06u.secure.example.net", t);
        mint(&server, &service, SERVER, name, t);
        store(options, "servers", t, &server, &service, true);
        forget(&server);
    }
    for (unsigned ca = 0; ca < options->cas; ca++) {
        struct load_identity root, issuing, client;

        snprintf(name, sizeof name, "Bench Root %u", ca);
        mint(&root, NULL, ROOT, name, ca);
        store(options, "cas", ca, &root, NULL, false);
        snprintf(name, sizeof name, "Bench Issuing %u", ca);
        mint(&issuing, &root, ISSUING, name, ca);
        for (unsigned t = ca; t < options->clients && t < options->count; t += options->cas) {
            snprintf(name, sizeof name, "client.t%06u.example", t);
            mint(&client, &issuing, CLIENT, name, t);
            store(options, "clients", t, &client, &issuing, true);
            forget(&client);
        }
        forget(&root);
        forget(&issuing);
    }
}
