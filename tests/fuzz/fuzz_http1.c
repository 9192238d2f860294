/* http1: any bytes as a request head, as a Proxy-Status value and as text in replies. */
#include "common/http1.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool is_known_status(int status)
{
    return status == 400 || status == 405 || status == 414 || status == 431 || status == 505;
}

static void check_good(const uint8_t *data, size_t len, const struct sp_http1_request *request)
{
    struct sp_http1_request again;
    struct sp_target target;
    char text[SP_TARGET_TEXT];
    int status = 0;
    size_t head_len = request->head_len;

    SP_REQUIRE(request->is_connect && strcmp(request->method, "CONNECT") == 0);
    SP_REQUIRE(head_len >= 4 && head_len <= len && head_len <= SP_HTTP1_HEAD_MAX);
    SP_REQUIRE(memcmp(data + head_len - 4, "\r\n\r\n", 4) == 0);
    SP_REQUIRE(!memchr(data, '\0', head_len));
    SP_REQUIRE(sp_http1_parse(data, head_len, &again, &status, NULL) == SP_OK);
    SP_REQUIRE(again.head_len == head_len);
    SP_REQUIRE(sp_http1_parse(data, head_len - 1, &again, &status, NULL) == SP_AGAIN);
    sp_target_format(&request->target, text);
    SP_REQUIRE(sp_target_parse(text, strlen(text), &target, NULL) == SP_OK);
    SP_REQUIRE(strcmp(target.host, request->target.host) == 0 &&
               target.port == request->target.port);
}

static void check_head(const uint8_t *data, size_t len)
{
    struct sp_http1_request request;
    struct sp_error err = {.kind = SP_OK};
    int status = 0;
    size_t part = len ? data[len - 1] * len / 256 : 0;
    enum sp_err rc = sp_http1_parse(data, len, &request, &status, &err);
    enum sp_err part_rc;

    if (rc == SP_OK) {
        check_good(data, len, &request);
    } else if (rc == SP_ERR_HTTP) {
        SP_REQUIRE(is_known_status(status) && err.kind == SP_ERR_HTTP && err.text[0]);
        SP_REQUIRE(sp_http1_phrase(status)[0]);
    } else {
        SP_REQUIRE(rc == SP_AGAIN && len < SP_HTTP1_HEAD_MAX);
    }
    /* A verdict stands, whatever comes behind. */
    part_rc = sp_http1_parse(data, part, &request, &status, NULL);
    SP_REQUIRE(part_rc == SP_AGAIN || part_rc == rc);
}

static void check_proxy_status(const char *text)
{
    char buf[SP_PROXY_STATUS_MAX], type[32], details[SP_PROXY_STATUS_MAX];
    char small[4];

    sp_proxy_status_parse(text, type, sizeof type, details, sizeof details);
    sp_proxy_status_parse(text, small, sizeof small, small, 1);
    sp_proxy_status(buf, text, text, text);
    SP_REQUIRE(strlen(buf) < sizeof buf);
    sp_proxy_status(buf, "gw", "dns_error", text);
    sp_proxy_status_parse(buf, type, sizeof type, details, sizeof details);
    SP_REQUIRE(strcmp(type, "dns_error") == 0);
    for (size_t i = 0; details[i]; i++)
        SP_REQUIRE(details[i] == text[i] || details[i] == '?');
    SP_REQUIRE(strlen(details) == strlen(text) || strlen(buf) >= sizeof buf - 2);
}

static void check_refusal(const char *text, size_t buf_len)
{
    char *buf = malloc(buf_len);
    size_t len = sp_http1_refusal(buf, buf_len, 400, text, text);
    const char *body;

    SP_REQUIRE(len < buf_len || !len);
    if (len) {
        body = strstr(buf, "\r\n\r\n");
        SP_REQUIRE(strlen(buf) == len && body);
        SP_REQUIRE(strtoul(strstr(buf, "Content-Length: ") + 16, NULL, 10) == strlen(body + 4));
    }
    free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = malloc(len + 1);

    if (len)
        memcpy(text, data, len);
    text[len] = '\0';
    check_head(data, len);
    check_proxy_status(text);
    check_refusal(text, len ? 1 + data[0] * 4 : 1);
    free(text);
    return 0;
}
