/* http1_message, http1_body: any bytes as a request, as a response to some request, and as a body.
 * What is sent on must be read by our own strict parser, with the same framing. */
#include "common/http1_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_same_framing(const struct sp_http1_head *head, const struct sp_http1_head *again)
{
    static const char *const names[] = {"Content-Length", "Transfer-Encoding"};

    for (size_t i = 0; i < 2; i++) {
        unsigned count, count_again;
        const struct sp_http1_field *field = sp_http1_find(head, names[i], &count);
        const struct sp_http1_field *field_again = sp_http1_find(again, names[i], &count_again);

        SP_REQUIRE(count == count_again && count <= 1);
        if (field)
            SP_REQUIRE(field->value.len == field_again->value.len &&
                       memcmp(field->value.text, field_again->value.text, field->value.len) == 0);
    }
}

static void check_request(const uint8_t *data, size_t len)
{
    struct sp_http1_head head, again;
    struct sp_http1_plan plan;
    struct sp_error err = {.text = ""};
    struct sp_buf out;
    unsigned hosts;
    int status = 0;

    if (sp_http1_request_head(data, len, &head, &status, &err) != SP_OK)
        return;
    if (sp_http1_plan(&head, &plan, &status, &err) != SP_OK) {
        SP_REQUIRE((status == 400 || status == 405 || status == 501) && err.text[0]);
        return;
    }
    sp_buf_init(&out, SP_HTTP1_HEAD_MAX + 1024);
    SP_REQUIRE(sp_http1_write_request(&head, &plan, &out) == SP_OK);
    if (out.len <= SP_HTTP1_HEAD_MAX && head.field_count + 3 < SP_HTTP1_FIELDS_MAX) {
        SP_REQUIRE(sp_http1_request_head(sp_buf_data(&out), out.len, &again, &status, &err) ==
                   SP_OK);
        SP_REQUIRE(again.len == out.len);
        SP_REQUIRE(again.target.text[0] == '/' || again.target.text[0] == '*');
        (void)sp_http1_find(&again, "Host", &hosts);
        SP_REQUIRE(hosts == 1);
        SP_REQUIRE(!sp_http1_find(&again, "Proxy-Authorization", NULL));
        SP_REQUIRE(!sp_http1_find(&again, "Upgrade", NULL) == !plan.wants_upgrade);
        check_same_framing(&head, &again);
    }
    sp_buf_done(&out);
}

static void check_response(const uint8_t *data, size_t len, uint8_t choice)
{
    const struct sp_http1_plan plan = {
        .minor = choice & 1, .is_head = (choice & 2) != 0, .wants_upgrade = (choice & 4) != 0};
    struct sp_http1_head head, again;
    struct sp_http1_answer answer;
    struct sp_error err = {.text = ""};
    struct sp_buf out;

    if (sp_http1_response_head(data, len, &head, &err) != SP_OK ||
        sp_http1_judge_answer(&head, &plan, &answer, &err) != SP_OK)
        return;
    sp_buf_init(&out, SP_HTTP1_RESPONSE_MAX + 1024);
    SP_REQUIRE(sp_http1_write_answer(&head, &answer, choice & 8, &out) == SP_OK);
    if (out.len <= SP_HTTP1_RESPONSE_MAX && head.field_count + 2 < SP_HTTP1_FIELDS_MAX) {
        SP_REQUIRE(sp_http1_response_head(sp_buf_data(&out), out.len, &again, &err) == SP_OK);
        SP_REQUIRE(again.len == out.len && again.status == head.status);
        check_same_framing(&head, &again);
    }
    sp_buf_done(&out);
}

/* In one piece and byte by byte: the same end. */
static void check_body(const uint8_t *data, size_t len, uint8_t choice)
{
    struct sp_http1_body whole, bytewise;
    enum sp_http1_framing framing = (enum sp_http1_framing)(choice % 4);
    size_t used, one, sum = 0;
    enum sp_err rc, bytewise_rc = SP_OK;

    sp_http1_body_init(&whole, framing, choice);
    sp_http1_body_init(&bytewise, framing, choice);
    rc = sp_http1_body_scan(&whole, data, len, &used, NULL);
    SP_REQUIRE(used <= len);
    while (bytewise_rc == SP_OK && !bytewise.done && sum < len) {
        bytewise_rc = sp_http1_body_scan(&bytewise, data + sum, 1, &one, NULL);
        sum += one;
    }
    SP_REQUIRE(rc == bytewise_rc && used == sum && whole.done == bytewise.done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *copy;

    if (!len)
        return 0;
    copy = malloc(len);
    memcpy(copy, data + 1, len - 1);
    check_request(copy, len - 1);
    check_response(copy, len - 1, data[0]);
    check_body(copy, len - 1, data[0]);
    free(copy);
    return 0;
}
