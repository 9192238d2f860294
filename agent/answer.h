/*
 * answer: what the agent itself says in HTTP, in the form the asker likes: a page for people, JSON
 * for programs, a line of text for whoever said nothing. Refusals (refusal_page.h) and the status
 * (status_page.h) are answers.
 *
 * Text from elsewhere (host names, what a gateway said) is data: agent_answer_html and json_out
 * escape it; nothing else may put it into a page. Pure; any thread.
 */
#ifndef SALLYPORT_AGENT_ANSWER_H
#define SALLYPORT_AGENT_ANSWER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sp_http1_head;

/* In the order in which they are preferred, all else being equal. */
enum agent_form { AGENT_FORM_TEXT, AGENT_FORM_JSON, AGENT_FORM_HTML, AGENT_FORM_COUNT };

/* By the request's Accept (RFC 9110 12.5.1): the form of the highest weight; of several, the one
 * that was named most precisely, then first. None, or nothing that we have: text. */
enum agent_form agent_answer_form(const struct sp_http1_head *head);

const char *agent_answer_content_type(enum agent_form form);

/* Text into HTML, also into an attribute's value in quotes: markup as character references, and
 * what a terminal or a page might obey (controls, bidirectional overrides) as \uXXXX. */
void agent_answer_html(FILE *out, const char *text);
/* Text for a terminal or a text/plain body: the same without the markup, newlines escaped too. */
void agent_answer_text(FILE *out, const char *text);
/* A page's frame: "<!DOCTYPE html>" to the heading, which is the title too; and its end. */
void agent_answer_page(FILE *out, const char *title);
void agent_answer_page_end(FILE *out);
/* One row of a table of two columns: a heading and what belongs to it. NULL: no row. */
void agent_answer_row(FILE *out, const char *heading, const char *text);

struct agent_answer {
    int status;
    enum agent_form form;
    const char *proxy_status; /* NULL: none */
    bool head_only;           /* HEAD asked for it */
    const char *body;
    size_t body_len;
};
/* The whole response, with Connection: close. The caller frees it. */
char *agent_answer_format(const struct agent_answer *answer, size_t *ret_len);
#endif
