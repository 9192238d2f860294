#include "tests/support/tls_pair.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/mint.h"
#include "common/tls_cred.h"
#include "common/tls_impl.h"

struct tls_world tls_world;

#define GOT_MAX (4 * 1024 * 1024)

uint32_t tls_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- the world ---- */

static struct certs_pair *mint(const char *dn, bool ca, const char *const *dns, unsigned eku,
                               const struct certs_pair *issuer)
{
    const struct certs_spec spec = {.dn = dn, .ca = ca, .path_len = -1, .dns = dns, .eku = eku};
    struct certs_pair *pair = NULL;
    struct sp_error err = {.text = ""};

    ck_assert_msg(certs_mint(&spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

void tls_load(const struct certs_pair *pair, struct sp_tls_cred **ret_cred,
              gnutls_certificate_credentials_t *ret_raw)
{
    char folder[64] = "/tmp/sp-tls-XXXXXX", cert[80], key[80];
    char *cert_pem = certs_pair_chain_pem(pair), *key_pem = certs_pair_key_pem(pair);
    struct sp_error err = {.text = ""};

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(cert, sizeof cert, "%s/cert", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    write_file(cert, cert_pem);
    write_file(key, key_pem);
    if (ret_cred)
        ck_assert_msg(sp_tls_cred_load(cert, key, ret_cred, &err) == SP_OK, "%s", err.text);
    if (ret_raw) {
        ck_assert_int_eq(gnutls_certificate_allocate_credentials(ret_raw), 0);
        ck_assert_int_ge(
            gnutls_certificate_set_x509_key_file(*ret_raw, cert, key, GNUTLS_X509_FMT_PEM), 0);
    }
    unlink(cert);
    unlink(key);
    rmdir(folder);
    free(cert_pem);
    certs_secret_free(key_pem);
}

void tls_world_enter(void)
{
    static const char *const all[] = {TLS_NAME_A, TLS_NAME_A2, TLS_NAME_B, TLS_NAME_O, NULL};
    static const char *const only_b[] = {TLS_NAME_B, NULL};
    struct tls_world *w = &tls_world;
    struct certs_pair *ca = mint("CN=CA", true, NULL, 0, NULL);
    struct certs_pair *server = mint("CN=server", false, all, CERTS_EKU_SERVER, ca);
    struct certs_pair *server_b = mint("CN=server b", false, only_b, CERTS_EKU_SERVER, ca);
    struct sp_error err = {.text = ""};

    w->alice_pair = mint("CN=alice", false, NULL, CERTS_EKU_CLIENT, ca);
    w->bob_pair = mint("CN=bob", false, NULL, CERTS_EKU_CLIENT, ca);
    tls_load(server, &w->server, &w->raw_server);
    tls_load(server_b, &w->server_b, NULL);
    tls_load(w->alice_pair, &w->alice, &w->raw_alice);
    tls_load(w->bob_pair, NULL, &w->raw_bob);
    for (int v = 0; v < 2; v++)
        ck_assert_int_eq(sp_tls_params_new((enum sp_tls_version)v, &w->params[v], &err), SP_OK);
    certs_pair_free(server);
    certs_pair_free(server_b);
    certs_pair_free(ca);
}

void tls_world_leave(void)
{
    struct tls_world *w = &tls_world;

    for (int v = 0; v < 2; v++)
        sp_tls_params_free(w->params[v]);
    sp_tls_cred_unref(w->server);
    sp_tls_cred_unref(w->server_b);
    sp_tls_cred_unref(w->alice);
    gnutls_certificate_free_credentials(w->raw_alice);
    gnutls_certificate_free_credentials(w->raw_bob);
    gnutls_certificate_free_credentials(w->raw_server);
    certs_pair_free(w->alice_pair);
    certs_pair_free(w->bob_pair);
    memset(w, 0, sizeof *w);
}

const uint8_t *tls_ticket_key(const char *name)
{
    static uint8_t keys[2][SP_TICKET_KEY_LEN];
    int which = !strcmp(name, TLS_NAME_B);

    memset(keys[which], 'a' + which, sizeof keys[which]);
    return keys[which];
}

/* ---- our end ---- */

static bool on_hello(void *ctx, const char *name, struct sp_tls_choice *ret_choice)
{
    struct tls_end *end = ctx;

    end->owner.hellos++;
    snprintf(end->owner.name, sizeof end->owner.name, "%s", name ? name : "(none)");
    if (!name || (strcmp(name, TLS_NAME_A) && strcmp(name, TLS_NAME_A2) &&
                  strcmp(name, TLS_NAME_B) && strcmp(name, TLS_NAME_O)))
        return false;
    ret_choice->cred = !strcmp(name, TLS_NAME_B) && !end->owner.one_certificate ? tls_world.server_b
                                                                                : tls_world.server;
    if (end->owner.cred)
        ret_choice->cred = end->owner.cred;
    ret_choice->certificate_optional = !strcmp(name, TLS_NAME_O);
    ret_choice->tickets = !end->owner.no_tickets;
    memcpy(ret_choice->ticket_key, tls_ticket_key(name), SP_TICKET_KEY_LEN);
    return true;
}

static void on_bad_name(void *ctx)
{
    struct tls_end *end = ctx;

    end->owner.bad_names++;
}

static bool leaf_is(const struct sp_chain *chain, const struct certs_pair *pair)
{
    size_t len;
    const uint8_t *der = certs_pair_der(pair, &len);

    return chain->count && chain->certs[0].len == len && !memcmp(chain->certs[0].data, der, len);
}

static enum sp_tls_judgement on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct tls_end *end = ctx;
    struct tls_owner *owner = &end->owner;
    const struct sp_chain *chain = peer->chain;

    ck_assert_int_eq(owner->peers, 0);
    ck_assert(!sp_tls_is_waiting(end->tls));
    owner->asked++;
    owner->chain_count = chain->count;
    owner->resumed = peer->resumed;
    ck_assert_uint_le(peer->staple.len, sizeof owner->staple);
    owner->staple_len = peer->staple.len;
    if (peer->staple.len)
        memcpy(owner->staple, peer->staple.data, peer->staple.len);
    owner->is_alice = leaf_is(chain, tls_world.alice_pair);
    owner->is_bob = leaf_is(chain, tls_world.bob_pair);
    owner->output_at_peer = sp_tls_output(end->tls)->len;
    ck_assert(!sp_tls_is_open(end->tls));
    *ret_alert = owner->alert ? owner->alert : GNUTLS_A_CERTIFICATE_REQUIRED;
    if (owner->asked <= owner->waits)
        return SP_TLS_WAIT;
    owner->peers++;
    return !owner->refuse && (chain->count || owner->accept_nobody) ? SP_TLS_ACCEPT : SP_TLS_REFUSE;
}

static bool on_claim(void *ctx, const struct sp_chain *chain)
{
    struct tls_end *end = ctx;
    struct tls_owner *owner = &end->owner;

    ck_assert(!sp_tls_is_waiting(end->tls));
    ck_assert_int_eq(owner->asked, 0);
    ck_assert_uint_gt(chain->count, 0);
    owner->claims++;
    owner->claim_is_alice = leaf_is(chain, tls_world.alice_pair);
    return owner->claims > owner->claim_waits;
}

static const struct sp_tls_callbacks callbacks = {on_hello, on_bad_name, on_peer, on_claim};

static void end_init(struct tls_end *end)
{
    memset(end, 0, sizeof *end);
    sp_buf_init(&end->got, GOT_MAX);
}

void tls_server(struct tls_end *end, enum sp_tls_version min_version)
{
    struct sp_error err = {.text = ""};

    end_init(end);
    ck_assert_msg(
        sp_tls_server_new(tls_world.params[min_version], &callbacks, end, &end->tls, &err) == SP_OK,
        "%s", err.text);
}

void tls_client(struct tls_end *end, enum sp_tls_version min_version, const char *name,
                struct sp_tls_cred *cred)
{
    const struct sp_tls_client_options options = {name, cred, true};
    struct sp_error err = {.text = ""};

    end_init(end);
    ck_assert_msg(sp_tls_client_new(tls_world.params[min_version], &options, &callbacks, end,
                                    &end->tls, &err) == SP_OK,
                  "%s", err.text);
}

void tls_only_tls12(struct sp_tls_session *client)
{
    ck_assert_int_eq(
        gnutls_priority_set_direct(client->gnutls, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL), 0);
}

void tls_end_done(struct tls_end *end)
{
    sp_tls_free(end->tls);
    sp_buf_done(&end->got);
    end->tls = NULL;
}

static void end_step(struct tls_end *end)
{
    struct sp_bytes data;
    struct sp_error err = {.text = ""};

    for (;;) {
        if (end->park_seed && tls_random(&end->park_seed) % 3 == 0)
            ck_assert_int_eq(sp_tls_park(end->tls, &err), SP_OK);
        switch (sp_tls_step(end->tls, &data, &err)) {
        case SP_TLS_NOTHING:
            sp_tls_release(end->tls);
            return;
        case SP_TLS_OPEN:
            end->opens++;
            break;
        case SP_TLS_DATA:
            ck_assert(sp_tls_is_open(end->tls));
            ck_assert_int_eq(sp_buf_append(&end->got, data.data, data.len), SP_OK);
            break;
        case SP_TLS_EOF:
            end->eofs++;
            break;
        case SP_TLS_FAILED:
            if (!end->failures++)
                end->err = err;
            ck_assert(err.text[0] && !sp_tls_is_open(end->tls));
            ck_assert_int_eq(sp_tls_park(end->tls, &err), SP_OK); /* the bytes are the caller's */
            return;
        }
    }
}

void tls_end_feed(struct tls_end *end, const void *data, size_t len)
{
    const uint8_t *at = data;

    if (!len)
        end_step(end);
    while (len && !end->failures) {
        size_t n = len;
        uint8_t *copy;

        if (end->chop == 1)
            n = 1;
        else if (end->chop)
            n = 1 + tls_random(&end->chop) % (tls_random(&end->chop) % 4 ? 700 : 9);
        n = n < len ? n : len;
        copy =
            malloc(n); /* gone as soon as it need not be there any more: ASan sees who keeps it */
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, at, n);
        sp_tls_feed(end->tls, copy, n);
        end_step(end);
        free(copy);
        at += n;
        len -= n;
    }
}

void tls_end_fin(struct tls_end *end)
{
    sp_tls_feed(end->tls, NULL, 0);
    end_step(end);
}

void tls_end_continue(struct tls_end *end)
{
    sp_tls_continue(end->tls);
    end_step(end);
}

void tls_end_write(struct tls_end *end, const char *text)
{
    struct sp_error err = {.text = ""};

    ck_assert_msg(sp_tls_write(end->tls, text, strlen(text), &err) == SP_OK, "%s", err.text);
}

int tls_end_clear_alert(struct tls_end *end)
{
    const struct sp_buf *out = sp_tls_output(end->tls);
    const uint8_t *last = out->len >= 7 ? sp_buf_data(out) + out->len - 7 : NULL;

    return last && last[0] == 0x15 && last[3] == 0 && last[4] == 2 && last[5] == 2 ? last[6] : -1;
}

/* ---- both ---- */

typedef void (*feed_fn)(void *to, const void *data, size_t len);

static void feed_end(void *to, const void *data, size_t len)
{
    tls_end_feed(to, data, len);
}

static void feed_raw(void *to, const void *data, size_t len)
{
    tls_raw_feed(to, data, len);
}

/* Everything `out` has, in one piece; a failed end's peer still gets its last words. */
static bool move(struct sp_buf *out, feed_fn feed, void *to)
{
    size_t len = out->len;
    uint8_t *copy;

    if (!len)
        return false;
    copy = malloc(len);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, sp_buf_data(out), len);
    sp_buf_consume(out, len);
    feed(to, copy, len);
    free(copy);
    return true;
}

static void meet(struct sp_buf *out_a, feed_fn feed_a, void *a, struct sp_buf *out_b,
                 feed_fn feed_b, void *b)
{
    feed_a(a, "", 0); /* a client begins */
    while (move(out_a, feed_b, b) || move(out_b, feed_a, a))
        ;
}

void tls_meet(struct tls_end *a, struct tls_end *b)
{
    meet(sp_tls_output(a->tls), feed_end, a, sp_tls_output(b->tls), feed_end, b);
}

void tls_meet_raw(struct tls_raw *client, struct tls_end *server)
{
    meet(&client->out, feed_raw, client, sp_tls_output(server->tls), feed_end, server);
}

void tls_meet_raws(struct tls_raw *client, struct tls_raw *server)
{
    meet(&client->out, feed_raw, client, &server->out, feed_raw, server);
}
