#include "agent/answer.h"

#include "common/error.h"
#include "common/http1.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Accept ---- */

static const struct {
    const char *type, *subtype, *content_type;
} forms[AGENT_FORM_COUNT] = {
    [AGENT_FORM_TEXT] = {"text", "plain", "text/plain; charset=utf-8"},
    [AGENT_FORM_JSON] = {"application", "json", "application/json"},
    [AGENT_FORM_HTML] = {"text", "html", "text/html; charset=utf-8"},
};

/* What has been said about one form so far. */
struct liking {
    unsigned weight; /* thousandths; 0: not wanted */
    int precision;   /* 0: nothing was said; 1: all, 2: type/all, 3: type/subtype */
    unsigned place;  /* of the range in the list */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct sp_http1_span trim(struct sp_http1_span span)
{
    while (span.len && is_blank(span.text[0])) {
        span.text++;
        span.len--;
    }
    while (span.len && is_blank(span.text[span.len - 1]))
        span.len--;
    return span;
}

/* What is before the separator, trimmed; *rest becomes what is behind it. A quoted string is one
 * piece. */
static struct sp_http1_span cut(struct sp_http1_span *rest, char separator)
{
    struct sp_http1_span piece = {rest->text, 0};
    bool quoted = false;

    while (piece.len < rest->len && (quoted || rest->text[piece.len] != separator)) {
        if (quoted && rest->text[piece.len] == '\\' && piece.len + 1 < rest->len)
            piece.len++;
        else if (rest->text[piece.len] == '"')
            quoted = !quoted;
        piece.len++;
    }
    rest->text += piece.len;
    rest->len -= piece.len;
    if (rest->len) {
        rest->text++;
        rest->len--;
    }
    return trim(piece);
}

static bool is_word(struct sp_http1_span span, const char *word)
{
    return span.len == strlen(word) && strncasecmp(span.text, word, span.len) == 0;
}

/* qvalue: 0, 0.5, 0.125, 1, 1.000. False: it is none. */
static bool read_weight(struct sp_http1_span span, unsigned *ret_weight)
{
    unsigned unit = 1000, weight;

    if (!span.len || span.len > 5 || (span.text[0] != '0' && span.text[0] != '1') ||
        (span.len > 1 && span.text[1] != '.'))
        return false;
    weight = (unsigned)(span.text[0] - '0') * unit;
    for (size_t i = 2; i < span.len; i++) {
        unit /= 10;
        if (span.text[i] < '0' || span.text[i] > '9')
            return false;
        weight += (unsigned)(span.text[i] - '0') * unit;
    }
    *ret_weight = weight;
    return weight <= 1000;
}

/* How precisely the range names the form; 0: it does not. A range with parameters of its own
 * (text/html;level=1) names something else than what we have, but for charset. */
static int match(struct sp_http1_span range, int form)
{
    struct sp_http1_span subtype = range;
    struct sp_http1_span type = cut(&subtype, '/');

    subtype = trim(subtype);
    if (is_word(type, "*"))
        return is_word(subtype, "*") ? 1 : 0;
    if (!is_word(type, forms[form].type))
        return 0;
    if (is_word(subtype, "*"))
        return 2;
    return is_word(subtype, forms[form].subtype) ? 3 : 0;
}

/* A member of the list: "text/html;q=0.8". Malformed ones say nothing. */
static void take_range(struct sp_http1_span member, unsigned place, struct liking *likings)
{
    struct sp_http1_span range = cut(&member, ';');
    unsigned weight = 1000;

    while (member.len) {
        struct sp_http1_span value = cut(&member, ';');
        struct sp_http1_span name = cut(&value, '=');

        value = trim(value);
        if (is_word(name, "q") && !read_weight(value, &weight))
            return;
        if (is_word(name, "q"))
            break; /* what follows the weight is no part of the range */
        if (name.len && !is_word(name, "charset"))
            return;
    }
    for (int form = 0; form < AGENT_FORM_COUNT; form++) {
        int precision = match(range, form);

        if (precision > likings[form].precision)
            likings[form] = (struct liking){weight, precision, place};
    }
}

static bool is_better(const struct liking *a, const struct liking *b)
{
    if (a->weight != b->weight)
        return a->weight > b->weight;
    if (a->precision != b->precision)
        return a->precision > b->precision;
    return a->place < b->place;
}

enum agent_form agent_answer_form(const struct sp_http1_head *head)
{
    struct liking likings[AGENT_FORM_COUNT] = {{0}};
    enum agent_form best = AGENT_FORM_TEXT;
    unsigned place = 0;

    for (size_t i = 0; i < head->field_count; i++) {
        struct sp_http1_span rest = head->fields[i].value;

        if (!is_word(head->fields[i].name, "Accept"))
            continue;
        while (rest.len)
            take_range(cut(&rest, ','), ++place, likings);
    }
    for (int form = 0; form < AGENT_FORM_COUNT; form++) {
        if (likings[form].weight && is_better(&likings[form], &likings[best]))
            best = (enum agent_form)form;
    }
    return best;
}

const char *agent_answer_content_type(enum agent_form form)
{
    return forms[form].content_type;
}

/* ---- text ---- */

static void write_escaped(FILE *out, const char *text, bool html)
{
    const char *end = text + strlen(text);
    char step[SP_TEXT_STEP];

    while (text < end) {
        char c = *text;
        size_t len = sp_text_escape(&text, end, step);

        if (html && c == '<')
            fputs("&lt;", out);
        else if (html && c == '>')
            fputs("&gt;", out);
        else if (html && c == '&')
            fputs("&amp;", out);
        else if (html && c == '\'')
            fputs("&#39;", out);
        else if (html && c == '"')
            fputs("&quot;", out);
        else if (c == '"' || c == '\\') /* harmless here: as it is written */
            fputc(c, out);
        else
            fwrite(step, 1, len, out);
    }
}

void agent_answer_html(FILE *out, const char *text)
{
    write_escaped(out, text, true);
}

void agent_answer_text(FILE *out, const char *text)
{
    write_escaped(out, text, false);
}

void agent_answer_page(FILE *out, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
          out);
    agent_answer_html(out, title);
    fputs("</title>\n</head>\n<body>\n<main>\n<h1>", out);
    agent_answer_html(out, title);
    fputs("</h1>\n", out);
}

void agent_answer_page_end(FILE *out)
{
    fputs("</main>\n</body>\n</html>\n", out);
}

void agent_answer_row(FILE *out, const char *heading, const char *text)
{
    if (!text)
        return;
    fprintf(out, "<tr><th scope=\"row\">%s</th><td>", heading);
    agent_answer_html(out, text);
    fputs("</td></tr>\n", out);
}

/* ---- the response ---- */

char *agent_answer_format(const struct agent_answer *answer, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);

    SP_REQUIRE(out);
    fprintf(out,
            "HTTP/1.1 %d %s\r\n"
            "Server: sallyport-agent/%s\r\n"
            "Connection: close\r\n"
            "Content-Type: %s\r\n"
            "Content-Length: %zu\r\n"
            "Cache-Control: no-store\r\n"
            "Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Referrer-Policy: no-referrer\r\n",
            answer->status, sp_http1_phrase(answer->status), SALLYPORT_VERSION,
            forms[answer->form].content_type, answer->body_len);
    if (answer->proxy_status)
        fprintf(out, "Proxy-Status: %s\r\n", answer->proxy_status);
    if (answer->status == 405)
        fputs("Allow: GET, HEAD, CONNECT\r\n", out);
    fputs("\r\n", out);
    if (!answer->head_only && answer->body_len)
        fwrite(answer->body, 1, answer->body_len, out);
    SP_REQUIRE(fclose(out) == 0);
    return text;
}
