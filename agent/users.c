#include "agent/users.h"

#include "common/file.h"

#include <stdlib.h>
#include <string.h>

#define FILE_MAX  (1024 * 1024)
#define WORD_MAX  255 /* RFC 1929 */
#define USERS_MAX 10000

struct word {
    uint8_t len, bytes[WORD_MAX]; /* zeroes behind len */
};

struct user {
    struct word name, password;
};

struct agent_users {
    size_t count;
    struct user *items;
};

static void word_set(struct word *word, const char *text, size_t len)
{
    word->len = (uint8_t)len;
    memcpy(word->bytes, text, len);
}

static enum sp_err add_line(struct agent_users *users, const char *line, size_t len,
                            unsigned number, struct sp_error *err)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : 0;
    struct user *user;

    if (!len || line[0] == '#')
        return SP_OK;
    if (memchr(line, '\0', len))
        return sp_error_set(err, SP_ERR_CONFIG, "line %u has a NUL in it", number);
    if (!name_len || name_len > WORD_MAX || len - name_len - 1 == 0 ||
        len - name_len - 1 > WORD_MAX) /* the text is not shown: it may be a password */
        return sp_error_set(err, SP_ERR_CONFIG,
                            "line %u is not user:password, each of 1 to %d bytes", number,
                            WORD_MAX);
    if (users->count == USERS_MAX)
        return sp_error_set(err, SP_ERR_LIMIT, "more than %d users", USERS_MAX);
    user = &users->items[users->count++];
    word_set(&user->name, line, name_len);
    word_set(&user->password, colon + 1, len - name_len - 1);
    for (const struct user *other = users->items; other < user; other++) {
        if (memcmp(&other->name, &user->name, sizeof user->name) == 0)
            return sp_error_set(err, SP_ERR_CONFIG, "line %u names a user a second time", number);
    }
    return SP_OK;
}

static enum sp_err parse(const struct sp_file *file, struct agent_users *users,
                         struct sp_error *err)
{
    const char *at = (const char *)file->data, *end = at + file->len;
    enum sp_err rc = SP_OK;

    if (file->mode & 077)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the passwords can be read by others: the mode is %04o, wanted is "
                            "0600 or 0400",
                            file->mode);
    for (unsigned number = 1; rc == SP_OK && at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        size_t len = (size_t)(stop - at);

        if (len && at[len - 1] == '\r')
            len--;
        rc = add_line(users, at, len, number, err);
        at = stop + 1;
    }
    if (rc == SP_OK && !users->count)
        rc = sp_error_set(err, SP_ERR_CONFIG, "no user in it; wanted is user:password");
    return rc;
}

static size_t count_lines(const struct sp_file *file)
{
    size_t count = 1;

    for (size_t i = 0; i < file->len; i++)
        count += file->data[i] == '\n';
    return count < USERS_MAX ? count : USERS_MAX;
}

enum sp_err agent_users_load(const char *path, struct agent_users **ret_users, struct sp_error *err)
{
    struct agent_users *users;
    struct sp_file file = {0};
    enum sp_err rc = sp_file_read(path, FILE_MAX, &file, err);

    if (rc != SP_OK)
        return rc;
    users = sp_calloc(1, sizeof *users);
    users->items = sp_calloc(count_lines(&file), sizeof *users->items);
    rc = parse(&file, users, err);
    sp_file_done(&file);
    if (rc != SP_OK) {
        agent_users_free(users);
        sp_error_where(err, "%s", path);
        return rc;
    }
    *ret_users = users;
    return SP_OK;
}

void agent_users_free(struct agent_users *users)
{
    if (!users)
        return;
    explicit_bzero(users->items, users->count * sizeof *users->items);
    free(users->items);
    free(users);
}

static unsigned difference(const struct word *a, const struct word *b)
{
    unsigned found = a->len ^ b->len;

    for (size_t i = 0; i < WORD_MAX; i++)
        found |= a->bytes[i] ^ b->bytes[i];
    return found;
}

bool agent_users_know(const struct agent_users *users, const uint8_t *user, size_t user_len,
                      const uint8_t *password, size_t password_len)
{
    struct user asked = {.name.len = 0};
    unsigned known = 0;

    if (user_len > WORD_MAX || password_len > WORD_MAX)
        return false;
    word_set(&asked.name, (const char *)user, user_len);
    word_set(&asked.password, (const char *)password, password_len);
    for (size_t i = 0; i < users->count; i++) {
        const struct user *one = &users->items[i];
        unsigned differs =
            difference(&one->name, &asked.name) | difference(&one->password, &asked.password);

        known |= !differs;
    }
    explicit_bzero(&asked, sizeof asked);
    return known;
}
