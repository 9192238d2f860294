/*
 * tls_session: a server, an honest client, and somebody between them. The input is what that one
 * does: pass on, change, cut, add. So the fuzzer gets past the ClientHello, which random bytes
 * alone never do. What must hold: nobody gets in but with alice's proved key, and on_peer's word.
 */
#include "common/tls_session.h"

#include "certs/mint.h"
#include "common/addr.h"
#include "common/tls_cred.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct sp_tls_params *params[2];
static struct sp_tls_cred *cred;
static struct certs_pair *pair;

struct end {
    struct sp_tls_session *tls;
    int hellos, bad_names, peers;
    int waits, claim_waits;
    uint8_t sum;
    bool accepted, over, told_open;
};

/* The input, read from its front. */
struct script {
    const uint8_t *at;
    size_t left;
};

static unsigned next(struct script *script)
{
    if (!script->left)
        return 0;
    script->left--;
    return *script->at++;
}

static void write_key_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    SP_REQUIRE(file && fputs(text, file) >= 0 && fclose(file) == 0 && chmod(path, 0600) == 0);
}

/* One self-signed pair is server and client; once a process. */
static void make_world(void)
{
    static const char *const dns[] = {"a.example", NULL};
    const struct certs_spec spec = {.dn = "CN=alice", .dns = dns, .path_len = -1};
    char folder[] = "/tmp/sp-fuzz-XXXXXX", cert[64], key[64];
    char *cert_pem, *key_pem;
    struct sp_error err;

    SP_REQUIRE(certs_mint(&spec, NULL, &pair, &err) == SP_OK && mkdtemp(folder));
    cert_pem = certs_pair_certificate_pem(pair);
    key_pem = certs_pair_key_pem(pair);
    snprintf(cert, sizeof cert, "%s/cert", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    write_key_file(cert, cert_pem);
    write_key_file(key, key_pem);
    SP_REQUIRE(sp_tls_cred_load(cert, key, &cred, &err) == SP_OK);
    for (int v = 0; v < 2; v++)
        SP_REQUIRE(sp_tls_params_new((enum sp_tls_version)v, &params[v], &err) == SP_OK);
    unlink(cert);
    unlink(key);
    rmdir(folder);
    free(cert_pem);
    certs_secret_free(key_pem);
}

static bool on_hello(void *ctx, const char *name, struct sp_tls_choice *ret_choice)
{
    struct end *end = ctx;
    char folded[SP_HOST_MAX + 1];

    SP_REQUIRE(!end->hellos++ && !end->bad_names);
    if (!name)
        return false;
    SP_REQUIRE(sp_host_fold(name, strlen(name), folded) && !strcmp(name, folded));
    ret_choice->cred = cred;
    ret_choice->tickets = true;
    ret_choice->certificate_optional = name[0] == 'b';
    return true;
}

static void on_bad_name(void *ctx)
{
    struct end *end = ctx;

    SP_REQUIRE(!end->bad_names++ && !end->hellos);
}

static enum sp_tls_judgement on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct end *end = ctx;
    size_t len;
    const uint8_t *der = certs_pair_der(pair, &len);

    SP_REQUIRE(!end->peers && !peer->resumed && !sp_tls_is_waiting(end->tls));
    *ret_alert = 116;
    if (end->waits) {
        end->waits--;
        return SP_TLS_WAIT;
    }
    end->peers++;
    if (!peer->chain->count)
        return SP_TLS_REFUSE;
    SP_REQUIRE(peer->chain->certs[0].len == len && !memcmp(peer->chain->certs[0].data, der, len));
    for (size_t i = 0; i < peer->staple.len; i++) /* ASan looks at each */
        end->sum ^= peer->staple.data[i];
    end->accepted = true;
    return SP_TLS_ACCEPT;
}

static bool on_claim(void *ctx, const struct sp_chain *chain)
{
    struct end *end = ctx;

    SP_REQUIRE(!end->peers && chain->count && !sp_tls_is_waiting(end->tls));
    if (!end->claim_waits)
        return true;
    end->claim_waits--;
    return false;
}

static const struct sp_tls_callbacks callbacks = {on_hello, on_bad_name, on_peer, on_claim};

static void step(struct end *end)
{
    struct sp_bytes data;
    struct sp_error err;
    uint8_t sum = 0;

    while (!end->over) {
        switch (sp_tls_step(end->tls, &data, &err)) {
        case SP_TLS_NOTHING:
            return;
        case SP_TLS_OPEN:
            SP_REQUIRE(end->accepted && !end->told_open && sp_tls_is_open(end->tls));
            end->told_open = true;
            SP_REQUIRE(sp_tls_write(end->tls, "hello", 5, &err) == SP_OK);
            break;
        case SP_TLS_DATA:
            SP_REQUIRE(end->told_open);
            for (size_t i = 0; i < data.len; i++)
                sum ^= data.data[i];
            (void)sum;
            break;
        case SP_TLS_EOF:
            SP_REQUIRE(end->told_open);
            break;
        case SP_TLS_FAILED:
            SP_REQUIRE(err.kind != SP_OK && !sp_tls_is_open(end->tls));
            SP_REQUIRE(sp_tls_park(end->tls, &err) == SP_OK);
            end->over = true;
        }
    }
}

static void feed(struct end *end, const uint8_t *data, size_t len)
{
    uint8_t *copy;

    if (end->over || !len)
        return;
    copy = malloc(len); /* of exactly this size, and gone when it need not be there any more */
    SP_REQUIRE(copy);
    memcpy(copy, data, len);
    sp_tls_feed(end->tls, copy, len);
    step(end);
    free(copy);
}

/* What `from` has to say reaches `to` changed by up to three bytes, and perhaps not all of it. */
static void pass(struct script *script, struct end *from, struct end *to, unsigned op)
{
    struct sp_buf *out = sp_tls_output(from->tls);
    size_t len = out->len;
    uint8_t *data;

    if (op & 0x08 && len)
        len = 1 + (next(script) << 8 | next(script)) % len;
    if (!len)
        return;
    data = malloc(len);
    SP_REQUIRE(data);
    memcpy(data, sp_buf_data(out), len);
    sp_buf_consume(out, len);
    for (unsigned changes = op >> 6; changes; changes--)
        data[(next(script) << 8 | next(script)) % len] ^= (uint8_t)next(script);
    feed(to, data, len);
    free(data);
}

static void add(struct script *script, struct end *to)
{
    size_t len = next(script);

    len = len < script->left ? len : script->left;
    feed(to, script->at, len);
    script->at += len;
    script->left -= len;
}

static void act(struct script *script, struct end *ends)
{
    unsigned op = next(script);
    struct end *from = &ends[op & 1], *to = &ends[!(op & 1)];
    struct sp_error err;

    switch (op >> 1 & 3) {
    case 0:
    case 1:
        pass(script, from, to, op);
        break;
    case 2:
        add(script, to);
        break;
    case 3:
        if (to->over)
            break;
        if (op & 0x40) {
            sp_tls_continue(to->tls);
            step(to);
        } else if (op & 0x10) {
            sp_tls_close_notify(to->tls);
        } else if (op & 0x20) {
            SP_REQUIRE(sp_tls_park(to->tls, &err) == SP_OK);
        } else {
            sp_tls_feed(to->tls, NULL, 0);
            step(to);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const names[] = {"a.example", "B.Example.", "127.0.0.1", "a.example"};
    struct script script = {data, len};
    unsigned mode = next(&script);
    const struct sp_tls_client_options options = {names[mode >> 2 & 3], mode & 16 ? NULL : cred,
                                                  mode & 32};
    struct end ends[2] = {{0}, {0}}; /* server, client */
    struct sp_error err;

    if (!cred)
        make_world();
    SP_REQUIRE(sp_tls_server_new(params[mode & 1], &callbacks, &ends[0], &ends[0].tls, &err) ==
               SP_OK);
    SP_REQUIRE(sp_tls_client_new(params[mode >> 1 & 1], &options, &callbacks, &ends[1],
                                 &ends[1].tls, &err) == SP_OK);
    for (int i = 0; i < 2; i++)
        ends[i].waits = ends[i].claim_waits = mode >> (6 + i) & 1;
    step(&ends[1]); /* the ClientHello */
    while (script.left)
        act(&script, ends);
    for (int i = 0; i < 2; i++) {
        if (ends[i].over)
            SP_REQUIRE(!sp_tls_is_open(ends[i].tls));
        sp_tls_free(ends[i].tls);
    }
    return 0;
}
