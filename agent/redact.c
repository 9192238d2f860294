#include "agent/redact.h"

#include "common/error.h"
#include "common/json_bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What ends a word in a line of text, of JSON or in a configuration. */
#define SPACES " \t\r\n\"'<>,{}[]"

/* "://user:secret@": the secret may have any character of a word in it, an '@' too, so all up to
 * the last one of the word goes. Returns what follows. */
static const char *skip_user(const char *text, FILE *out)
{
    size_t len = strcspn(text, SPACES);
    const char *at = memrchr(text, '@', len);

    if (!at)
        return text;
    fputs(AGENT_REDACTED, out);
    return at;
}

/* The value behind "pin-value=": to the end of the attribute. */
static const char *skip_value(const char *text, FILE *out)
{
    fputs(AGENT_REDACTED, out);
    return text + strcspn(text, "&;" SPACES);
}

/* The rest of a field of HTTP. */
static const char *skip_field(const char *text, FILE *out)
{
    fputs(AGENT_REDACTED, out);
    return text + strcspn(text, "\r\n\"\\");
}

/* To the end of the block, or of the string of JSON that it is in, or of the text. */
static const char *skip_key(const char *text, FILE *out)
{
    size_t len = strcspn(text, "\"");
    const char *end = strstr(text, "-----END");

    fputs(AGENT_REDACTED, out);
    end = end ? strstr(end + strlen("-----END"), "-----") : NULL;
    return end && end + 5 <= text + len ? end + 5 : text + len;
}

static const struct {
    const char *begin;
    const char *(*skip)(const char *text, FILE *out);
} rows[] = {
    {"://", skip_user},
    {"pin-value=", skip_value},
    {"password=", skip_value},
    {"authorization: ", skip_field},
    {"PRIVATE KEY-----", skip_key},
};

char *agent_redact(const char *text)
{
    char *result = NULL;
    size_t len;
    FILE *out = open_memstream(&result, &len);

    SP_REQUIRE(out);
    while (*text) {
        const char *next = NULL;

        for (size_t i = 0; !next && i < sizeof rows / sizeof rows[0]; i++) {
            size_t begin = strlen(rows[i].begin);

            if (strncasecmp(text, rows[i].begin, begin) != 0)
                continue;
            fwrite(text, 1, begin, out);
            next = rows[i].skip(text + begin, out);
        }
        if (!next)
            fputc(*text++, out);
        else
            text = next;
    }
    SP_REQUIRE(fclose(out) == 0);
    return result;
}

bool agent_redact_is_secret(const struct sp_json_field *field)
{
    static const char *const words[] = {"password", "passphrase", "secret", "token", "pin"};
    size_t len = strlen(field->key);

    if (field->type == SP_JSON_PATH || field->type == SP_JSON_PATHS)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t word = strlen(words[i]);

        if (len >= word && strcmp(field->key + len - word, words[i]) == 0)
            return true;
    }
    return false;
}
