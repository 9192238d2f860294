#include "agent/refusal_page.h"

#include "agent/advice.h"
#include "agent/uplink.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/http1.h"
#include "common/json_out.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void agent_refusal_page_id(char ret_id[AGENT_SUPPORT_ID_LEN])
{
    /* Crockford's base32: no I, L, O, U. */
    static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint8_t random[8];
    size_t at = 0;

    SP_REQUIRE(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        if (i == 4)
            ret_id[at++] = '-';
        ret_id[at++] = letters[random[i] % 32];
    }
    ret_id[at] = '\0';
}

/* What there is of it, NULL otherwise. */
static const char *or_null(const char *text)
{
    return text && text[0] ? text : NULL;
}

static const char *advice_of(const struct agent_refusal_page *page)
{
    return or_null(page->advice) ? page->advice : agent_advice_refusal(page->refusal);
}

/* The reason as a sentence: what our modules and the gateway write is a fragment. */
static void write_sentence(FILE *out, const char *text)
{
    char sentence[sizeof((struct agent_refusal *)0)->text + 2];
    size_t len = strlen(text);

    memcpy(sentence, text, len + 1);
    sentence[0] = (char)toupper((unsigned char)sentence[0]);
    if (len && !strchr(".!?", sentence[len - 1]))
        memcpy(sentence + len, ".", 2);
    agent_answer_html(out, sentence);
}

static void write_html(const struct agent_refusal_page *page, FILE *out)
{
    const struct agent_refusal *r = page->refusal;
    char time[SP_TIME_LEN], status[64];

    snprintf(status, sizeof status, "%d %s", r->status, sp_http1_phrase(r->status));
    agent_answer_page(out, r->no_tunnel ? "The gateway cannot be reached"
                                        : "The connection was refused");
    fputs("<p>", out);
    write_sentence(out, r->text);
    fputs("</p>\n<h2>What to do</h2>\n<p>", out);
    agent_answer_html(out, advice_of(page));
    fputs("</p>\n", out);
    if (or_null(page->contact)) {
        fputs("<h2>Whom to ask</h2>\n<p>", out);
        agent_answer_html(out, page->contact);
        fputs("</p>\n<p>Give the support id below: by it, what happened is found in the log.</p>\n",
              out);
    }
    fputs("<h2>Details</h2>\n<table>\n", out);
    agent_answer_row(out, "Support id", or_null(r->support_id));
    agent_answer_row(out, "Destination", page->destination);
    agent_answer_row(out, "Time", sp_time_format(page->time, time));
    agent_answer_row(out, "Status", status);
    agent_answer_row(out, "Error", or_null(r->error));
    fputs("</table>\n<p>This page is from the Sallyport agent on this device, not from the "
          "destination.</p>\n",
          out);
    agent_answer_page_end(out);
}

static void write_json(const struct agent_refusal_page *page, FILE *out)
{
    const struct agent_refusal *r = page->refusal;
    struct sp_json_out json = {.out = out};

    sp_json_out_object(&json, NULL);
    sp_json_out_int(&json, "status", r->status);
    sp_json_out_str(&json, "error", or_null(r->error));
    sp_json_out_str(&json, "reason", r->text);
    sp_json_out_str(&json, "what_to_do", advice_of(page));
    sp_json_out_str(&json, "support_id", or_null(r->support_id));
    sp_json_out_str(&json, "contact", or_null(page->contact));
    sp_json_out_str(&json, "destination", page->destination);
    sp_json_out_time(&json, "time", page->time);
    sp_json_out_object_end(&json);
    fputc('\n', out);
}

/* The first line is the reason alone: what a program shows of it, or what somebody greps for. */
static void write_text(const struct agent_refusal_page *page, FILE *out)
{
    agent_answer_text(out, page->refusal->text);
    fputc('\n', out);
    agent_answer_text(out, advice_of(page));
    fputc('\n', out);
    if (or_null(page->contact)) {
        agent_answer_text(out, page->contact);
        fputc('\n', out);
    }
    if (page->refusal->support_id[0])
        fprintf(out, "support id: %s\n", page->refusal->support_id);
}

char *agent_refusal_page_format(const struct agent_refusal_page *page, size_t *ret_len)
{
    static void (*const writers[AGENT_FORM_COUNT])(const struct agent_refusal_page *, FILE *) = {
        [AGENT_FORM_TEXT] = write_text,
        [AGENT_FORM_JSON] = write_json,
        [AGENT_FORM_HTML] = write_html,
    };
    SP_AUTO_FREE char *body = NULL;
    char proxy_status[SP_PROXY_STATUS_MAX];
    struct agent_answer answer = {
        .status = page->refusal->status, .form = page->form, .head_only = page->head_only};
    FILE *out = open_memstream(&body, &answer.body_len);

    SP_REQUIRE(out);
    writers[page->form](page, out);
    SP_REQUIRE(fclose(out) == 0);
    answer.body = body;
    answer.proxy_status = sp_proxy_status(proxy_status, "sallyport-agent",
                                          or_null(page->refusal->error), page->refusal->text);
    return agent_answer_format(&answer, ret_len);
}
