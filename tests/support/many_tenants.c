/*
 * many_tenants FOLDER TENANTS CAS: a gateway with that many tenants, each a file, its own name,
 * every second one with a certificate and key of its own, sharing so many CAs; for tests and
 * measurements.
 *
 *     gateway.json  common.pem .key  service-ca.pem  tenants.d/t000000.json ...
 *     ca/0000.pem ...               trusted by the tenants whose number modulo CAS it is
 *     own/000001.pem .key           of the odd tenants, for t000001.own.example
 *     client/0000.pem .key          a client of that CA (the first 10 CAs)
 * Even tenants have t000000.many.example, covered by the common certificate.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/mint.h"

#define CLIENTS 10

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    size_t len = strlen(text);

    SP_REQUIRE(fd >= 0 && write(fd, text, len) == (ssize_t)len && close(fd) == 0);
}

static struct certs_pair *mint(const char *dn, const char *dns, bool ca, unsigned eku,
                               const struct certs_pair *issuer)
{
    const char *const names[] = {dns, NULL};
    const struct certs_spec spec = {
        .dn = dn, .dns = dns ? names : NULL, .ca = ca, .eku = eku, .path_len = -1};
    struct certs_pair *pair;

    SP_REQUIRE(certs_mint(&spec, issuer, &pair, NULL) == SP_OK);
    return pair;
}

/* stem.pem, and stem.key where one is wanted. */
static void store(const struct certs_pair *pair, const char *stem, bool with_key)
{
    char *pem = certs_pair_certificate_pem(pair), *key = certs_pair_key_pem(pair);
    char path[128];

    snprintf(path, sizeof path, "%s.pem", stem);
    write_file(path, pem, 0644);
    snprintf(path, sizeof path, "%s.key", stem);
    if (with_key)
        write_file(path, key, 0600);
    free(pem);
    certs_secret_free(key);
}

static void write_tenant(unsigned i, unsigned cas, const struct certs_pair *service)
{
    char stem[64], name[64], own[256] = "", text[1024];
    struct certs_pair *pair;

    snprintf(name, sizeof name, "t%06u.%s.example", i, i % 2 ? "own" : "many");
    if (i % 2) {
        snprintf(stem, sizeof stem, "own/%06u", i);
        snprintf(own, sizeof own,
                 "  \"certificate\": \"../own/%06u.pem\",\n"
                 "  \"private_key\": \"../own/%06u.key\",\n",
                 i, i);
        pair = mint("CN=gateway", name, false, CERTS_EKU_SERVER, service);
        store(pair, stem, true);
        certs_pair_free(pair);
    }
    snprintf(text, sizeof text,
             "{\n  \"server_names\": [\"%s\"],\n%s"
             "  \"client_validation\": {\n    \"trusted_cas\": [\"../ca/%04u.pem\"],\n"
             "    \"on_failure\": \"block\"\n  },\n"
             "  \"egress\": { \"allow\": [\"*.c%04u.example:443\", \"127.0.0.1:*\"] },\n"
             "  \"limits\": { \"tunnels\": 100, \"channels\": 2000 }\n}\n",
             name, own, i % cas, i % cas);
    snprintf(stem, sizeof stem, "tenants.d/t%06u.json", i);
    write_file(stem, text, 0644);
}

static void write_cas(unsigned cas)
{
    char stem[64], dn[64];

    for (unsigned i = 0; i < cas; i++) {
        struct certs_pair *ca, *client;

        snprintf(dn, sizeof dn, "CN=Clients %u,O=Many", i);
        ca = mint(dn, NULL, true, 0, NULL);
        snprintf(stem, sizeof stem, "ca/%04u", i);
        store(ca, stem, false);
        if (i < CLIENTS) {
            client = mint("CN=client,O=Many", NULL, false, CERTS_EKU_CLIENT, ca);
            snprintf(stem, sizeof stem, "client/%04u", i);
            store(client, stem, true);
            certs_pair_free(client);
        }
        certs_pair_free(ca);
    }
}

int main(int argc, char **argv)
{
    static const char *const folders[] = {"tenants.d", "ca", "own", "client"};
    unsigned tenants = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
    unsigned cas = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
    struct certs_pair *service, *common;

    if (!tenants || !cas) {
        fprintf(stderr, "usage: many_tenants FOLDER TENANTS CAS\n");
        return 2;
    }
    SP_REQUIRE(mkdir(argv[1], 0755) == 0 || errno == EEXIST);
    SP_REQUIRE(chdir(argv[1]) == 0);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        SP_REQUIRE(mkdir(folders[i], 0755) == 0 || errno == EEXIST);
    service = mint("CN=Service CA", NULL, true, 0, NULL);
    store(service, "service-ca", false);
    common = mint("CN=gateway", "*.many.example", false, CERTS_EKU_SERVER, service);
    store(common, "common", true);
    write_cas(cas);
    for (unsigned i = 0; i < tenants; i++)
        write_tenant(i, cas, service);
    write_file("gateway.json",
               "{\n  \"listen\": [\"127.0.0.1:0\"],\n"
               "  \"common\": { \"server_names\": [\"common.many.example\"],\n"
               "    \"certificate\": \"common.pem\", \"private_key\": \"common.key\" },\n"
               "  \"tenants\": \"tenants.d\",\n  \"log\": { \"format\": \"json\" }\n}\n",
               0644);
    certs_pair_free(common);
    certs_pair_free(service);
    return 0;
}
