/*
 * staple_client: a client of the gateway that staples whatever it is given for its certificate,
 * true or not, as no honest program would:
 *
 *     staple_client PORT SERVER_NAME CERTIFICATE KEY STAPLE_FILE
 *
 * Prints "ok" when it was let in (its HTTP/1.1 request got an answer), otherwise the name of the
 * gateway's alert, or what else went wrong.
 */
#include "common/file.h"
#include "common/tls_cred.h"
#include "common/tls_session.h"
#include "common/verdict.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char request[] = "OPTIONS * HTTP/1.1\r\nHost: probe\r\n\r\n";

static enum sp_tls_judgement on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    (void)ctx;
    (void)peer;
    (void)ret_alert;
    return SP_TLS_ACCEPT;
}

static int connect_to(unsigned port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        perror("connect");
        exit(2);
    }
    return fd;
}

static void flush(int fd, struct sp_tls_session *tls)
{
    struct sp_buf *out = sp_tls_output(tls);

    while (out->len) {
        ssize_t sent = send(fd, sp_buf_data(out), out->len, MSG_NOSIGNAL);

        if (sent <= 0)
            return; /* what the peer said before it went is still to be read */
        sp_buf_consume(out, (size_t)sent);
    }
}

/* True: it is over, and *ret_word says how. */
static bool step(struct sp_tls_session *tls, const char **ret_word)
{
    static struct sp_error err;
    struct sp_bytes data;

    for (;;) {
        switch (sp_tls_step(tls, &data, &err)) {
        case SP_TLS_NOTHING:
            return false;
        case SP_TLS_OPEN:
            if (sp_tls_write(tls, request, sizeof request - 1, &err) != SP_OK) {
                *ret_word = err.text;
                return true;
            }
            break;
        case SP_TLS_DATA:
            *ret_word = "ok";
            return true;
        case SP_TLS_EOF:
            *ret_word = "closed";
            return true;
        case SP_TLS_FAILED:
            *ret_word = err.kind == SP_ERR_PEER_ALERT ? sp_alert_name(err.code) : err.text;
            return true;
        }
    }
}

static const char *talk(int fd, struct sp_tls_session *tls)
{
    const char *word = NULL;
    uint8_t in[16384];
    ssize_t got;

    while (!step(tls, &word)) {
        flush(fd, tls);
        got = recv(fd, in, sizeof in, 0);
        sp_tls_feed(tls, in, got > 0 ? (size_t)got : 0);
    }
    return word;
}

int main(int argc, char **argv)
{
    const struct sp_tls_callbacks callbacks = {.on_peer = on_peer};
    struct sp_tls_client_options options = {.offer_h2 = false};
    struct sp_tls_session *tls;
    struct sp_tls_params *params;
    struct sp_file staple;
    struct sp_error err;
    int fd;

    if (argc != 6)
        return 2;
    options.server_name = argv[2];
    if (sp_tls_cred_load(argv[3], argv[4], &options.cred, &err) != SP_OK ||
        sp_file_read(argv[5], 1 << 20, &staple, &err) != SP_OK ||
        sp_tls_params_new(SP_TLS_1_3, &params, &err) != SP_OK) {
        fprintf(stderr, "%s: %s\n", err.where, err.text);
        return 2;
    }
    sp_tls_cred_set_staple(options.cred, staple.data, staple.len);
    sp_file_done(&staple);
    if (sp_tls_client_new(params, &options, &callbacks, NULL, &tls, &err) != SP_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    fd = connect_to((unsigned)atoi(argv[1]));
    puts(talk(fd, tls));
    close(fd);
    sp_tls_free(tls);
    sp_tls_params_free(params);
    sp_tls_cred_unref(options.cred);
    return 0;
}
